package corral_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/leak"
	"github.com/corral-run/corral/internal/proctree"
)

// holding are the containments that can hold.
var holding = []corral.Containment{corral.PIDNS, corral.Cgroup, corral.Keeper}

func init() { escape.Register("scope-owner", scopeOwner) }

// scopeOwner is a program that holds what its command has left, says so, and is
// killed.
func scopeOwner(args []string) {
	scope := new(corral.Scope)
	inner := exec.Command(args[1], args[2:]...)
	inner.Stderr = os.Stderr
	escape.Attach(inner, escape.Inherited())
	cmd := corral.Wrap(inner)
	cmd.Scope, cmd.Leftovers = scope, corral.HoldLeftovers
	cmd.Containment, cmd.Require = corral.Containment(args[0]), corral.Containment(args[0])
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
	err := cmd.Run()
	fmt.Println("held", len(scope.Runs()), err)
	time.Sleep(escape.Lifetime)
}

// heldShell is a command of the scope under the containment, whose output goes to a Tail.
// Its scripts obey SIGTERM, and have a minute for it.
func heldShell(scope *corral.Scope, cont corral.Containment, script string) (*corral.Cmd, *corral.Tail) {
	tail := new(corral.Tail)
	cmd := scope.Command("sh", "-c", script)
	cmd.Containment, cmd.Require = cont, cont
	cmd.StopPlan, cmd.Stdout, cmd.Stderr = patient, tail, tail
	return cmd, tail
}

func forHolding(t *testing.T, f func(t *testing.T, cont corral.Containment)) {
	for _, cont := range holding {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			f(t, cont)
		})
	}
}

// TestScope: Wait returns with the command's output and exit status while a server
// lives on, whose output still arrives; it can be listed, signalled and stopped by
// identity; another one is stopped by Close.
func TestScope(t *testing.T) {
	forHolding(t, func(t *testing.T, cont corral.Containment) {
		before := leak.Now()
		scope := new(corral.Scope)
		fifo := t.TempDir() + "/fifo"
		if err := syscall.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		server, tail := heldShell(scope, cont, `(trap 'echo usr1' USR1; while :; do read line <'`+fifo+`' && echo got $line; done) & echo up; exit 3`)
		other, _ := heldShell(scope, cont, `sleep 60 & sleep 60 &`)
		none, _ := heldShell(scope, cont, `true`)
		var exit *corral.ExitError
		if err := server.Run(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
			t.Fatalf("Run: %v", err)
		}
		if !strings.Contains(tail.String(), "up\n") {
			t.Errorf("Wait has returned before the output was there: %q", tail)
		}
		if err := errors.Join(other.Run(), none.Run()); err != nil {
			t.Fatal(err)
		}
		if got := scope.Runs(); !slices.Equal(got, []*corral.Cmd{server, other}) {
			t.Errorf("Runs: %v", got)
		}
		for _, l := range server.Report().Leftovers {
			if l.Fate != corral.Held {
				t.Errorf("%v: %s", l, l.Fate)
			}
		}
		if err := os.WriteFile(fifo, []byte("news\n"), 0); err != nil {
			t.Fatal(err)
		}
		eventually(t, "output after Wait", func() bool { return strings.Contains(tail.String(), "got news\n") })
		checkByIdentity(t, scope, server, other, tail)

		report, err := scope.Close(t.Context())
		if err != nil || len(report.Leftovers) != 1 || report.Leftovers[0].Fate != corral.Signalled {
			t.Errorf("Close: %+v, %v", report, err)
		}
		if again, err := scope.Close(t.Context()); again != report || err != nil {
			t.Errorf("Close again: %v, %v", again, err)
		}
		late, _ := heldShell(scope, cont, `true`)
		if err := late.Run(); !errors.Is(err, corral.ErrScopeClosed) || err.Error() != "corral: the Scope is closed" {
			t.Errorf("Start after Close: %v", err)
		}
		if left, err := scope.Processes(); len(left)+len(scope.Runs()) > 0 || err != nil {
			t.Errorf("left after Close: %v, %v", left, err)
		}
		if err := leak.Since(before); err != nil {
			t.Error(err)
		}
	})
}

