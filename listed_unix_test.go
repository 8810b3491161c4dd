//go:build linux || darwin || freebsd

package corral_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/registry"
)

// ownRegistry gives the test a registry of its own, and returns its path.
func ownRegistry(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "reg") // short, as the path of a socket has to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("TMPDIR", dir)
	return filepath.Join(dir, "corral")
}

// registered is what the registry has.
func registered(t *testing.T, path string) *registry.Contents {
	t.Helper()
	d, err := registry.OpenDir(path, os.Geteuid(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() }) // a run that is found asks in it
	c, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// the returns the one run that is registered.
func the(t *testing.T, path string) *registry.Found {
	t.Helper()
	c := registered(t, path)
	if len(c.Runs) != 1 || len(c.Strange) > 0 {
		t.Fatalf("%+v", c)
	}
	return &c.Runs[0]
}

// nothingIn says that nothing of a run remains in the registry.
func nothingIn(t *testing.T, path string) {
	t.Helper()
	left, err := os.ReadDir(path)
	if err != nil || len(left) > 0 {
		t.Errorf("left in the registry: %v, %v", left, err)
	}
}

// waiting starts a shell that says "ready", and waits for input.
func waiting(t *testing.T, cont corral.Containment, text string, set func(*corral.Cmd)) (cmd *corral.Cmd, stdin io.Closer) {
	t.Helper()
	cmd = corral.Command("sh", "-c", text+"\necho ready; read x")
	cmd.Containment, cmd.Require = cont, cont
	cmd.Name, cmd.Labels, cmd.StopPlan = "web", map[string]string{"team": "a"}, patient
	if set != nil {
		set(cmd)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Kill() })
	var said []byte
	for b := make([]byte, 64); !strings.HasSuffix(string(said), "ready\n"); {
		n, err := out.Read(b)
		if said = append(said, b[:n]...); err != nil {
			t.Fatalf("%q, %v", said, err)
		}
	}
	return cmd, in
}

func ask(t *testing.T, f *registry.Found, r registry.Request) (registry.Reply, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return f.Ask(ctx, r)
}

// awaitWait waits until a goroutine is in Wait. No other test runs beside those that
// use it, which could be in Wait.
func awaitWait(t *testing.T) {
	t.Helper()
	eventually(t, "Wait is not called", func() bool {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		return bytes.Contains(stacks, []byte("corral.(*run).waitUntilOver("))
	})
}

// endInput closes the input of a command, and returns what Wait does, which is called before:
// a run that is over does not stay in the registry for long if it is not.
func endInput(t *testing.T, cmd *corral.Cmd, stdin io.Closer) error {
	t.Helper()
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	awaitWait(t)
	stdin.Close()
	return <-ended
}

// TestListed: a run with a Name is found, shown, signalled and stopped, under each
// containment, and then nothing of it remains.
func TestListed(t *testing.T) {
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			path := ownRegistry(t)
			cmd, _ := waiting(t, cont, "trap 'echo got' USR1", nil)
			id, err := cmd.RunID()
			f := the(t, path)
			if err != nil || f.ID != id || f.Name != "web" || f.Labels["team"] != "a" || f.State != registry.Live ||
				f.Leader.PID != cmd.Process.Pid || f.Containment != string(cont) || f.Owner.PID != os.Getpid() || strings.Join(f.Command, " ") != strings.Join(cmd.Args, " ") {
				t.Errorf("%+v, %v", f, err)
			}
			reply, err := ask(t, f, registry.Request{Do: "look"})
			if err != nil || reply.Phase != "running" || len(reply.Members) != 1 || reply.Members[0].ID() != f.Leader.ID() {
				t.Errorf("%+v, %v", reply, err)
			}
			if _, err := ask(t, f, registry.Request{Do: "signal", Signal: -1}); err == nil {
				t.Error("signal -1 is sent")
			}
			if _, err := ask(t, f, registry.Request{Do: "signal", Signal: int(syscall.SIGCONT)}); err != nil {
				t.Error(err)
			}
			ended := make(chan error)
			go func() { ended <- cmd.Wait() }()
			awaitWait(t)
			reply, err = ask(t, f, registry.Request{Do: "stop"})
			if err != nil || reply.Outcome == nil || reply.Outcome.Ending != string(corral.Stopped) || reply.Outcome.Signal != "SIGTERM" || reply.Outcome.ExitCode != -1 {
				t.Errorf("%+v, %v", reply.Outcome, err)
			}
			<-ended
			if r := cmd.Report(); r.Ending != corral.Stopped || len(r.Survivors()) > 0 {
				t.Errorf("%+v", r)
			}
			nothingIn(t, path)
		})
	}
}

