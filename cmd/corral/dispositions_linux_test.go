package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/disposition"
)

func init() { programs["arranged"] = arranged }

// arranged ignores the signals in its first argument, blocks those in the
// second one, and becomes the command in the others.
func arranged() {
	runtime.LockOSThread()
	numbers := func(list string) (signals []syscall.Signal) {
		for name := range strings.FieldsSeq(list) {
			sig := unix.SignalNum("SIG" + name)
			if sig == 0 {
				n, _ := strconv.Atoi(name)
				sig = syscall.Signal(n)
			}
			signals = append(signals, sig)
		}
		return signals
	}
	for _, sig := range numbers(os.Args[1]) {
		disposition.Ignore(sig)
	}
	var blocked unix.Sigset_t
	for _, sig := range numbers(os.Args[2]) {
		blocked.Val[0] |= 1 << (sig - 1)
	}
	path, err := exec.LookPath(os.Args[3])
	if err == nil {
		err = unix.PthreadSigmask(unix.SIG_SETMASK, &blocked, nil)
	}
	if err == nil {
		err = syscall.Exec(path, os.Args[3:], os.Environ())
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// What corral has inherited reaches the command as if corral were not there, but
// for what the Go runtime has changed before corral could see it.
func TestDispositions(t *testing.T) {
	const probe = "grep -E Sig(Blk|Ign) /proc/self/status"
	forTerminal(t, func(t *testing.T, corral string) {
		for _, tt := range []struct {
			ignored, blocked string
			gotten           string // what the command ignores instead
			unblocked        bool   // and it blocks nothing
		}{
			{},
			{ignored: "HUP"},      // nohup
			{ignored: "INT QUIT"}, // a background job of a shell without job control
			{ignored: "HUP INT QUIT"},
			{ignored: "TSTP TTIN TTOU"}, // a command of a shell that has job control, which wants none in it
			{ignored: "CONT"},
			{blocked: "USR1 USR2 PIPE ALRM TSTP TTIN TTOU CONT WINCH IO VTALRM 40 64"},
			{ignored: "HUP", blocked: "USR1"},

			// The limits that docs/terminal.md names.
			{ignored: "INT", gotten: "INT QUIT"},
			{ignored: "QUIT", gotten: " "},
			{ignored: "TERM USR1 USR2 PIPE CHLD ALRM", gotten: " "},
			{blocked: "HUP INT QUIT TERM CHLD PROF", unblocked: true},
		} {
			t.Run(fmt.Sprintf("ignored %s, blocked %s", tt.ignored, tt.blocked), func(t *testing.T) {
				run := func(ignored, blocked, command string) string {
					args := append([]string{ignored, blocked}, strings.Fields(command)...)
					out, err := exec.Command("arranged", args...).CombinedOutput()
					if err != nil {
						t.Errorf("%s: %v, %s", command, err, out)
					}
					return string(out)
				}
				ignored, blocked := tt.ignored, tt.blocked
				if tt.gotten != "" {
					ignored = tt.gotten
				}
				if tt.unblocked {
					blocked = ""
				}
				want := run(ignored, blocked, probe)
				if got := run(tt.ignored, tt.blocked, corral+" "+probe); got != want {
					t.Errorf("the command has\n%s; want\n%s", got, want)
				}
				// Whatever it is, corral gets to know how the command ended.
				run(tt.ignored, tt.blocked, corral+" true")
			})
		}
	})
}
