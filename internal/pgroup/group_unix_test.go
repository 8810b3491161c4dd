//go:build linux || darwin || freebsd

package pgroup

import (
	"context"
	"errors"
	"math"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/pgroup/pgtest"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
)

func TestMain(m *testing.M) { pgtest.Main(m, nil) }

// strategies are the ways to signal a group that work here.
func strategies(t testing.TB, test func(t *testing.T, open func(int) (*Group, error))) {
	tt := t.(*testing.T)
	if groupSignalSupported() {
		tt.Run("by pidfd", func(t *testing.T) {
			test(t, func(pgid int) (*Group, error) { return open(pgid, true) })
		})
	} else {
		tt.Log("this system cannot signal a group by the leader's pidfd")
	}
	tt.Run("by number", func(t *testing.T) {
		test(t, func(pgid int) (*Group, error) { return open(pgid, false) })
	})
}

func mustOpen(t testing.TB, open func(int) (*Group, error), pgid int) *Group {
	t.Helper()
	g, err := open(pgid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Close() })
	return g
}

func pids(processes []proctree.Process) []int {
	var pids []int
	for _, p := range processes {
		pids = append(pids, p.PID)
	}
	slices.Sort(pids)
	return pids
}

func TestOpenRefuses(t *testing.T) {
	ids := []int{0, 1, -1, -os.Getpid(), math.MinInt, os.Getpid(), syscall.Getpgrp()}
	if strconv.IntSize == 64 {
		for _, id := range []int64{math.MaxInt64, 1<<32 - 1, 1<<32 + 1} {
			ids = append(ids, int(id))
		}
	}
	for _, id := range ids {
		var refused *reach.RefusedError
		if _, err := Open(id); !errors.As(err, &refused) || refused.ID != id {
			t.Errorf("Open(%d): %v, want it refused", id, err)
		}
	}
}

func TestOpenGone(t *testing.T) {
	strategies(t, func(t *testing.T, open func(int) (*Group, error)) {
		tree := pgtest.Start(t, pgtest.Spec{Group: true})
		tree.Kill(t, 0)
		tree.Gone(t)
		if g, err := open(tree.PID); err != nil {
			t.Error("a leader that has yet to be reaped:", err)
		} else {
			if err := g.Signal(syscall.SIGKILL); !errors.Is(err, proctree.ErrGone) {
				t.Error("Signal of a zombie:", err)
			}
			g.Close()
		}
		tree.Reap()
		if _, err := open(tree.PID); !errors.Is(err, proctree.ErrGone) {
			t.Error("no process has the number:", err)
		}
		// A process of that number that leads no group.
		tree = pgtest.Start(t, pgtest.Spec{})
		if _, err := open(tree.PID); !errors.Is(err, proctree.ErrGone) {
			t.Error("no group has the number:", err)
		}
	})
}

// TestLeaderless: the leader is gone, before and after the group is opened.
func TestLeaderless(t *testing.T) {
	strategies(t, func(t *testing.T, open func(int) (*Group, error)) {
		bystander := pgtest.StartBystander(t)
		tree := pgtest.Start(t, pgtest.Spec{Group: true, Mode: pgtest.Exit, Children: []pgtest.Spec{{Mode: pgtest.Ignore}, {Mode: pgtest.Ignore}}})
		early := mustOpen(t, open, tree.PID)
		tree.Reap()
		late := mustOpen(t, open, tree.PID)
		if !late.NeedsLeader() {
			t.Error("NeedsLeader is false for a group without a leader to hold on to")
		}
		want := []int{tree.IDs[1].PID, tree.IDs[2].PID}
		slices.Sort(want)
		for name, g := range map[string]*Group{"opened with its leader": early, "opened without": late} {
			if live, err := g.Members(); err != nil || !slices.Equal(pids(live), want) {
				t.Errorf("%s: Members: %v, %v, want %v", name, live, err, want)
			}
			if empty, err := g.Empty(); empty || err != nil {
				t.Errorf("%s: Empty: %v, %v, want false", name, empty, err)
			}
			if err := g.Signal(syscall.SIGTERM); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		tree.Kill(t, 1)
		if err := late.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		for _, g := range []*Group{early, late} {
			if err := g.Wait(t.Context()); err != nil {
				t.Error(err)
			}
			if err := g.Signal(syscall.SIGKILL); !errors.Is(err, proctree.ErrGone) {
				t.Error("Signal of a group that is gone:", err)
			}
			if live, err := g.Members(); len(live) > 0 || err != nil {
				t.Error("Members of a group that is gone:", live, err)
			}
		}
		tree.Gone(t)
		bystander.Unharmed(t)
	})
}

// TestRecycledNumber: a number that was given out again between look and kill.
func TestRecycledNumber(t *testing.T) {
	strategies(t, func(t *testing.T, open func(int) (*Group, error)) {
		for name, spec := range map[string]pgtest.Spec{
			"leader":     {Group: true},
			"leaderless": {Group: true, Mode: pgtest.Exit, Children: []pgtest.Spec{{}}},
		} {
			t.Run(name, func(t *testing.T) {
				tree := pgtest.Start(t, spec)
				if spec.Mode == pgtest.Exit {
					tree.Reap()
				}
				g := mustOpen(t, open, tree.PID)
				if live, err := g.Members(); err != nil || len(live) != 1 {
					t.Fatal(live, err)
				}
				for i := range tree.IDs {
					tree.Kill(t, i)
				}
				tree.Gone(t)
				if spec.Mode != pgtest.Exit {
					tree.Reap()
				}
				bystander := pgtest.Recycle(t, tree.PID)
				for range 2 {
					if err := g.Signal(syscall.SIGKILL); !errors.Is(err, proctree.ErrGone) {
						t.Error("Signal:", err)
					}
					if live, err := g.Members(); len(live) > 0 || err != nil {
						t.Error("Members:", live, err)
					}
					if empty, err := g.Empty(); !empty || err != nil {
						t.Error("Empty:", empty, err)
					}
					if err := g.Wait(t.Context()); err != nil {
						t.Error("Wait:", err)
					}
				}
				bystander.Unharmed(t)
				// The bystander's group is there, only it is another one.
				theirs := mustOpen(t, open, tree.PID)
				if live, err := theirs.Members(); err != nil || !slices.Equal(pids(live), []int{tree.PID}) {
					t.Error("the new group:", live, err)
				}
			})
		}
	})
}

// TestWaitForZombies: the leader's parent does not reap it.
func TestWaitForZombies(t *testing.T) {
	strategies(t, func(t *testing.T, open func(int) (*Group, error)) {
		tree := pgtest.Start(t, pgtest.Spec{Group: true, Children: []pgtest.Spec{{}, {}}})
		g := mustOpen(t, open, tree.PID)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := g.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Error("Wait while members live:", err)
		}
		if err := g.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := g.Wait(t.Context()); err != nil {
			t.Error(err)
		}
		tree.Gone(t)
		if empty, err := g.Empty(); !empty || err != nil {
			t.Error("Empty:", empty, err)
		}
	})
}

