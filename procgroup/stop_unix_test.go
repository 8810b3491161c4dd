//go:build linux || darwin || freebsd

package procgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/pgroup/pgtest"
	"github.com/corral-run/corral/internal/proctree"
)

// stopped runs stop and fails the test if the result is another than want, an
// error, or if it took as long as a grace period.
func stopped(t *testing.T, want Result, stop func() (Result, error)) {
	t.Helper()
	bystander := pgtest.StartBystander(t)
	start := time.Now()
	got, err := stop()
	if took := time.Since(start); took > long/4 {
		t.Errorf("it took %v", took)
	}
	if got != want || err != nil {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
	bystander.Unharmed(t)
}

func noneAlive(t *testing.T, tree *pgtest.Tree) {
	t.Helper()
	if live := alive(tree); live != nil {
		t.Errorf("alive after the return: %v of %v", live, tree.IDs)
	}
}

// until calls stop with a context that ends when happened has returned.
func until(t *testing.T, happened func(), stop func(context.Context) (Result, error)) (Result, error) {
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		defer cancel()
		happened()
	}()
	result, err := stop(ctx)
	<-over
	return result, err
}

// TestGracefulKillMemberIgnoresSignal: the leader obeys the signal, a member
// ignores it.
func TestGracefulKillMemberIgnoresSignal(t *testing.T) {
	for _, first := range []Signal{Term, Int, Kill} {
		t.Run(first.String(), func(t *testing.T) {
			tree := pgtest.Start(t, spec{Group: true, Children: []spec{{Mode: pgtest.Ignore}}})
			stopped(t, ForcefulKill, func() (Result, error) {
				// A grace period that ends before the leader would have it killed.
				return until(t, func() { tree.Ended(t, 0) }, func(ctx context.Context) (Result, error) {
					return GracefulKillContext(ctx, tree.PID, first, long)
				})
			})
			noneAlive(t, tree)
			want := map[Signal]syscall.Signal{Term: syscall.SIGTERM, Int: syscall.SIGINT, Kill: syscall.SIGTERM}
			if got := tree.Reap().Sys().(syscall.WaitStatus).Signal(); got != want[first] {
				t.Errorf("the leader was ended by %v, want %v", got, want[first])
			}
		})
	}
}

// TestGracefulKillLeaderHasLeft: the leader has left, members live.
func TestGracefulKillLeaderHasLeft(t *testing.T) {
	for _, test := range []struct {
		name   string
		mode   pgtest.Mode
		reaped bool
		grace  time.Duration
		want   Result
	}{
		{"obedient, leader a zombie", pgtest.Block, false, long, GracefulExit},
		{"obedient, leader reaped", pgtest.Block, true, long, GracefulExit},
		{"disobedient, leader a zombie", pgtest.Ignore, false, short, ForcefulKill},
		{"disobedient, leader reaped", pgtest.Ignore, true, short, ForcefulKill},
	} {
		t.Run(test.name, func(t *testing.T) {
			tree := pgtest.Start(t, spec{Mode: pgtest.Exit, Group: true, Children: []spec{{Mode: test.mode}, {Mode: test.mode}}})
			tree.Ended(t, 0)
			if test.reaped {
				tree.Reap()
			}
			stopped(t, test.want, func() (Result, error) { return GracefulKill(tree.PID, Term, test.grace) })
			noneAlive(t, tree)
		})
	}
}

// TestGracefulKillUnreapedLeader: the target ends at once, but its parent has yet
// to reap it.
func TestGracefulKillUnreapedLeader(t *testing.T) {
	tree := pgtest.Start(t, spec{Group: true})
	stopped(t, GracefulExit, func() (Result, error) { return GracefulKill(tree.PID, Term, long) })
	if state := tree.Reap(); state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGTERM {
		t.Error("the leader ended otherwise:", state)
	}
}

// TestGracefulKillZombies: a group of zombies is gone. A process in state Z with
// live threads is not.
func TestGracefulKillZombies(t *testing.T) {
	t.Run("zombies", func(t *testing.T) {
		tree := pgtest.Start(t, spec{Mode: pgtest.Exit, Group: true})
		tree.Ended(t, 0)
		stopped(t, AlreadyExited, func() (Result, error) { return GracefulKill(tree.PID, Term, long) })
	})
	t.Run("live threads", func(t *testing.T) {
		if !pgtest.Headless.Possible() {
			t.Skip("SKIPPED, needs Linux, where a main thread can end alone")
		}
		for _, test := range []struct {
			mode  pgtest.Mode
			grace time.Duration
			want  Result
		}{{pgtest.Headless, long, GracefulExit}, {pgtest.HeadlessIgnore, short, ForcefulKill}} {
			tree := pgtest.Start(t, spec{Mode: test.mode, Group: true})
			tree.AwaitState(t, 0, proctree.Zombie)
			if !tree.Left() {
				t.Fatal("the process has ended as a whole")
			}
			stopped(t, test.want, func() (Result, error) { return GracefulKill(tree.PID, Term, test.grace) })
			noneAlive(t, tree)
			tree.Gone(t)
		}
	})
}

