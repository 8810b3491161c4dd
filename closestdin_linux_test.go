package corral_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
)

// tooLong is a time that no test lets pass.
const tooLong = time.Minute

// inputs are the ways to have a standard input that Corral can close. Each of them
// has more to come, but for the one that is called ended.
var inputs = map[string]func(t *testing.T, cmd *corral.Cmd) *corral.Cmd{
	"StdinPipe": func(t *testing.T, cmd *corral.Cmd) *corral.Cmd {
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		return cmd
	},
	"wrapped": func(t *testing.T, cmd *corral.Cmd) *corral.Cmd {
		inner := exec.Command(cmd.Path, cmd.Args[1:]...)
		if _, err := inner.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		wrapped := corral.Wrap(inner)
		wrapped.Containment, wrapped.Require = cmd.Containment, cmd.Require
		return wrapped
	},
	"reader": func(t *testing.T, cmd *corral.Cmd) *corral.Cmd {
		r, w := io.Pipe()
		t.Cleanup(func() { w.Close() })
		cmd.Stdin, cmd.WaitDelay = r, time.Second // its Read does not return
		return cmd
	},
	"file": func(t *testing.T, cmd *corral.Cmd) *corral.Cmd {
		cmd.Stdin = openPipe(t)
		return cmd
	},
	"lifeline": func(t *testing.T, cmd *corral.Cmd) *corral.Cmd {
		cmd.Stdin, cmd.Lifelines = openPipe(t), []corral.Lifeline{corral.LifelineStdin}
		return cmd
	},
	"terminal": func(t *testing.T, cmd *corral.Cmd) *corral.Cmd {
		needPTY(t)
		cmd.Stdin, cmd.PTY, cmd.WaitDelay = openPipe(t), new(corral.PTY), time.Second
		return cmd
	},
	"ended": func(t *testing.T, cmd *corral.Cmd) *corral.Cmd {
		w, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		w.Close()
		return cmd
	},
}

// openPipe is the end for reading of a pipe whose other end is open, too.
func openPipe(t *testing.T) *os.File {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r
}

// TestCloseStdin: a run that is stopped by closing its standard input ends by
// itself, whatever that input is, and so does one that is stopped (SIGSTOP) and
// whoever else of the run reads it.
func TestCloseStdin(t *testing.T) {
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			for name, with := range inputs {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					closeStdin(t, with(t, contained(cont, "sh", "-c", "echo ready; cat; echo bye; exit 7")))
				})
			}
		})
	}
}

func closeStdin(t *testing.T, cmd *corral.Cmd) {
	cmd.StopPlan = corral.StopPlan{{CloseStdin: true, Wait: tooLong}}
	r, w := io.Pipe()
	cmd.Stdout = w
	rest := make(chan string)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(r)
	if line, err := out.ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatalf("%q, %v", line, err)
	}
	go func() {
		text, _ := io.ReadAll(out)
		rest <- strings.TrimSpace(string(text))
	}()
	if err := cmd.Signal(syscall.SIGSTOP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	if err := cmd.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	if err := cmd.Wait(); !isExit(err, 7) {
		t.Errorf("Wait: %v; want exit status 7", err)
	}
	w.Close()
	if text := <-rest; text != "bye" {
		t.Errorf("output %q", text)
	}
	rep := cmd.Report()
	if rep.Forced || rep.SignalError != "" || rep.Elapsed > tooLong/2 || rep.Ending != corral.Stopped && rep.Ending != corral.Exited {
		t.Errorf("%+v", rep)
	}
	for _, l := range rep.Leftovers { // cat
		if l.Fate != corral.Signalled || l.Signal != "stdin" {
			t.Errorf("leftover %+v", l)
		}
	}
}

// TestCloseStdinFirst: who does not read goes with the next step, also if it leaves a
// pipe full of input unread; and the writer of StdinPipe gets to know.
func TestCloseStdinFirst(t *testing.T) {
	plan := corral.StopPlan{{CloseStdin: true, Wait: 50 * time.Millisecond}, {Signal: syscall.SIGTERM, Wait: tooLong}}
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		cmd := contained(cont, "sleep", "60")
		cmd.StopPlan, cmd.Stdin = plan, endless{}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); !isExit(err, -1) || cmd.Report().Signal != "SIGTERM" || cmd.Report().Forced {
			t.Errorf("Wait: %v, %+v", err, cmd.Report())
		}
		cmd = contained(cont, "sleep", "60")
		cmd.StopPlan = plan
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		writing := make(chan error)
		go func() {
			_, err := io.Copy(stdin, endless{})
			writing <- err
		}()
		if err := cmd.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		if err := <-writing; !errors.Is(err, os.ErrClosed) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("writing to StdinPipe: %v", err)
		}
		if err := cmd.Wait(); !isExit(err, -1) {
			t.Error(err)
		}
	})
}

// TestCloseStdinLeftover: what the command leaves is stopped by the same plan.
func TestCloseStdinLeftover(t *testing.T) {
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		cmd := contained(cont, "sh", "-c", "exec 4<&0; cat <&4 & exit 0")
		cmd.StopPlan = corral.StopPlan{{CloseStdin: true, Wait: tooLong}}
		if _, err := cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Run(); err != nil {
			t.Error(err)
		}
		rep := cmd.Report()
		if len(rep.Leftovers) != 1 || rep.Leftovers[0].Signal != "stdin" || rep.Forced {
			t.Errorf("%+v", rep)
		}
	})
}

