//go:build linux || darwin || freebsd

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

// Nothing that the tests start lives longer than this, and nothing that they
// wait for may take longer.
const lifetime = 60 * time.Second

func TestMain(m *testing.M) {
	// A program built with the race detector sleeps for a second when it ends.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	escape.Main()
	testscript.Main(m, programs)
}

// programs are the programs that the tests can start: the test binary is all
// of them.
var programs = map[string]func(){
	"corral": main,
	"child":  child,
}

// child is what the scripts let corral run: a process that lives until it is
// stopped, and tells by lines in a FIFO when it is ready and which signals it
// gets.
func child() {
	log := flag.String("log", "", "write `ready PID` and `got SIGNAL` to this FIFO")
	ignore := flag.String("ignore", "", "ignore these signals")
	echo := flag.String("echo", "", "log these signals, and go on")
	last := flag.String("last", "", "log this signal, and exit with status 7")
	root := flag.Bool("root", false, "become root, being set-user-ID")
	session := flag.Bool("setsid", false, "lead a new session, and run the command in the arguments in it")
	flag.Parse()
	list := func(names string) (signals []os.Signal) {
		for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ',' }) {
			signals = append(signals, unix.SignalNum("SIG"+name))
		}
		return signals
	}
	if *root {
		if err := syscall.Setuid(0); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
	if *session {
		if _, err := unix.Setsid(); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
	if signals := list(*ignore); signals != nil {
		signal.Ignore(signals...)
	}
	got := make(chan os.Signal, 100)
	if signals := list(*echo + "," + *last); signals != nil {
		signal.Notify(got, signals...)
	}
	say := func(line string) {
		if *log == "" {
			return
		}
		f, err := os.OpenFile(*log, os.O_WRONLY, 0)
		if err == nil {
			_, err = fmt.Fprintln(f, line)
			f.Close()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
			os.Exit(1)
		}
	}
	end := time.After(lifetime)
	say(fmt.Sprint("ready ", os.Getpid()))
	if args := flag.Args(); *session && len(args) > 0 {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			say(err.Error())
		}
		say("ran")
	}
	for {
		select {
		case <-end:
			os.Exit(8)
		case sig := <-got:
			name := strings.TrimPrefix(unix.SignalName(sig.(syscall.Signal)), "SIG")
			say("got " + name)
			if name == *last {
				os.Exit(7)
			}
		}
	}
}

func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

func runScripts(t *testing.T, dir string, vars ...string) {
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("GORACE", os.Getenv("GORACE"))
			env.Vars = append(env.Vars, vars...)
			return nil
		},
		Condition: func(cond string) (bool, error) {
			switch cond {
			case "root":
				return os.Geteuid() == 0, nil
			case "pty":
				_, err := os.Stat("/dev/ptmx")
				return err == nil, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"status": cmdStatus,
			"start":  cmdStart,
			"events": cmdEvents,
			"pids":   cmdPIDs,
			"alive":  cmdAlive,
			"json":   cmdJSON,
			"share":  cmdShare,
		},
	})
}

// status N COMMAND... runs a command, which must exit with status N.
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND [ARG...]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	if got := exitCode(ts, err); got != want {
		ts.Fatalf("exit status %d; want %d", got, want)
	}
}

func exitCode(ts *testscript.TestScript, err error) int {
	var exited *exec.ExitError
	if err != nil && !errors.As(err, &exited) {
		ts.Fatalf("%v", err)
	}
	if exited == nil {
		return 0
	}
	return exited.ExitCode()
}

// start COMMAND... starts a command in the background. It defines
//
//	send SIGNAL   sends it a signal
//	finish N      waits for it, which must exit with status N, and leaves
//	              what it wrote in the files out and err
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: start COMMAND [ARG...]")
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ts.Defer(func() { cmd.Process.Kill() })
	ts.Setenv("PID", strconv.Itoa(cmd.Process.Pid))
	ts.SetCmd("send", func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(cmd.Process.Signal(unix.SignalNum("SIG" + args[0])))
	})
	ts.SetCmd("finish", func(ts *testscript.TestScript, neg bool, args []string) {
		select {
		case err := <-ended:
			ts.Check(os.WriteFile(ts.MkAbs("out"), stdout.Bytes(), 0o666))
			ts.Check(os.WriteFile(ts.MkAbs("err"), stderr.Bytes(), 0o666))
			ts.Logf("stdout: %s\nstderr: %s", &stdout, &stderr)
			if got := exitCode(ts, err); strconv.Itoa(got) != args[0] {
				ts.Fatalf("exit status %d; want %s", got, args[0])
			}
		case <-time.After(lifetime):
			ts.Fatalf("it does not end")
		}
	})
}