// TestListedStops: a stop by a plan of its own, and one that kills at once, also when
// another one has begun.
func TestListedStops(t *testing.T) {
	path := ownRegistry(t)
	cmd, _ := waiting(t, corral.Auto, "trap 'exit 7' INT", nil)
	ended := make(chan error)
	go func() { ended <- cmd.Wait() }()
	awaitWait(t)
	f := the(t, path)
	reply, err := ask(t, f, registry.Request{Do: "stop", Signal: int(syscall.SIGINT), Grace: time.Minute})
	if err != nil || reply.Outcome == nil || reply.Outcome.ExitCode != 7 || reply.Outcome.Forced {
		t.Errorf("%+v, %v", reply.Outcome, err)
	}
	<-ended

	cmd, _ = waiting(t, corral.Auto, "trap '' TERM", func(c *corral.Cmd) { c.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Minute}} })
	go func() { ended <- cmd.Wait() }()
	awaitWait(t)
	f = the(t, path)
	gentle := make(chan registry.Reply)
	go func() {
		reply, _ := ask(t, f, registry.Request{Do: "stop"})
		gentle <- reply
	}()
	awaitStopping(t, f)
	began := time.Now()
	reply, err = ask(t, f, registry.Request{Do: "stop", Signal: int(syscall.SIGKILL)})
	if err != nil || reply.Outcome == nil || !reply.Outcome.Forced || reply.Outcome.Signal != "SIGKILL" {
		t.Errorf("%+v, %v", reply.Outcome, err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("the kill took %v", took)
	}
	if reply := <-gentle; reply.Outcome == nil {
		t.Errorf("who had asked before: %+v", reply)
	}
	<-ended
	nothingIn(t, path)
}

// awaitStopping waits until a stop of the run has begun.
func awaitStopping(t *testing.T, f *registry.Found) {
	t.Helper()
	for stopping := false; !stopping; {
		reply, err := ask(t, f, registry.Request{Do: "look"})
		if err != nil {
			t.Fatal(err)
		}
		stopping = reply.Phase == "stopping"
	}
}

// TestListedOutcomes: who waits for a run learns how it ended.
func TestListedOutcomes(t *testing.T) {
	sig := func(sig syscall.Signal) func(*corral.Cmd, *registry.Found) {
		return func(c *corral.Cmd, _ *registry.Found) { c.Signal(sig) }
	}
	for name, c := range map[string]struct {
		text string
		set  func(*corral.Cmd)
		end  func(*corral.Cmd, *registry.Found) // what ends it, if not the end of its input
		want registry.Outcome
	}{
		"success": {want: registry.Outcome{Ending: "exited"}},
		"failure": {text: "trap 'exit 3' EXIT", want: registry.Outcome{Ending: "exited", ExitCode: 3}},
		"signal":  {end: sig(syscall.SIGINT), want: registry.Outcome{Ending: "exited", ExitCode: -1, Signal: "SIGINT"}},
		"leftovers": {text: "sleep 60 >/dev/null &", set: func(c *corral.Cmd) { c.Leftovers = corral.FailOnLeftovers },
			want: registry.Outcome{Ending: "exited", Failed: registry.FailedLeftovers}},
		"timeout": {set: func(c *corral.Cmd) { // of which it does not end before somebody waits
			c.Timeout, c.StopPlan = time.Second, corral.StopPlan{{Signal: syscall.SIGURG, Wait: time.Minute}}
		}, end: func(c *corral.Cmd, f *registry.Found) {
			awaitStopping(t, f)
			c.Signal(syscall.SIGTERM)
		},
			want: registry.Outcome{Ending: "timed_out", ExitCode: -1, Signal: "SIGTERM"}},
		"held output": {text: "sleep 60 >/dev/null &", set: func(c *corral.Cmd) {
			c.Leftovers, c.Stderr, c.WaitDelay = corral.KeepLeftovers, new(bytes.Buffer), 10*time.Millisecond
		},
			want: registry.Outcome{Ending: "exited"}}, // as is to be expected
		"error": {text: "echo >&2", set: func(c *corral.Cmd) { c.Stderr = failing },
			want: registry.Outcome{Ending: "exited", Failed: registry.FailedOther}},
	} {
		t.Run(name, func(t *testing.T) {
			path := ownRegistry(t)
			cmd, stdin := waiting(t, corral.Auto, "trap 'exit 0' EXIT\n"+c.text, c.set)
			f := the(t, path)
			replies := make(chan registry.Reply, 1)
			go func() {
				reply, err := ask(t, f, registry.Request{Do: "wait"})
				if err != nil {
					t.Error(err)
				}
				replies <- reply
			}()
			awaitWaiter(t, f)
			ended := make(chan struct{})
			go func() {
				cmd.Wait()
				close(ended)
			}()
			awaitWait(t)
			if c.end != nil {
				c.end(cmd, f)
			} else {
				stdin.Close()
			}
			<-ended
			reply := <-replies
			if reply.Outcome == nil {
				t.Fatal("no outcome")
			}
			got := *reply.Outcome
			if name == "timeout" { // which is the ending
				got.Failed = ""
			}
			if got != c.want {
				t.Errorf("%+v; want %+v", got, c.want)
			}
			stopKept(t, cmd)
			cleared(t, path)
		})
	}
}