// TestCloseStdinNothing: where there is nothing to close, the step is over at once,
// and the Report says why.
func TestCloseStdinNothing(t *testing.T) {
	plan := corral.StopPlan{{CloseStdin: true, Wait: tooLong}, {Signal: syscall.SIGTERM, Wait: tooLong}}
	for name, tt := range map[string]struct {
		stdin io.Reader
		plan  corral.StopPlan // from the start
		want  string
	}{
		"no input": {nil, plan, "the null device"},
		"its own":  {openPipe(t), nil, "a file that the command has itself"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := corral.Command("sleep", "60")
			cmd.Stdin, cmd.StopPlan = tt.stdin, tt.plan
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.StopWith(t.Context(), plan); err != nil {
				t.Error(err)
			}
			cmd.Wait()
			rep := cmd.Report()
			if rep.Elapsed > tooLong/2 || rep.Signal != "SIGTERM" || !strings.Contains(rep.SignalError, tt.want) {
				t.Errorf("%+v", rep)
			}
		})
	}
}

// TestCloseStdinCopies: a file is copied to the command if its stop plan may close its
// input, and only then. Nothing of that is left, and what has not come is not waited
// for.
func TestCloseStdinCopies(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	writeFile(t, text, bytes.Repeat([]byte("some words\n"), 20_000))
	for _, plan := range []corral.StopPlan{nil, corral.MCPStopPlan()} {
		f, err := os.Open(text)
		if err != nil {
			t.Fatal(err)
		}
		cmd := corral.Command("sh", "-c", "test -p /dev/stdin && echo copied; cat")
		cmd.Stdin, cmd.StopPlan = f, plan
		out, err := cmd.Output()
		f.Close()
		want := string(readFile(t, text))
		if plan != nil {
			want = "copied\n" + want
		}
		if err != nil || string(out) != want {
			t.Errorf("plan %v: %d bytes, want %d, %v", plan, len(out), len(want), err)
		}
	}
	in := openPipe(t)
	run := func() {
		cmd := corral.Command("true")
		cmd.Stdin, cmd.StopPlan, cmd.WaitDelay = in, corral.MCPStopPlan(), tooLong
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
	}
	run()
	goroutines, fds := runtime.NumGoroutine(), descriptors(t)
	for range 10 {
		run()
	}
	eventually(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= goroutines })
	eventually(t, "descriptors are left", func() bool { return descriptors(t) <= fds })
	closed, err := os.Open(text)
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	cmd := corral.Command("true")
	cmd.Stdin, cmd.StopPlan = closed, corral.MCPStopPlan()
	if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "use of closed file") {
		t.Errorf("a closed file: %v", err)
	}
}

// TestCloseStdinOwnerKilled: when the owner dies, its end of the pipe is closed with
// it, whatever the helper is, and the helper gives the command the plan's time.
func TestCloseStdinOwnerKilled(t *testing.T) {
	for _, cont := range containments {
		if cont == corral.Group {
			continue // nobody stops the run
		}
		for _, stub := range []string{"on", "early", "off"} {
			t.Run(string(cont)+"/"+stub, func(t *testing.T) {
				t.Parallel()
				need(t, cont)
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				path, args := escape.Command("reading owner", string(cont))
				owner := exec.Command(path, args...)
				owner.Env = append(os.Environ(), "CORRAL_STUB="+stub)
				owner.Stderr = os.Stderr
				escape.Attach(owner, []*os.File{w})
				if err := owner.Start(); err != nil {
					t.Fatal(err)
				}
				w.Close()
				if line := awaitLine(t, r); line != "ready" {
					t.Fatal(line)
				}
				if err := owner.Process.Kill(); err != nil {
					t.Error(err)
				}
				owner.Wait()
				r.SetReadDeadline(time.Now().Add(tooLong / 2))
				if rest, err := io.ReadAll(r); err != nil || string(rest) != "bye\n" {
					t.Errorf("%q, %v", rest, err)
				}
			})
		}
	}
}

func init() {
	escape.Register("reading owner", func(args []string) {
		cont := corral.Containment(args[0])
		cmd := contained(cont, "sh", "-c", "exec >&3; echo ready; cat; echo bye")
		cmd.StopPlan = corral.StopPlan{{CloseStdin: true, Wait: tooLong}}
		cmd.ExtraFiles = escape.Inherited()
		cmd.StdinPipe()
		fmt.Fprintln(os.Stderr, cmd.Run())
	})
}

// TestStopPlanSteps: a step without anything to do is an error, and so is one with two
// things to do.
func TestStopPlanSteps(t *testing.T) {
	cmd := corral.Command("true")
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM}, {CloseStdin: true, Signal: syscall.SIGTERM}}
	if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "step 2 of the stop plan closes standard input and has a signal: make it two") {
		t.Errorf("two in one step: %v", err)
	}
	want := corral.StopPlan{{CloseStdin: true, Wait: 2 * time.Second}, {Signal: syscall.SIGTERM, Wait: 2 * time.Second}}
	if got := corral.MCPStopPlan(); !slices.Equal(got, want) {
		t.Errorf("MCPStopPlan: %v", got)
	}
}
