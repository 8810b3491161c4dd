//go:build linux || darwin || freebsd

package main

import (
	"bufio"
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
	"events": cmdEvents,
	"share":  cmdShare,
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
			for earlier := *echo != "" && name == *last; earlier; { // may come later, by another thread
				select {
				case sig := <-got:
					say("got " + strings.TrimPrefix(unix.SignalName(sig.(syscall.Signal)), "SIG"))
				case <-time.After(200 * time.Millisecond):
					earlier = false
				}
			}
			say("got " + name)
			if name == *last {
				os.Exit(7)
			}
		}
	}
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

// succeed is a command that does nothing.
var succeed = []string{"true"}