// stopKept kills what the run has kept.
func stopKept(t *testing.T, cmd *corral.Cmd) {
	t.Helper()
	for _, l := range cmd.Report().Leftovers {
		if l.Fate != corral.Kept {
			continue
		}
		if err := reach.SignalProcess(proctree.ID{PID: l.PID, Start: l.Start}, os.Kill); err != nil {
			t.Error(err)
		}
	}
}

// cleared says that nothing of a run remains in the registry once what it has kept has
// ended.
func cleared(t *testing.T, path string) {
	t.Helper()
	d, err := registry.OpenDir(path, os.Geteuid(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		c, err := d.List()
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Kept) == 0 {
			break
		} else if time.Since(began) > time.Minute {
			t.Fatalf("%+v", c)
		}
	}
	nothingIn(t, path)
}

// TestListedRedacted: no argument is in the registry, or told over the socket.
func TestListedRedacted(t *testing.T) {
	path := ownRegistry(t)
	cmd, stdin := waiting(t, corral.Auto, "trap 'echo >&2; exit 0' EXIT # swordfish\n", func(c *corral.Cmd) {
		c.Redact, c.Env = true, append(os.Environ(), "SECRET=marlin")
		c.Stderr = writerFunc(func([]byte) (int, error) { return 0, errors.New("no swordfish is taken") })
	})
	f := the(t, path)
	b, err := os.ReadFile(filepath.Join(path, f.ID+".json"))
	if err != nil || bytes.Contains(b, []byte("swordfish")) || bytes.Contains(b, []byte("marlin")) || !f.Redacted {
		t.Errorf("%s, %v", b, err)
	}
	reply, err := ask(t, f, registry.Request{Do: "look"})
	if err != nil || len(reply.Members) == 0 || len(reply.Members[0].Command) != 1 {
		t.Errorf("%+v, %v", reply, err)
	}
	told := make(chan []byte, 1)
	go func() {
		reply, _ := ask(t, f, registry.Request{Do: "wait"})
		b, _ := json.Marshal(reply)
		told <- b
	}()
	awaitWaiter(t, f)
	if err := endInput(t, cmd, stdin); err == nil || !strings.Contains(err.Error(), "swordfish") {
		t.Errorf("%v", err)
	}
	if b := <-told; bytes.Contains(b, []byte("swordfish")) || !bytes.Contains(b, []byte(`"failed":"other"`)) {
		t.Errorf("told: %s", b)
	}
}

// awaitWaiter waits until somebody waits for the outcome of a run.
func awaitWaiter(t *testing.T, f *registry.Found) {
	t.Helper()
	for began := time.Now(); ; {
		reply, err := ask(t, f, registry.Request{Do: "look"})
		if err != nil {
			t.Fatal(err)
		}
		if reply.Waiting > 0 {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatal("nobody waits")
		}
	}
}