// events FIFO makes a FIFO for children to write to. It defines
//
//	event REGEXP [VARIABLE...]   reads the next line, which must match, and
//	                             sets the variables to the parenthesised parts
func cmdEvents(ts *testscript.TestScript, neg bool, args []string) {
	path := ts.MkAbs(args[0])
	ts.Check(unix.Mkfifo(path, 0o666))
	// Open for writing too, so that there is no end-of-file between two writers.
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	ts.Check(err)
	ts.Defer(func() { f.Close() })
	lines := bufio.NewReader(f)
	ts.SetCmd("event", func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(f.SetReadDeadline(time.Now().Add(lifetime)))
		line, err := lines.ReadString('\n')
		if err != nil {
			ts.Fatalf("no event like %q: %v", args[0], err)
		}
		line = strings.TrimSuffix(line, "\n")
		match := regexp.MustCompile("^(?:" + args[0] + ")$").FindStringSubmatch(line)
		if match == nil {
			ts.Fatalf("event %q; want %q", line, args[0])
		}
		for i, name := range args[1:] {
			ts.Setenv(name, match[i+1])
		}
	})
}

// pids VARIABLE... sets the variables to the numbers in the output of the last
// command, and sees to it that those processes do not outlive the script.
func cmdPIDs(ts *testscript.TestScript, neg bool, args []string) {
	numbers := regexp.MustCompile(`\d+`).FindAllString(ts.ReadFile("stdout"), -1)
	if len(numbers) != len(args) {
		ts.Fatalf("%d numbers for %d variables", len(numbers), len(args))
	}
	for i, name := range args {
		ts.Setenv(name, numbers[i])
		pid, err := strconv.Atoi(numbers[i])
		ts.Check(err)
		p, err := proctree.Lookup(pid)
		if err != nil {
			continue // ended
		}
		ts.Defer(func() {
			// The identity says that it is still the one that the script started.
			if now, err := proctree.Lookup(pid); err == nil && now.ID == p.ID && p.PPID != 0 && pid > 1 {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
}

// alive PID... and ! alive PID... say that all of them are, or none.
func cmdAlive(ts *testscript.TestScript, neg bool, args []string) {
	for _, arg := range args {
		pid, err := strconv.Atoi(arg)
		ts.Check(err)
		p, err := proctree.Lookup(pid)
		if err != nil && !errors.Is(err, proctree.ErrGone) {
			ts.Fatalf("%v", err)
		}
		if alive := err == nil && p.Alive(); alive == neg {
			ts.Fatalf("process %d: alive: %v", pid, alive)
		}
	}
}

// json FILE PATH REGEXP... reads a JSON document, which must be all of the
// file; the value at each path must match. A path is keys and indices joined
// by dots; #  is the length of a list.
func cmdJSON(ts *testscript.TestScript, neg bool, args []string) {
	var doc any
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &doc))
	for i := 1; i+1 < len(args); i += 2 {
		v := doc
		for key := range strings.SplitSeq(args[i], ".") {
			switch in := v.(type) {
			case map[string]any:
				v = in[key]
			case []any:
				if key == "#" {
					v = len(in)
				} else if n, err := strconv.Atoi(key); err == nil && n < len(in) {
					v = in[n]
				} else {
					v = nil
				}
			default:
				v = nil
			}
		}
		if got := fmt.Sprint(v); !regexp.MustCompile("^(?:" + args[i+1] + ")$").MatchString(got) {
			ts.Fatalf("%s is %s; want %s", args[i], got, args[i+1])
		}
	}
}

// share lets other users run the programs of the test, and write to its
// directory.
func cmdShare(ts *testscript.TestScript, neg bool, args []string) {
	program, err := exec.LookPath("corral")
	ts.Check(err)
	for _, file := range []string{program, ts.MkAbs("file")} {
		for dir := filepath.Dir(file); dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
			info, err := os.Stat(dir)
			ts.Check(err)
			if info.Mode().Perm()&0o001 == 0 {
				ts.Check(os.Chmod(dir, info.Mode().Perm()|0o055))
			}
		}
	}
	ts.Check(os.Chmod(ts.MkAbs("."), 0o777))
}
