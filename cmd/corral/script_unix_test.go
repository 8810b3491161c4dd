//go:build linux || darwin || freebsd

package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

func TestScripts(t *testing.T) { runScripts(t, "testdata/script") }

// systemCommands are those of the scripts that there are here only.
var systemCommands = map[string]func(ts *testscript.TestScript, neg bool, args []string){
	"events":  cmdEvents,
	"running": cmdRunning,
	"share":   cmdShare,
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
	if *root {
		checkChild(syscall.Setuid(0))
	}
	if *session {
		_, err := unix.Setsid()
		checkChild(err)
	}
	if signals := signalsIn(*ignore); signals != nil {
		signal.Ignore(signals...)
	}
	got := make(chan os.Signal, 100)
	if signals := signalsIn(*echo + "," + *last); signals != nil {
		signal.Notify(got, signals...)
	}
	time.AfterFunc(5*lifetime, func() { os.Exit(8) }) // a script of many commands may need it for a while
	tell := childLog(*log).tell
	tell(fmt.Sprint("ready ", os.Getpid()))
	if args := flag.Args(); *session && len(args) > 0 {
		cmd := exec.Command(args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			tell(err.Error())
		}
		tell("ran")
	}
	for sig := range got {
		if nameOf(sig) != *last {
			tell("got " + nameOf(sig))
			continue
		}
		if *echo != "" {
			tellOthers(got, tell)
		}
		tell("got " + nameOf(sig))
		os.Exit(7)
	}
}

// tellOthers tells of signals that came before, but come later, by another thread.
func tellOthers(got <-chan os.Signal, tell func(string)) {
	for {
		select {
		case sig := <-got:
			tell("got " + nameOf(sig))
		case <-time.After(200 * time.Millisecond):
			return
		}
	}
}

// childLog is the FIFO that a child writes to; empty if there is none.
type childLog string

func (l childLog) tell(line string) {
	if l == "" {
		return
	}
	f, err := os.OpenFile(string(l), os.O_WRONLY, 0)
	if err == nil {
		_, err = fmt.Fprintln(f, line)
		f.Close()
	}
	checkChild(err)
}

// checkChild ends a child that has failed.
func checkChild(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
}

// signalsIn returns the signals in a list of names with commas.
func signalsIn(names string) (signals []os.Signal) {
	for name := range strings.FieldsFuncSeq(names, func(r rune) bool { return r == ',' }) {
		signals = append(signals, unix.SignalNum("SIG"+name))
	}
	return signals
}

// nameOf is the name of a signal without SIG.
func nameOf(sig os.Signal) string {
	return strings.TrimPrefix(unix.SignalName(sig.(syscall.Signal)), "SIG")
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

// running [FLAG...] RUN waits until the owner of a run has started it: its command may
// have told that it is ready before.
func cmdRunning(ts *testscript.TestScript, neg bool, args []string) {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		ts.Check(ts.Exec("corral", append([]string{"inspect", "--json"}, args...)...))
		var shown inspection
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &shown))
		if shown.Phase == "running" {
			return
		}
		if time.Since(began) > lifetime {
			ts.Fatalf("the phase is %q", shown.Phase)
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
	ts.Check(os.Chmod(ts.Getenv("TMPDIR"), os.ModeSticky|0o777)) // where runs are registered
}

// succeed is a command that does nothing.
var succeed = []string{"true"}