// checkByIdentity signals and stops what is held. One of other's processes remains.
func checkByIdentity(t *testing.T, scope *corral.Scope, server, other *corral.Cmd, tail *corral.Tail) {
	t.Helper()
	members, err := server.Members()
	all, aerr := scope.Processes()
	if err != nil || aerr != nil || len(members) != 1 || len(all) != 3 {
		t.Fatalf("members %v, %v; all %v, %v", members, err, all, aerr)
	}
	p := members[0]
	if err := scope.Signal(p, syscall.SIGUSR1); err != nil {
		t.Error(err)
	}
	eventually(t, "the signal", func() bool { return strings.Contains(tail.String(), "usr1") })
	if err := scope.Signal(corral.Process{PID: p.PID}, syscall.SIGKILL); err == nil || errors.Is(err, os.ErrProcessDone) {
		t.Errorf("a PID alone: %v", err)
	}
	if err := scope.Signal(corral.Process{PID: p.PID, Start: p.Start + 1}, syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("an earlier process of that PID: %v", err)
	}
	self := corral.Process{PID: os.Getpid(), Start: ownStart(t)}
	if err := scope.Signal(self, syscall.SIGURG); err == nil || !strings.Contains(err.Error(), "is not of this Scope") {
		t.Errorf("a stranger: %v", err)
	}
	if err := scope.Stop(t.Context(), self); err == nil || !strings.Contains(err.Error(), "is not of this Scope") {
		t.Errorf("a stranger: %v", err)
	}
	if err := scope.Stop(t.Context(), p); err != nil {
		t.Errorf("Stop: %v", err)
	}
	eventually(t, "the end of the run", func() bool { return slices.Equal(scope.Runs(), []*corral.Cmd{other}) })
	if err := scope.Stop(t.Context(), p); err != nil {
		t.Errorf("Stop again: %v", err)
	}
	if l := server.Report().Leftovers; len(l) != 1 || l[0].Fate != corral.Ended {
		t.Errorf("leftovers %v", l)
	}
	if rest, err := other.Members(); err != nil || len(rest) != 2 {
		t.Errorf("the others: %v, %v", rest, err)
	} else if err := scope.Stop(t.Context(), rest[0]); err != nil {
		t.Error(err)
	} else if left, err := other.Members(); err != nil || len(left) != 1 || left[0].PID != rest[1].PID {
		t.Errorf("the other: %v, %v", left, err)
	}
}

func ownStart(t *testing.T) uint64 {
	t.Helper()
	id, err := proctree.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return id.Start
}

// TestScopeEscape: whatever shape a command leaves behind, Close and the owner's death
// leave nothing of it.
func TestScopeEscape(t *testing.T) {
	for _, cont := range holding[1:] {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			for _, child := range escape.All() {
				if testing.Short() && !slices.Contains([]string{"daemon", "ignore-term", "respawn", "stop-helper"}, child.Name) {
					continue
				}
				if endings[child.Name] != "" || child.Name == "mover" { // see expected
					continue
				}
				t.Run(child.Name, func(t *testing.T) {
					if err := child.Unavailable(); err != nil {
						t.Skip("SKIPPED: ", err)
					}
					t.Run("close", func(t *testing.T) { scopeIsClosed(t, cont, child) })
					t.Run("owner", func(t *testing.T) { scopeOwnerIsKilled(t, cont, child) })
				})
			}
		})
	}
}

func scopeIsClosed(t *testing.T, cont corral.Containment, child escape.Child) {
	t.Parallel()
	escape.StartBystander(t)
	probe := escape.NewProbe(t, child)
	path, args, files := probe.Command()
	scope := new(corral.Scope)
	inner := exec.Command(path, args...)
	inner.Stderr = os.Stderr
	escape.Attach(inner, files)
	cmd := corral.Wrap(inner)
	cmd.Scope, cmd.Leftovers = scope, corral.HoldLeftovers
	cmd.Containment, cmd.Require = cont, cont
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	probe.Started()
	members := probe.Ready(t.Context())
	probe.Release()
	if err := cmd.Wait(); err != nil {
		t.Errorf("Wait: %v", err)
	}
	if len(members) > 1 && len(scope.Runs()) == 0 {
		t.Error("nothing is held")
	}
	if _, err := scope.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
	gone(t, probe, nil)
}