// TestWaitMemberLeaves: a member that is waited for leaves the group, and no
// event tells.
func TestWaitMemberLeaves(t *testing.T) {
	strategies(t, func(t *testing.T, open func(int) (*Group, error)) {
		tree := pgtest.Start(t, pgtest.Spec{Group: true, Mode: pgtest.Exit, Children: []pgtest.Spec{{Mode: pgtest.Leave}}})
		tree.Ended(t, 0)
		g := mustOpen(t, open, tree.PID)
		if live, err := g.Members(); err != nil || len(live) != 1 {
			t.Fatal(live, err)
		}
		done := make(chan error)
		go func() { done <- g.Wait(t.Context()) }()
		tree.Send(t, 1, syscall.SIGUSR1)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if !tree.Left() {
			t.Error("the process that left the group has ended: nothing was tested")
		}
	})
}

func TestClosed(t *testing.T) {
	strategies(t, func(t *testing.T, open func(int) (*Group, error)) {
		tree := pgtest.Start(t, pgtest.Spec{Group: true})
		g := mustOpen(t, open, tree.PID)
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		if err := g.Close(); !errors.Is(err, os.ErrClosed) {
			t.Error("second Close:", err)
		}
		if err := g.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrClosed) {
			t.Error("Signal after Close:", err)
		}
		if !tree.Left() {
			t.Error("the closed group was signalled")
		}
	})
}

// TestConcurrent: the methods may be called at the same time, Close included.
func TestConcurrent(t *testing.T) {
	strategies(t, func(t *testing.T, open func(int) (*Group, error)) {
		tree := pgtest.Start(t, pgtest.Spec{Mode: pgtest.Ignore, Group: true, Children: []pgtest.Spec{{Mode: pgtest.Ignore}}})
		g := mustOpen(t, open, tree.PID)
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() {
				if err := g.Wait(t.Context()); err != nil {
					t.Error(err)
				}
			})
			all.Go(func() {
				for empty := false; !empty; {
					err := g.Signal(syscall.SIGTERM)
					if err != nil && !errors.Is(err, proctree.ErrGone) {
						t.Error(err)
					}
					if empty, err = g.Empty(); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		if err := g.Signal(syscall.SIGKILL); err != nil {
			t.Error(err)
		}
		all.Wait()
		all.Go(func() { g.Members() })
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
	})
}

// BenchmarkWait reports how long after the last member's death Wait returns.
func BenchmarkWait(b *testing.B) {
	for name, s := range map[string]pgtest.Spec{
		"leader unreaped": {Group: true},
		"leader reaped":   {Mode: pgtest.Exit, Group: true, Children: []pgtest.Spec{{}}},
	} {
		for strategy, direct := range map[string]bool{"by pidfd": true, "by number": false} {
			b.Run(name+"/"+strategy, func(b *testing.B) {
				if direct && !groupSignalSupported() {
					b.Skip("SKIPPED, needs Linux 6.9")
				}
				var late []time.Duration
				for b.Loop() {
					b.StopTimer()
					tree := pgtest.Start(b, s)
					g, err := open(tree.PID, direct)
					if err != nil {
						b.Fatal(err)
					}
					if s.Mode == pgtest.Exit {
						tree.Reap()
					}
					death := tree.Death()
					b.StartTimer()
					tree.Send(b, len(tree.IDs)-1, syscall.SIGTERM)
					if err := g.Wait(b.Context()); err != nil {
						b.Fatal(err)
					}
					late = append(late, time.Since(<-death))
					b.StopTimer()
					tree.End(b)
					g.Close()
					b.StartTimer()
				}
				pgtest.ReportMedian(b, late)
			})
		}
	}
}

// TestResult: EPERM is an answer, unless it is about zombies.
func TestResult(t *testing.T) {
	for _, test := range []struct {
		said  error
		empty bool
		look  error
		want  error
	}{
		{nil, true, nil, nil},
		{syscall.ESRCH, false, nil, proctree.ErrGone},
		{proctree.ErrGone, false, nil, proctree.ErrGone},
		{syscall.EPERM, false, nil, os.ErrPermission},
		{syscall.EPERM, true, nil, proctree.ErrGone},
		{syscall.EPERM, true, os.ErrInvalid, os.ErrPermission},
		{syscall.EINVAL, true, nil, syscall.EINVAL},
	} {
		got := result(test.said, func() (bool, error) { return test.empty, test.look })
		if !errors.Is(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
