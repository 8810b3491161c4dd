package corral_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
)

// idleFor is mostly long enough for a command to be started and to write its first line:
// see inTime.
const idleFor = time.Second

// TestIdleTimeout: who writes nothing for so long is stopped, with all of the run, and
// has its output delivered. Output on either stream counts, and on a terminal.
func TestIdleTimeout(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/out")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	outputs := map[string]func(*corral.Cmd, io.Writer){
		"Stdout":   func(c *corral.Cmd, w io.Writer) { c.Stdout = w },
		"Stderr":   func(c *corral.Cmd, w io.Writer) { c.Stderr = w },
		"both":     func(c *corral.Cmd, w io.Writer) { c.Stdout, c.Stderr = w, w },
		"terminal": func(c *corral.Cmd, w io.Writer) { c.Stdout, c.PTY = w, new(corral.PTY) },
		"limited": func(c *corral.Cmd, w io.Writer) {
			c.Stdout, c.Stderr, c.OutputLimit = w, file, 1000
		},
	}
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		for name, set := range outputs {
			t.Run(name, func(t *testing.T) {
				t.Parallel() // as each takes a while
				if name == "terminal" && !exists("/dev/pts/ptmx") {
					t.Skip("SKIPPED: no pseudo-terminals here")
				}
				var cmd *corral.Cmd
				var out bytes.Buffer
				var limit time.Duration
				var err error
				inTime(t, idleFor, func(timeout time.Duration) bool {
					r, w, perr := os.Pipe()
					if perr != nil {
						t.Fatal(perr)
					}
					defer r.Close()
					limit = timeout
					cmd = contained(cont, "sh", "-c", "sleep 60 & echo here; echo here >&2; echo >&3; wait")
					cmd.IdleTimeout, cmd.StopPlan, cmd.ExtraFiles = limit, patient, []*os.File{w}
					out.Reset()
					set(cmd, &out)
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					w.Close()
					err = cmd.Wait()
					said, _ := io.ReadAll(r)
					return len(said) > 0
				})
				checkIdle(t, cmd, limit, err, out.String())
			})
		}
	})
}

// checkIdle checks that a run has ended because it wrote nothing more.
func checkIdle(t *testing.T, cmd *corral.Cmd, limit time.Duration, err error, out string) {
	var idle *corral.IdleError
	if !errors.As(err, &idle) || idle.IdleTimeout != limit || !errors.Is(err, context.DeadlineExceeded) || !isExit(err, -1) {
		t.Errorf("Wait: %v", err)
	}
	rep := cmd.Report()
	if rep.Ending != corral.Idle || rep.Cause != fmt.Sprintf("corral: no output for %v", limit) || rep.Signal != "SIGTERM" || len(rep.Leftovers) != 1 {
		t.Errorf("%+v", rep)
	}
	if !strings.HasPrefix(out, "here") || rep.Elapsed < limit {
		t.Errorf("output %q, after %v", out, rep.Elapsed)
	}
	if text, err := json.Marshal(rep); err != nil || !strings.Contains(string(text), `"ending":"idle"`) {
		t.Errorf("%s, %v", text, err)
	}
}

// TestIdleTimeoutBusy: each output gives the whole time anew. The command writes when
// the test has seen that it would be too late by the time of its start.
func TestIdleTimeoutBusy(t *testing.T) {
	if testing.Short() {
		t.Skip("TestIdleTime shows it in virtual time")
	}
	t.Parallel()
	var cmd *corral.Cmd
	var err error
	inTime(t, 2*time.Second, func(limit time.Duration) bool {
		cmd = corral.Command("sh", "-c", "while read x; do echo $x; done; exit 3")
		cmd.IdleTimeout = limit
		var out bytes.Buffer
		cmd.Stdout = &out
		stdin, perr := cmd.StdinPipe()
		if perr != nil {
			t.Fatal(perr)
		}
		began := time.Now()
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for time.Since(began) < limit+limit/4 {
			io.WriteString(stdin, "x\n")
			time.Sleep(limit / 20)
		}
		stdin.Close()
		err = cmd.Wait()
		return !errors.As(err, new(*corral.IdleError)) // else it has not got to write for so long
	})
	if !isExit(err, 3) || cmd.Report().Ending != corral.Exited {
		t.Errorf("Wait: %v, %+v", err, cmd.Report())
	}
}

// TestIdleTimeoutRefused: what cannot be seen is an error before the start.
func TestIdleTimeoutRefused(t *testing.T) {
	for _, tt := range []struct {
		name string
		set  func(*corral.Cmd)
		want string
	}{
		{"negative", func(c *corral.Cmd) { c.IdleTimeout = -1 }, "negative IdleTimeout"},
		{"no output", func(c *corral.Cmd) {}, "Stdout and Stderr are nil"},
		{"a file", func(c *corral.Cmd) { c.Stdout = os.Stdout }, "Stdout is a file"},
		{"one of two", func(c *corral.Cmd) { c.Stdout, c.Stderr = new(bytes.Buffer), os.Stderr }, "Stderr is a file"},
		{"a pipe", func(c *corral.Cmd) { c.StdoutPipe() }, "Stdout is a pipe that the caller reads"},
		{"a pipe with a limit", func(c *corral.Cmd) { c.StderrPipe(); c.OutputLimit = 5 }, "Stderr is a pipe that the caller reads"},
		{"a terminal to read", func(c *corral.Cmd) { c.PTY = new(corral.PTY) }, "set Stdout; what the caller reads from the PTY"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := corral.Command("sleep", "60")
			cmd.IdleTimeout = time.Minute
			tt.set(cmd)
			err := cmd.Start()
			if err == nil {
				cmd.Process.Signal(syscall.SIGKILL)
				cmd.Wait()
				t.Fatal("it has been started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %q", err, tt.want)
			}
		})
	}
}

// TestIdleTimeoutOutput: Output and CombinedOutput copy what they return.
func TestIdleTimeoutOutput(t *testing.T) {
	for name, run := range map[string]func(*corral.Cmd) ([]byte, error){"Output": (*corral.Cmd).Output, "CombinedOutput": (*corral.Cmd).CombinedOutput} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out []byte
			var err error
			inTime(t, idleFor, func(timeout time.Duration) bool {
				r, w, perr := os.Pipe()
				if perr != nil {
					t.Fatal(perr)
				}
				defer r.Close()
				cmd := corral.Command("sh", "-c", "echo here; echo >&3; exec sleep 60")
				cmd.IdleTimeout, cmd.ExtraFiles = timeout, []*os.File{w}
				out, err = run(cmd)
				w.Close()
				said, _ := io.ReadAll(r)
				return len(said) > 0
			})
			if string(out) != "here\n" || !errors.As(err, new(*corral.IdleError)) {
				t.Errorf("%q, %v", out, err)
			}
		})
	}
}