// TestGracefulKillSignalsOnce: no signal is delivered twice.
func TestGracefulKillSignalsOnce(t *testing.T) {
	calls := map[string]func(context.Context, int) (Result, error){
		"GracefulKillContext": func(ctx context.Context, pid int) (Result, error) { return GracefulKillContext(ctx, pid, Term, long) },
		"GracefulKillTree":    func(ctx context.Context, pid int) (Result, error) { return GracefulKillTree(ctx, pid, Term, long) },
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			members := slices.Repeat([]spec{{Mode: pgtest.Count}}, 9)
			tree := pgtest.Start(t, spec{Mode: pgtest.Count, Group: true, Children: members})
			stopped(t, ForcefulKill, func() (Result, error) {
				asked := func() {
					// Everyone's answer to the signal, and then to two questions: a
					// second signal would be reported in between.
					got := make(map[string]int)
					hear := func(n int) {
						for range n {
							got[tree.Line(t)]++
						}
					}
					hear(len(tree.IDs))
					for range 2 {
						for i := range tree.IDs {
							tree.Send(t, i, syscall.SIGUSR1)
						}
						hear(len(tree.IDs))
					}
					for _, id := range tree.IDs {
						if n := got[fmt.Sprint("got ", id.PID, " ", syscall.SIGTERM)]; n != 1 {
							t.Errorf("process %d got SIGTERM %d times", id.PID, n)
						}
					}
				}
				return until(t, asked, func(ctx context.Context) (Result, error) { return call(ctx, tree.PID) })
			})
			for _, line := range tree.Lines(t) {
				t.Errorf("a signal too many: %s", line)
			}
		})
	}
}

// TestGracefulKillSeesDeath: a kill is reported when the death was seen, and not
// before.
func TestGracefulKillSeesDeath(t *testing.T) {
	t.Run("seen", func(t *testing.T) {
		tree := pgtest.Start(t, spec{Mode: pgtest.Ignore, Group: true, Children: slices.Repeat([]spec{{Mode: pgtest.Ignore}}, 9)})
		result, err := GracefulKill(tree.PID, Term, 0)
		noneAlive(t, tree)
		if result != ForcefulKill || err != nil {
			t.Error(result, err)
		}
	})
	t.Run("not seen", func(t *testing.T) {
		tree := pgtest.Start(t, spec{Group: true})
		live, err := proctree.Group(tree.PID)
		if err != nil {
			t.Fatal(err)
		}
		const timeout = 200 * time.Millisecond
		start := time.Now()
		result, err := kill(t.Context(), &immortal{live}, timeout)
		if want := fmt.Sprintf("process %d (", tree.PID); result != Error || err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, %v, want an error that names process %d", result, err, tree.PID)
		}
		if took := time.Since(start); took < timeout || took > long/4 {
			t.Errorf("it took %v, want %v", took, timeout)
		}
	})
}

// immortal is a target that no signal has an effect on.
type immortal struct{ live []proctree.Process }

func (i *immortal) members() ([]proctree.Process, error) { return slices.Clone(i.live), nil }

func (i *immortal) signal(Signal) error { return nil }

func (i *immortal) resume() {}

func (i *immortal) close() {}

// TestGracefulKillStoppedMember: a stopped member obeys, as it is continued.
func TestGracefulKillStoppedMember(t *testing.T) {
	for name, s := range map[string]spec{
		"leader": {Mode: pgtest.Stop, Group: true},
		"member": {Group: true, Children: []spec{{Mode: pgtest.Stop}}},
	} {
		for call, kill := range map[string]func(int) (Result, error){
			"GracefulKill":     func(pid int) (Result, error) { return GracefulKill(pid, Term, long) },
			"GracefulKillTree": func(pid int) (Result, error) { return GracefulKillTree(t.Context(), pid, Int, long) },
		} {
			t.Run(call+"/"+name, func(t *testing.T) {
				tree := pgtest.Start(t, s)
				stopped(t, GracefulExit, func() (Result, error) { return kill(tree.PID) })
				noneAlive(t, tree)
			})
		}
	}
}

