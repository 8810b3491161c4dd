package corral_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/winetest"
)

func init() {
	// read reads to the end, says how much it was, and exits with 7.
	escape.Register("read", func([]string) {
		fmt.Println("ready")
		n, err := io.Copy(io.Discard, os.Stdin)
		fmt.Println(n, err)
		os.Exit(7)
	})
	// unread does not read.
	escape.Register("unread", func([]string) {
		fmt.Println("ready")
		time.Sleep(escape.Lifetime)
	})
}

func windowsPipe(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return r, w
}

// TestLifelineStdinWindows: a pipe as standard input is a lifeline, all of it is the
// command's, and who does not end with it is stopped, also if it has not read all.
func TestLifelineStdinWindows(t *testing.T) {
	defer func(was time.Duration) { stop.Farewell = was }(stop.Farewell)
	stop.Farewell = escape.Lifetime / 2 // or a command that is slow to end by itself is stopped
	r, w := windowsPipe(t)
	cmd := inJob("read")
	cmd.Stdin, cmd.Lifelines = r, []corral.Lifeline{corral.LifelineStdin}
	out := ready(t, cmd)
	const size = 300_000
	go func() {
		w.Write(make([]byte, size))
		w.Close()
	}()
	if line, err := out.ReadString('\n'); err != nil || strings.TrimSpace(line) != fmt.Sprint(size, " <nil>") {
		t.Errorf("%q, %v", line, err)
	}
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("Wait: %v", err)
	}
	stop.Farewell = time.Second / 2
	for _, unread := range []int{0, 100} {
		r, w := windowsPipe(t)
		cmd := inJob("unread")
		cmd.Stdin, cmd.Lifelines, cmd.StopPlan = r, []corral.Lifeline{corral.LifelineStdin}, corral.StopPlan{}
		ready(t, cmd)
		w.Write(make([]byte, unread))
		w.Close()
		err := cmd.Wait()
		var lost *corral.LifelineError
		if r := cmd.Report(); !errors.As(err, &lost) || r.Ending != corral.LifelineLost || r.Elapsed > escape.Lifetime/2 {
			t.Errorf("%d bytes unread: Wait: %v, %+v", unread, err, r)
		}
	}
}

// TestLifelineHungUpWindows: the other end is gone, and more is left than fits on the
// way to a command that does not read.
func TestLifelineHungUpWindows(t *testing.T) {
	r, w := windowsPipe(t)
	cmd := inJob("unread")
	cmd.Stdin, cmd.Lifelines, cmd.StopPlan = r, []corral.Lifeline{corral.LifelineStdin}, corral.StopPlan{}
	ready(t, cmd)
	written := 0
	full := time.AfterFunc(2*time.Second, func() { w.Close() })
	defer full.Stop()
	for n, err := 0, error(nil); err == nil && written < 60_000; written += n {
		n, err = w.Write(make([]byte, 1000))
	}
	w.Close()
	cmd.Wait()
	if r := cmd.Report(); r.Ending != corral.LifelineLost || r.Elapsed > escape.Lifetime/2 {
		t.Errorf("%d bytes written: %+v", written, r)
	}
}

// TestLifelineStdinRefusedWindows: what cannot tell that anybody has gone is refused.
func TestLifelineStdinRefusedWindows(t *testing.T) {
	file, err := os.Create(filepath.Join(winetest.TempDir(t), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	for name, f := range map[string]*os.File{"a file": file, "the null device": null} {
		cmd := inJob("unread")
		cmd.Stdin, cmd.Lifelines = f, []corral.Lifeline{corral.LifelineStdin}
		if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), "which cannot tell") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestCloseStdinWindows: a command ends by itself when the stop plan closes its
// standard input, whatever that is. What has not come is not waited for.
func TestCloseStdinWindows(t *testing.T) {
	for name, set := range map[string]func(*corral.Cmd){
		"StdinPipe": func(c *corral.Cmd) { c.StdinPipe() },
		"reader":    func(c *corral.Cmd) { c.Stdin, _ = io.Pipe() },
		"pipe":      func(c *corral.Cmd) { c.Stdin, _ = windowsPipe(t) },
		"lifeline": func(c *corral.Cmd) {
			c.Stdin, _ = windowsPipe(t)
			c.Lifelines = []corral.Lifeline{corral.LifelineStdin}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := inJob("read")
			cmd.StopPlan = corral.StopPlan{{CloseStdin: true, Wait: escape.Lifetime}}
			cmd.WaitDelay = escape.Lifetime
			if name == "reader" {
				cmd.WaitDelay = 50 * time.Millisecond
			}
			set(cmd)
			ready(t, cmd)
			if err := cmd.Stop(t.Context()); err != nil {
				t.Errorf("Stop: %v", err)
			}
			var exit *corral.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
				t.Errorf("Wait: %v", err)
			}
			if r := cmd.Report(); r.Forced || r.SignalError != "" || r.Elapsed > escape.Lifetime/2 {
				t.Errorf("%+v", r)
			}
		})
	}
	text := filepath.Join(winetest.TempDir(t), "text")
	if err := os.WriteFile(text, make([]byte, 100_000), 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(text)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	cmd := inJob("read")
	cmd.Stdin, cmd.StopPlan = f, corral.MCPStopPlan()
	if out, _ := cmd.Output(); !strings.Contains(string(out), "100000 <nil>") {
		t.Errorf("a file: %q", out)
	}
}

// TestIdleTimeoutWindows: who writes nothing is stopped.
func TestIdleTimeoutWindows(t *testing.T) {
	for limit := 2 * time.Second; ; limit *= 2 {
		cmd := inJob("unread")
		var out bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, nil
		cmd.StopPlan, cmd.IdleTimeout = corral.StopPlan{}, limit
		err := cmd.Run()
		if out.Len() == 0 && limit < time.Minute { // the time was up before it had written
			continue
		}
		var idle *corral.IdleError
		if !errors.As(err, &idle) || cmd.Report().Ending != corral.Idle || strings.TrimSpace(out.String()) != "ready" {
			t.Errorf("Run: %v, %+v, output %q", err, cmd.Report(), &out)
		}
		return
	}
}