// startScopeOwner starts the owner of a Scope, whose command is the child, and
// returns what it prints.
func startScopeOwner(t *testing.T, cont corral.Containment, child escape.Child) (*escape.Probe, *exec.Cmd, *bufio.Reader) {
	t.Helper()
	probe := escape.NewProbe(t, child)
	path, args, files := probe.Command()
	self, ownerArgs := escape.Command("scope-owner", append([]string{string(cont), path}, args...)...)
	cmd := exec.Command(self, ownerArgs...)
	cmd.Stderr = os.Stderr
	escape.Attach(cmd, files)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	probe.Started()
	probe.Ready(t.Context())
	probe.Release()
	return probe, cmd, bufio.NewReader(out)
}

func scopeOwnerIsKilled(t *testing.T, cont corral.Containment, child escape.Child) {
	t.Parallel()
	escape.StartBystander(t)
	probe, cmd, out := startScopeOwner(t, cont, child)
	if line, err := out.ReadString('\n'); line != "held 1 <nil>\n" {
		t.Errorf("the owner says %q, %v", line, err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	gone(t, probe, nil)
}

// TestScopeGuard: the guard is replaced also when somebody kills it while a run is
// held, so that the owner's death then leaves nothing.
func TestScopeGuard(t *testing.T) {
	need(t, corral.Cgroup)
	child := escape.All()[slices.IndexFunc(escape.All(), func(c escape.Child) bool { return c.Name == "plain" })]
	probe, cmd, out := startScopeOwner(t, corral.Cgroup, child)
	out.ReadString('\n')
	guards := func() []proctree.ID {
		pids, err := proctree.ChildPIDs(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		var ids []proctree.ID
		for _, pid := range pids {
			if id, err := proctree.Identify(pid); err == nil {
				ids = append(ids, id)
			}
		}
		return ids
	}
	first := guards()
	if len(first) != 1 {
		t.Fatalf("children of the owner, whose only one is the guard: %v", first)
	}
	guard, err := proctree.Open(first[0])
	if err == nil {
		err = guard.Signal(os.Kill)
		guard.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is no other guard", func() bool { now := guards(); return len(now) == 1 && now[0] != first[0] })
	cmd.Process.Kill()
	cmd.Wait()
	gone(t, probe, nil)
}

// TestScopeBounded: a Writer that does not return does not keep Close.
func TestScopeBounded(t *testing.T) {
	need(t, corral.Keeper)
	t.Parallel()
	scope := new(corral.Scope)
	cmds, blocked := stuck(t, scope, 1, 100*time.Millisecond)
	if _, err := scope.Close(t.Context()); !errors.Is(err, corral.ErrWaitDelay) {
		t.Errorf("Close: %v", err)
	}
	if left, err := cmds[0].Members(); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	close(blocked[0].release)
}

// blockedWriter passes nothing on before it is released.
type blockedWriter struct {
	corral.Tail
	entered, release chan struct{}
	once             sync.Once
}

func newBlockedWriter() *blockedWriter {
	return &blockedWriter{entered: make(chan struct{}), release: make(chan struct{})}
}

func (w *blockedWriter) Write(p []byte) (int, error) {
	w.once.Do(func() { close(w.entered) })
	<-w.release
	return w.Tail.Write(p)
}

// stuck runs commands of the scope, of each of which something is held that has written
// "late" to a Writer, which is blocked. They write when all have been run, as Wait waits
// for such a Writer for as long as its own WaitDelay.
func stuck(t *testing.T, scope *corral.Scope, count int, delay time.Duration) (cmds []*corral.Cmd, writers []*blockedWriter) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	for range count {
		cmd, _ := heldShell(scope, corral.Keeper, `(read go; echo late; exec sleep 60) <&3 & :`)
		blocked := newBlockedWriter()
		cmd.Stdout, cmd.Stderr, cmd.WaitDelay = blocked, nil, delay
		cmd.ExtraFiles = []*os.File{r}
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		cmds, writers = append(cmds, cmd), append(writers, blocked)
	}
	for range count {
		fmt.Fprintln(w, "go") // a shell reads a pipe byte by byte, and so to the end of one line
	}
	for _, blocked := range writers {
		<-blocked.entered
	}
	return cmds, writers
}

// TestScopeStuck: Wait does not wait longer than its own WaitDelay for the Writers of
// what is held of other commands, however many of them are blocked.
func TestScopeStuck(t *testing.T) {
	need(t, corral.Keeper)
	t.Parallel()
	scope := new(corral.Scope)
	_, blocked := stuck(t, scope, 2, tooLong)
	other, _ := heldShell(scope, corral.Keeper, `true`)
	other.WaitDelay = 100 * time.Millisecond
	done := make(chan error, 1)
	go func() { done <- other.Run() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(tooLong / 2):
		t.Error("Wait waits for Writers of other commands")
	}
	close(blocked[0].release)
	close(blocked[1].release)
	if _, err := scope.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestScopeBeside: two commands that end at the same time both wait until what has been
// written before that has been passed on.
func TestScopeBeside(t *testing.T) {
	need(t, corral.Keeper)
	t.Parallel()
	scope := new(corral.Scope)
	_, writers := stuck(t, scope, 1, tooLong)
	blocked := writers[0]
	seen := make(chan string, 2)
	for range 2 {
		other, _ := heldShell(scope, corral.Keeper, `true`)
		other.WaitDelay = time.Minute
		go func() {
			if err := other.Run(); err != nil {
				t.Error(err)
			}
			seen <- blocked.String()
		}()
	}
	select {
	case got := <-seen:
		t.Errorf("Wait has returned with %q passed on", got)
		seen <- got
	case <-time.After(200 * time.Millisecond): // who does not wait is soon done
	}
	close(blocked.release)
	for range 2 {
		if got := <-seen; got != "late\n" {
			t.Errorf("passed on: %q", got)
		}
	}
	if _, err := scope.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestScopeWaitBesideClose: Wait returns with all of the output and a Report that tells
// of it, also when Close is what delivers it.
func TestScopeWaitBesideClose(t *testing.T) {
	need(t, corral.Keeper)
	t.Parallel()
	scope := new(corral.Scope)
	cmd, _ := heldShell(scope, corral.Keeper, `echo hi; sleep 60 & :`)
	blocked := newBlockedWriter()
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = blocked, nil, 50*time.Millisecond
	log := new(corral.Tail)
	cmd.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	<-blocked.entered
	eventually(t, "nothing is held", func() bool { return strings.Contains(log.String(), "which the Scope holds") })
	if _, err := scope.Close(t.Context()); !errors.Is(err, corral.ErrWaitDelay) { // it goes on to deliver
		t.Errorf("Close: %v", err)
	}
	waited := make(chan string, 1)
	go func() {
		if err := cmd.Wait(); err != nil {
			t.Errorf("Wait: %v", err)
		}
		waited <- blocked.String()
	}()
	select {
	case got := <-waited:
		t.Errorf("Wait has returned with %q passed on", got)
		waited <- got
	case <-time.After(200 * time.Millisecond): // who does not wait is soon done
	}
	close(blocked.release)
	if got := <-waited; got != "hi\n" {
		t.Errorf("passed on: %q", got)
	}
	if l := cmd.Report().Leftovers; len(l) != 1 || l[0].Fate != corral.Signalled {
		t.Errorf("leftovers %v", l)
	}
}

// TestScopeCloseCopies: Close returns with all of the output also of a command that it
// stops while it runs, whoever waits for that.
func TestScopeCloseCopies(t *testing.T) {
	t.Parallel()
	for _, policy := range []corral.LeftoverPolicy{corral.HoldLeftovers, corral.KillLeftovers} {
		for _, wait := range []bool{true, false} {
			for _, pty := range []bool{true, false} {
				if pty && policy == corral.HoldLeftovers {
					continue // they exclude each other
				}
				t.Run(fmt.Sprint(policy, wait, pty), func(t *testing.T) {
					t.Parallel()
					closeCopies(t, policy, wait, pty)
				})
			}
		}
	}
}

func closeCopies(t *testing.T, policy corral.LeftoverPolicy, wait, pty bool) {
	need(t, corral.Keeper)
	scope := new(corral.Scope)
	cmd, _ := heldShell(scope, corral.Keeper, `echo hi; exec sleep 60`)
	blocked := newBlockedWriter()
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay, cmd.Leftovers = blocked, nil, time.Minute, policy
	if pty {
		cmd.PTY = new(corral.PTY)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waited := make(chan error, 1)
	if wait {
		go func() { waited <- cmd.Wait() }()
	}
	<-blocked.entered
	closed := make(chan string, 1)
	go func() {
		if _, err := scope.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		closed <- strings.TrimSpace(blocked.String())
	}()
	select {
	case got := <-closed:
		t.Errorf("Close has returned with %q passed on", got)
		closed <- got
	case <-time.After(200 * time.Millisecond): // who does not wait is soon done
	}
	close(blocked.release)
	if got := <-closed; got != "hi" {
		t.Errorf("passed on: %q", got)
	}
	if !wait {
		waited <- cmd.Wait()
	}
	var exit *corral.ExitError
	if err := <-waited; !errors.As(err, &exit) {
		t.Errorf("Wait: %v", err)
	}
}

// TestScopeConcurrent: Start, Wait, Signal, Stop and Close may all happen at once.
func TestScopeConcurrent(t *testing.T) {
	for _, cont := range holding[1:] {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			before := leak.Now()
			scope := new(corral.Scope)
			var users sync.WaitGroup
			held := make(chan struct{}, 100)
			for range 4 {
				users.Go(func() {
					for {
						cmd, _ := heldShell(scope, cont, `sleep 60 & echo hi`)
						err := cmd.Start()
						if errors.Is(err, corral.ErrScopeClosed) {
							return
						}
						if err != nil {
							t.Error(err)
							return
						}
						cmd.Wait() // Close may have stopped it
						select {
						case held <- struct{}{}:
						default:
						}
						for _, p := range known(cmd.Members()) {
							scope.Signal(p, syscall.SIGCONT)
						}
						go cmd.Signal(syscall.SIGCONT)
						if all := known(scope.Processes()); len(all) > 6 {
							if err := scope.Stop(context.Background(), all[0]); err != nil && !strings.Contains(err.Error(), "identified") {
								t.Errorf("Stop: %v", err)
							}
						}
					}
				})
			}
			for range 12 {
				<-held
			}
			if _, err := scope.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
			users.Wait()
			if left, err := scope.Processes(); len(left) > 0 || err != nil {
				t.Errorf("left: %v, %v", left, err)
			}
			if err := leak.Since(before); err != nil {
				t.Error(err)
			}
		})
	}
}

func known(p []corral.Process, _ error) []corral.Process { return p }

// TestScopeNotHeld: what a Scope does not hold: commands with another policy, ones
// that were stopped, and where it cannot.
func TestScopeNotHeld(t *testing.T) {
	t.Parallel()
	scope := new(corral.Scope)
	defer scope.Close(context.Background())
	kill, _ := heldShell(scope, "", `sleep 60 & :`)
	kill.Leftovers = corral.KillLeftovers
	if err := kill.Run(); err != nil || len(scope.Runs()) > 0 || kill.Report().Leftovers[0].Fate != corral.Signalled {
		t.Errorf("KillLeftovers: %v, %v", err, kill.Report())
	}
	slow, _ := heldShell(scope, "", `sleep 60 & sleep 60`)
	slow.Timeout = 50 * time.Millisecond
	if err := slow.Run(); !errors.Is(err, context.DeadlineExceeded) || len(scope.Runs()) > 0 {
		t.Errorf("Timeout: %v, %v", err, scope.Runs())
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	lasting := scope.CommandContext(ctx, "sh", "-c", "sleep 60 & echo hi")
	out, err := lasting.Output()
	cancel()
	if err != nil || string(out) != "hi\n" || len(known(scope.Processes())) != 1 {
		t.Errorf("Output: %q, %v", out, err)
	}
	if err := lasting.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if left := known(lasting.Members()); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	group, _ := heldShell(scope, corral.Group, `true`)
	var refused *corral.ContainmentError
	if err := group.Run(); !errors.As(err, &refused) || !strings.Contains(err.Error(), "leftovers cannot be held") {
		t.Errorf("group: %v", err)
	}
	for want, change := range map[string]func(*corral.Cmd){
		"needs a Scope":            func(c *corral.Cmd) { c.Scope = nil },
		"and a PTY exclude":        func(c *corral.Cmd) { c.PTY = new(corral.PTY) },
		"and AdoptOrphans exclude": func(c *corral.Cmd) { c.AdoptOrphans = true },
		"and OutputLimit exclude":  func(c *corral.Cmd) { c.OutputLimit = 1 },
		"and Keep or AllowDetach":  func(c *corral.Cmd) { c.Keep = func(corral.Process) bool { return true } },
		"Keep or AllowDetach excl": func(c *corral.Cmd) { c.AllowDetach = true },
	} {
		cmd := scope.Command("true")
		change(cmd)
		if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
}

// TestScopeTimes: the time limits of a command end with its leader, and not what it has
// left.
func TestScopeTimes(t *testing.T) {
	t.Parallel()
	forHolding(t, func(t *testing.T, cont corral.Containment) {
		scope := new(corral.Scope)
		defer scope.Close(context.Background())
		limit := 300 * time.Millisecond
		for {
			cmd, _ := heldShell(scope, cont, `sleep 60 & echo`)
			cmd.Timeout, cmd.IdleTimeout = limit, limit
			err := cmd.Run()
			if err == nil {
				break
			}
			if limit *= 2; !errors.Is(err, context.DeadlineExceeded) || limit > time.Minute {
				t.Fatal(err)
			}
		}
		// The limits pass while this one runs.
		longer, _ := heldShell(scope, cont, fmt.Sprintf("sleep %f", 2*limit.Seconds()))
		if err := longer.Run(); err != nil {
			t.Error(err)
		}
		if held := known(scope.Processes()); len(held) != 1 {
			t.Errorf("held: %v", held)
		}
	})
}

// TestScopeStdin: the stop of what is held closes standard input, if the plan says
// so. A stop of one process does not, and goes on with the next step.
func TestScopeStdin(t *testing.T) {
	forHolding(t, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		for _, whole := range []bool{true, false} {
			scope := new(corral.Scope)
			cmd, _ := heldShell(scope, cont, `exec 3<&0; cat <&3 & exit 0`)
			cmd.StopPlan = corral.StopPlan{{CloseStdin: true, Wait: time.Minute}, {Signal: syscall.SIGTERM, Wait: time.Minute}}
			if _, err := cmd.StdinPipe(); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			if !whole {
				if err := scope.Stop(t.Context(), known(scope.Processes())[0]); err != nil {
					t.Error(err)
				}
			}
			rep, err := scope.Close(t.Context())
			if err != nil {
				t.Error(err)
			}
			if whole && (len(rep.Leftovers) != 1 || rep.Leftovers[0].Signal != "stdin") {
				t.Errorf("%+v, want one that ended by stdin", rep.Leftovers)
			}
		}
	})
}

// TestScopeNoWait: Close stops a command that still runs, and what one has left for
// which nobody has called Wait. Wait comes later.
func TestScopeNoWait(t *testing.T) {
	forHolding(t, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		scope := new(corral.Scope)
		runs, _ := heldShell(scope, cont, `sleep 60`)
		left, tail := heldShell(scope, cont, `sleep 60 & echo hi; exit 4`)
		if err := errors.Join(runs.Start(), left.Start()); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the leader's end", func() bool {
			members := known(left.Members())
			return len(members) == 1 && strings.HasPrefix(members[0].Command[0], "sleep")
		})
		if _, err := scope.Close(t.Context()); err != nil {
			t.Error(err)
		}
		var exit *corral.ExitError
		if err := left.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 4 || tail.String() != "hi\n" {
			t.Errorf("Wait: %v, %q", err, tail)
		}
		if err := runs.Wait(); !errors.As(err, &exit) || runs.Report().Ending != corral.Stopped {
			t.Errorf("Wait: %v", err)
		}
	})
}