// TestGracefulKillRecycledNumber: a number that was given out again between the
// look and the kill. The engine's own tests have more of this.
func TestGracefulKillRecycledNumber(t *testing.T) {
	for name, s := range map[string]spec{
		"leader":     {Group: true},
		"leaderless": {Mode: pgtest.Exit, Group: true, Children: []spec{{}}},
	} {
		t.Run(name, func(t *testing.T) {
			tree := pgtest.Start(t, s)
			if s.Mode == pgtest.Exit {
				tree.Reap()
			}
			looked, err := openGroupOf(tree.PID)
			if err != nil {
				t.Fatal(err)
			}
			defer looked.close()
			tree.Kill(t, len(tree.IDs)-1)
			tree.Gone(t)
			if s.Mode != pgtest.Exit {
				tree.Reap()
			}
			bystander := pgtest.Recycle(t, tree.PID)
			if result, err := stop(t.Context(), looked, Term, 0); result != AlreadyExited || err != nil {
				t.Error(result, err)
			}
			bystander.Unharmed(t)
			// A command whose PID is another's by now.
			if err := KillCmd(tree.Cmd()); err != nil {
				t.Error(err)
			}
			bystander.Unharmed(t)
		})
	}
}

func TestGracefulKillContext(t *testing.T) {
	tree := pgtest.Start(t, spec{Mode: pgtest.Ignore, Group: true})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stopped(t, ForcefulKill, func() (Result, error) { return GracefulKillContext(ctx, tree.PID, Term, long) })
	noneAlive(t, tree)
}

func TestGracefulKillDefault(t *testing.T) {
	tree := pgtest.Start(t, spec{Mode: pgtest.Ignore, Group: true})
	start := time.Now()
	stopped(t, ForcefulKill, func() (Result, error) { return GracefulKillDefault(tree.PID) })
	if took := time.Since(start); took < DefaultGrace {
		t.Errorf("it took %v, less than the grace period", took)
	}
	stopped(t, AlreadyExited, func() (Result, error) { return GracefulKillDefault(tree.PID) })
	tree.Reap()
	stopped(t, AlreadyExited, func() (Result, error) { return GracefulKillDefault(tree.PID) })
}

func TestGracefulKillTree(t *testing.T) {
	bystander := pgtest.StartBystander(t)
	for name, test := range map[string]struct {
		mode  pgtest.Mode
		grace time.Duration
		want  Result
	}{
		"obedient":    {pgtest.Block, long, GracefulExit},
		"disobedient": {pgtest.Ignore, short, ForcefulKill},
	} {
		t.Run(name, func(t *testing.T) {
			// The leader has left, so that only the group leads to the others, one
			// of which is below a process in a session of its own.
			tree := pgtest.Start(t, spec{Mode: pgtest.Exit, Group: true, Children: []spec{
				{Children: []spec{{Session: true, Children: []spec{{Group: true, Mode: test.mode}}}}},
			}})
			tree.Ended(t, 0)
			stopped(t, test.want, func() (Result, error) { return GracefulKillTree(t.Context(), tree.PID, Term, test.grace) })
			noneAlive(t, tree)
			stopped(t, AlreadyExited, func() (Result, error) { return GracefulKillTree(t.Context(), tree.PID, Term, test.grace) })
		})
	}
	t.Run("with the caller in it", func(t *testing.T) {
		tree := pgtest.Start(t, spec{Mode: pgtest.Count, Group: true, Children: []spec{{Role: "stop own tree", Session: true}}})
		if got, want := tree.Line(t), fmt.Sprint("refused because of ", tree.PID); got != want {
			t.Errorf("the descendant said %q, want %q", got, want)
		}
		pgtest.Bystander{Tree: tree}.Unharmed(t)
	})
	bystander.Unharmed(t)
}

func stopOwnTree([]string) {
	pgtest.Say("ready", os.Getpid())
	_, err := GracefulKillTree(context.Background(), os.Getppid(), Term, 0)
	if e := (*RefusedError)(nil); errors.As(err, &e) {
		pgtest.Say("refused because of", e.ID)
	} else {
		pgtest.Say(err)
	}
	select {} // the test may not have looked at it yet
}

// BenchmarkGracefulKill reports how long after the target's death a call returns.
func BenchmarkGracefulKill(b *testing.B) {
	var late []time.Duration
	for b.Loop() {
		b.StopTimer()
		tree := pgtest.Start(b, spec{Group: true})
		death := tree.Death()
		b.StartTimer()
		result, err := GracefulKill(tree.PID, Term, long)
		late = append(late, time.Since(<-death))
		b.StopTimer()
		if result != GracefulExit || err != nil {
			b.Fatal(result, err)
		}
		tree.End(b)
		b.StartTimer()
	}
	pgtest.ReportMedian(b, late)
}
