//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/winetest"
)

// Nothing that the tests wait for may take longer than this, and nothing that they
// start lives much longer.
const lifetime = 60 * time.Second

func TestMain(m *testing.M) {
	// A program built with the race detector sleeps for a second when it ends.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	escape.Main()
	testscript.Main(cleaned{m}, programs)
}

// cleaned gives the tests a registry of runs of their own. It removes the programs
// itself under Wine, where testscript cannot.
type cleaned struct{ testscript.TestingM }

func (c cleaned) Run() int {
	runtime, err := os.MkdirTemp("", "corral-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(runtime)
	os.Setenv("XDG_RUNTIME_DIR", runtime)
	code := c.TestingM.Run()
	if winetest.Detected() {
		bin, _, _ := strings.Cut(os.Getenv("PATH"), string(os.PathListSeparator))
		if err := winetest.RemoveAll(filepath.Dir(bin)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	return code
}

// programs are the programs that the tests can start: the test binary is all
// of them.
var programs = map[string]func(){
	"corral":  main,
	"child":   child,
	"patient": patient,
}

// patient is corral for cases in which it is not to be faster than a slow machine:
// the command has half a minute to end with its input, and a minute to end by a signal,
// and what comes a minute after SIGTERM still comes at once.
func patient() {
	defaultGrace = lifetime
	stop.Farewell = lifetime / 2
	atOnce = lifetime
	main()
}

func runScripts(t *testing.T, dir string, vars ...string) {
	commands := map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"status": cmdStatus,
		"start":  cmdStart,
		"pids":   cmdPIDs,
		"alive":  cmdAlive,
		"json":   cmdJSON,
		"told":   cmdTold,
	}
	maps.Copy(commands, systemCommands)
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
		Cmds: commands,
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
//	send SIGNAL   sends it a signal, and waits until STOP has stopped it
//	finish N      waits for it, which must exit with status N, -1 if a signal is to
//	              end it, and leaves what it wrote in the files out and err
func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 {
		ts.Fatalf("usage: start COMMAND [ARG...]")
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = os.Environ()
	for _, name := range []string{"HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"} { // where runs are registered
		cmd.Env = append(cmd.Env, name+"="+ts.Getenv(name))
	}
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	ts.Check(cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ts.Defer(func() { cmd.Process.Kill() })
	ts.Setenv("PID", strconv.Itoa(cmd.Process.Pid))
	ts.SetCmd("send", func(ts *testscript.TestScript, neg bool, args []string) {
		ts.Check(cmd.Process.Signal(signalNumber("SIG" + args[0])))
		for began := time.Now(); args[0] == "STOP"; time.Sleep(time.Millisecond) { // until then it may still answer
			row, err := proctree.Lookup(cmd.Process.Pid)
			ts.Check(err)
			if row.State == proctree.Stopped {
				break
			}
			if time.Since(began) > lifetime {
				ts.Fatalf("it is not stopped: %+v", row)
			}
		}
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
			if h, err := proctree.Open(p.ID); err == nil && pid > 1 {
				h.Signal(os.Kill)
				h.Close()
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
			v = valueAt(v, key)
		}
		if got := fmt.Sprint(v); !regexp.MustCompile("^(?:" + args[i+1] + ")$").MatchString(got) {
			ts.Fatalf("%s is %s; want %s", args[i], got, args[i+1])
		}
	}
}

// valueAt is what v has at a key of a path, nil if nothing.
func valueAt(v any, key string) any {
	switch in := v.(type) {
	case map[string]any:
		return in[key]
	case []any:
		if key == "#" {
			return len(in)
		}
		if n, err := strconv.Atoi(key); err == nil && n < len(in) {
			return in[n]
		}
	}
	return nil
}