// TestUnlisted: a run that cannot be registered is a run like any other, and says why;
// one without a Name is not registered.
func TestUnlisted(t *testing.T) {
	path := ownRegistry(t)
	cmd := corral.Command("true")
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	if id, err := cmd.RunID(); id != "" || err != nil {
		t.Errorf("%q, %v", id, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a run without a name has made the registry: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	log := newListener()
	cmd = corral.Command("true")
	cmd.Name, cmd.Logger = "x", slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn}))
	if err := cmd.Run(); err != nil {
		t.Error(err)
	}
	if id, err := cmd.RunID(); id == "" || err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("%q, %v", id, err)
	}
	log.awaitLog(t, "the run is not registered")
}

// TestListedWrong: what a run cannot be registered with starts nothing.
func TestListedWrong(t *testing.T) {
	for want, set := range map[string]func(*corral.Cmd){
		`Name "a b"`: func(c *corral.Cmd) { c.Name = "a b" },
		"Cmd.Name":   func(c *corral.Cmd) { c.Labels = map[string]string{"a": "b"} },
		"set Cmd":    func(c *corral.Cmd) { c.Redact = true },
		"Labels":     func(c *corral.Cmd) { c.Name, c.Labels = "x", map[string]string{"": "b"} },
	} {
		cmd := corral.Command("true")
		set(cmd)
		if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "corral: ") {
			t.Errorf("%s: %v", want, err)
		}
		if cmd.Process != nil {
			cmd.Wait()
		}
	}
}

// TestListedUnclaimed: a run that is over is not listed for long, also if nobody calls Wait.
func TestListedUnclaimed(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	path := ownRegistry(t)
	_, stdin := waiting(t, corral.Auto, "", nil)
	f := the(t, path)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		reply, err := ask(t, f, registry.Request{Do: "wait"})
		if err != nil || reply.Outcome == nil || reply.Outcome.Failed != registry.NotWaited {
			t.Errorf("%+v, %v", reply.Outcome, err)
		}
	}()
	awaitWaiter(t, f) // before it ends: it may be off the registry when a slow test asks
	stdin.Close()
	<-ended
	nothingIn(t, path)
}

// TestListedKept: what is kept is in the registry for as long as it lives, and can be
// told by that.
func TestListedKept(t *testing.T) {
	path := ownRegistry(t)
	cmd, stdin := waiting(t, corral.Auto, "sleep 60 >/dev/null 2>&1 &", func(c *corral.Cmd) { c.Leftovers = corral.KeepLeftovers })
	endInput(t, cmd, stdin)
	c := registered(t, path)
	kept := cmd.Report().Leftovers
	stopKept(t, cmd)
	if len(kept) != 1 || len(c.Runs) != 0 || len(c.Kept) != 1 || len(c.Kept[0].Kept) != 1 || c.Kept[0].Kept[0].PID != kept[0].PID {
		t.Errorf("%+v; kept: %+v", c, kept)
	}
	cleared(t, path)
}

// TestListedScope: a run of which a Scope holds something is listed until that is
// over.
func TestListedScope(t *testing.T) {
	path := ownRegistry(t)
	for _, cont := range []corral.Containment{corral.Cgroup, corral.Keeper} {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			var s corral.Scope
			cmd, stdin := waiting(t, cont, "sleep 60 >/dev/null &", func(c *corral.Cmd) { c.Scope, c.Leftovers = &s, corral.HoldLeftovers })
			endInput(t, cmd, stdin)
			f := the(t, path)
			reply, err := ask(t, f, registry.Request{Do: "look"})
			if err != nil || reply.Phase != "ending" || len(reply.Members) != 1 {
				t.Errorf("%+v, %v", reply, err)
			}
			if reply, err := ask(t, f, registry.Request{Do: "stop"}); err != nil || reply.Outcome == nil {
				t.Errorf("%+v, %v", reply, err)
			}
			if _, err := s.Close(context.Background()); err != nil {
				t.Error(err)
			}
			nothingIn(t, path)
		})
	}
}
