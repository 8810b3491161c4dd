package child

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"
	"time"
)

// start starts a child that ends with the status when the line to it is closed, or
// gets a line.
func start(t *testing.T, script string) (p *os.Process, line *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	t.Cleanup(func() { w.Close() })
	p, err = os.StartProcess("/bin/sh", []string{"sh", "-c", script}, &os.ProcAttr{Files: []*os.File{r, nil, nil}})
	if err != nil {
		t.Fatal(err)
	}
	return p, w
}

// TestAwaitExitDoesNotReap: the child can still be looked at, and waited for.
func TestAwaitExitDoesNotReap(t *testing.T) {
	for script, want := range map[string]struct {
		code   int
		signal syscall.Signal
	}{
		"read x; exit 3":     {code: 3},
		"read x; kill $$":    {code: -1, signal: syscall.SIGTERM},
		"read x; kill -9 $$": {code: -1, signal: syscall.SIGKILL},
	} {
		p, line := start(t, script)
		if pid, _, _, err := Peek(p.Pid); pid != 0 || err != nil {
			t.Errorf("%s, alive: %d, %v", script, pid, err)
		}
		if Reap(p.Pid) {
			t.Errorf("%s: it is reaped alive", script)
		}
		line.Close()
		if err := AwaitExit(context.Background(), p, p.Pid); err != nil {
			t.Errorf("%s: %v", script, err)
		}
		for range 2 { // a look changes nothing
			pid, status, _, err := Peek(p.Pid)
			if pid != p.Pid || err != nil || status.ExitStatus() != want.code || status.Signaled() && status.Signal() != want.signal {
				t.Errorf("%s: %d, status %#x, %v", script, pid, status, err)
			}
		}
		if state, err := p.Wait(); err != nil || state.ExitCode() != want.code {
			t.Errorf("%s: %v, %v", script, state, err)
		}
		if err := AwaitExit(context.Background(), p, p.Pid); err != nil {
			t.Errorf("%s, waited for: %v", script, err)
		}
	}
}

// TestReap: an ended child is reaped once.
func TestReap(t *testing.T) {
	p, line := start(t, "read x")
	line.Close()
	if err := AwaitExit(context.Background(), p, p.Pid); err != nil {
		t.Fatal(err)
	}
	if !Reap(p.Pid) {
		t.Error("it is not reaped")
	}
	if Reap(p.Pid) {
		t.Error("it is reaped twice")
	}
	p.Release()
}

// TestAwaitExitCut: the end of the context, of the line, or of the time ends the
// wait, and is told from the child's end.
func TestAwaitExitCut(t *testing.T) {
	p, line := start(t, "read x")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(io.EOF)
	if err := AwaitExit(ctx, p, p.Pid); !errors.Is(err, io.EOF) {
		t.Errorf("cancelled: %v", err)
	}
	for _, after := range []time.Duration{headStart / 2, 2 * headStart} {
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(after*time.Millisecond, func() { cancel(io.EOF) })
		if err := AwaitExit(ctx, p, p.Pid); !errors.Is(err, io.EOF) {
			t.Errorf("cancelled after %d ms: %v", after, err)
		}
	}
	for _, timeout := range []int{0, 1, headStart, 2 * headStart} {
		began := time.Now()
		other, err := AwaitExitOrHangUp(context.Background(), p, p.Pid, nil, timeout)
		if took := time.Since(began); !other || err != nil || took < time.Duration(timeout)*time.Millisecond {
			t.Errorf("out of time: %v, %v after %v", other, err, took)
		}
	}
	ours, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	theirs.Close()
	if other, err := AwaitExitOrHangUp(context.Background(), p, p.Pid, ours, -1); !other || err != nil {
		t.Errorf("hung up: %v, %v", other, err)
	}
	line.Close()
	if other, err := AwaitExitOrHangUp(context.Background(), p, p.Pid, nil, -1); other || err != nil {
		t.Errorf("ended: %v, %v", other, err)
	}
	p.Wait()
}

// TestAwaitExitReleased: to release the process before or during the wait changes
// nothing: somebody else may have it, too.
func TestAwaitExitReleased(t *testing.T) {
	for _, before := range []bool{true, false} {
		p, line := start(t, "read x; exit 3")
		pid := p.Pid
		if before {
			p.Release()
		} else {
			time.AfterFunc(2*headStart*time.Millisecond, func() { p.Release() })
		}
		began := time.Now()
		if other, err := AwaitExitOrHangUp(context.Background(), p, pid, nil, 4*headStart); !other || err != nil || time.Since(began) < 4*headStart*time.Millisecond {
			t.Errorf("before %v, alive: %v, %v after %v", before, other, err, time.Since(began))
		}
		line.Close()
		if err := AwaitExit(context.Background(), p, pid); err != nil {
			t.Errorf("before %v: %v", before, err)
		}
		if got, status, _, err := Peek(pid); got != pid || err != nil || status.ExitStatus() != 3 {
			t.Errorf("before %v: %d, status %#x, %v", before, got, status, err)
		}
		Reap(pid)
		if err := AwaitExit(context.Background(), p, pid); err != nil {
			t.Errorf("before %v, reaped: %v", before, err)
		}
	}
}
