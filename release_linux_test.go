package corral_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

// server is a child that stays: the leader, one of its children, and one that has
// left its session and its parent.
var server = escape.Tree(escape.Node{}, escape.Node{Session: true, Orphan: true})

// helperOf is the role of the helper that looks after a run in the containment.
var helperOf = map[corral.Containment]string{
	corral.PIDNS: "corral-keeper", corral.Keeper: "corral-keeper", corral.Cgroup: "corral-guard",
}

// ownerEnds are how an owner ends.
var ownerEnds = map[string]func(*running){
	"exits":  func(o *running) { o.cue(); o.wait() },
	"killed": (*running).kill,
}

// TestDaemon: who starts a command in a session of its own, and lets go of the
// process, wants a daemon. It goes on when the owner ends, but under group
// containment, which ties the command to the owner. One that has not been let go
// does not.
func TestDaemon(t *testing.T) {
	for how, end := range ownerEnds {
		for _, released := range []bool{true, false} {
			name := how + ", not released"
			if released {
				name = how + ", released"
			}
			t.Run(name, func(t *testing.T) {
				forEach(t, containments, func(t *testing.T, cont corral.Containment) {
					if !released && cont == corral.Group {
						t.Skip("SKIPPED: group containment does not promise that")
					}
					t.Parallel()
					nest := newNest(t, false)
					probe := escape.NewProbe(t, server)
					o := startOwner(t, nest, probe, program{Containment: cont, Setsid: true, Release: released, Then: "exit"})
					o.comesTo("started")
					members := probe.Ready(t.Context())
					helper := holdHelper(o, helperOf[cont])
					if !released {
						end(o)
						gone(t, probe, nil)
						return
					}
					o.stdin.Write([]byte{0})
					said := o.line()
					checkLetGo(t, said, members)
					end(o)
					outlives(t, cont, probe, members, helper, said.Report, cont != corral.Group)
				})
			})
		}
	}
}

// TestDetachLeftovers is the same said openly.
func TestDetachLeftovers(t *testing.T) {
	for how, end := range ownerEnds {
		t.Run(how, func(t *testing.T) {
			forEach(t, []corral.Containment{corral.Cgroup, corral.Keeper, corral.Group}, func(t *testing.T, cont corral.Containment) {
				t.Parallel()
				nest := newNest(t, false)
				probe := escape.NewProbe(t, server)
				o := startOwner(t, nest, probe, program{Containment: cont, Detach: true, Then: "exit"})
				o.comesTo("started")
				members := probe.Ready(t.Context())
				helper := holdHelper(o, helperOf[cont])
				end(o)
				if helper != nil { // a keeper does not wait for the leader, which does not need it
					await(t, helper)
				}
				outlives(t, cont, probe, members, helper, nil, true)
			})
		})
	}
}

// As long as the owner lives, it is KeepLeftovers.
func TestDetachLeftoversWithOwner(t *testing.T) {
	forEach(t, []corral.Containment{corral.Cgroup, corral.Keeper, corral.Group}, func(t *testing.T, cont corral.Containment) {
		probe := escape.NewProbe(t, child("plain"))
		path, args, files := probe.Command()
		start := func() *corral.Cmd {
			cmd := command(cont, path, args...)
			cmd.ExtraFiles, cmd.Leftovers = files, corral.DetachLeftovers
			cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			probe.Started()
			probe.Ready(t.Context())
			return cmd
		}
		cmd := start()
		probe.Release()
		err := cmd.Wait()
		if rep := cmd.Report(); err != nil || rep.Ending != corral.Exited || len(rep.Leftovers) != 1 || rep.Leftovers[0].Fate != corral.Kept {
			t.Errorf("%v, %+v", err, rep)
		}
		if left := probe.Survivors(); len(left) != 1 {
			t.Errorf("left: %v", left)
		}

		probe = escape.NewProbe(t, child("plain"))
		path, args, files = probe.Command()
		cmd = start()
		if err := cmd.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		cmd.Wait()
		gone(t, probe, nil)
	})
}

func TestDetachUnderPIDNS(t *testing.T) {
	need(t, corral.PIDNS)
	cmd := command(corral.PIDNS, "true")
	cmd.Leftovers = corral.DetachLeftovers
	var none *corral.ContainmentError
	if err := cmd.Start(); !errors.As(err, &none) || !strings.Contains(err.Error(), "cannot be kept") {
		t.Errorf("Start: %v", err)
	}
}

// TestReleaseThenWait: what a caller of os/exec gets, and a Report.
func TestReleaseThenWait(t *testing.T) {
	for _, then := range []string{"at once", "later", "context", "lifeline", "after Stop"} {
		t.Run(then, func(t *testing.T) {
			forEach(t, containments, func(t *testing.T, cont corral.Containment) {
				kind := server
				if then == "after Stop" {
					kind = child("plain")
				}
				probe := escape.NewProbe(t, kind)
				path, args, files := probe.Command()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				cmd := corral.CommandContext(ctx, path, args...)
				cmd.Containment, cmd.Require = cont, cont
				cmd.ExtraFiles = files
				cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
				cmd.Timeout = time.Hour
				line, lost := pipe(t)
				cmd.Lifelines = []corral.Lifeline{corral.Lifeline(fmt.Sprintf("fd:%d", line.Fd()))}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				pid := cmd.Process.Pid
				probe.Started()
				members := probe.Ready(t.Context())
				if then == "after Stop" {
					if err := cmd.Stop(t.Context()); err != nil {
						t.Error(err)
					}
					cmd.Process.Release()
					cmd.Wait()
					if rep := cmd.Report(); rep == nil || rep.Ending != corral.Stopped {
						t.Errorf("%+v", rep)
					}
					gone(t, probe, nil)
					if cont == corral.Cgroup || cont == corral.Group {
						bury(t, pid)
					}
					return
				}
				cmd.Process.Release()
				switch then {
				case "context":
					cancel()
				case "lifeline":
					lost.Close()
				}
				if then != "at once" {
					eventually(t, "the run is not let go", func() bool { return cmd.Report() != nil })
				} else if err := cmd.Stop(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "corral: the run has been let go") {
					t.Errorf("Stop: %v", err)
				}
				if err := cmd.Wait(); err != syscall.EINVAL {
					t.Errorf("Wait: %v", err)
				}
				checkLetGo(t, result{Report: cmd.Report()}, members)
				if cmd.ProcessState != nil {
					t.Errorf("state %v", cmd.ProcessState)
				}
				if err := cmd.Signal(syscall.SIGTERM); err == nil {
					t.Error("Signal: no error")
				}
				if _, err := cmd.Members(); err == nil {
					t.Error("Members: no error")
				}
				if cont == corral.PIDNS {
					outlivesLeader(t, probe, cmd.Report())
				} else {
					probe.Release()
					gone(t, probe, []string{"node"})
				}
				bury(t, pid)
			})
		})
	}
}

func pipe(t *testing.T) (r, w *os.File) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r, w
}

// bury reaps the leader, which is a zombie of this process as under os/exec, or the
// keeper.
func bury(t *testing.T, leader int) {
	eventually(t, "nothing to be reaped", func() bool {
		pids, err := proctree.ChildPIDs(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		for _, pid := range pids {
			row, err := proctree.Lookup(pid)
			if err == nil && (pid == leader || row.Name == "corral-keeper") {
				if got, _ := unix.Wait4(pid, nil, unix.WNOHANG, nil); got == pid {
					return true
				}
			}
		}
		return false
	})
}

// checkLetGo looks at what is said of a run that has been let go.
func checkLetGo(t *testing.T, r result, members []escape.Member) {
	t.Helper()
	if r.Report == nil || r.Report.Ending != corral.Released || r.Report.ExitCode != -1 {
		t.Fatalf("%+v", r.Report)
	}
	told, want := make(map[[2]uint64]bool), make(map[[2]uint64]bool)
	key := func(pid int, start uint64) [2]uint64 {
		if r.Report.Containment == corral.PIDNS {
			pid = 0 // in there it has another one
		}
		return [2]uint64{uint64(pid), start}
	}
	for _, l := range r.Report.Leftovers {
		if l.Fate != corral.Kept {
			t.Errorf("%v", l)
		}
		told[key(l.PID, l.Start)] = true
	}
	for _, m := range members {
		// A group does not know the one that has left it.
		if k := key(m.PID, m.Start); told[k] || r.Report.Containment != corral.Group {
			want[k] = true
		}
	}
	if len(told) < 2 && r.Report.Containment != corral.PIDNS || !maps.Equal(told, want) {
		t.Errorf("let go: %v, want %v", told, want)
	}
}

// outlives checks that the members live on when the owner has ended, the leader too
// if that is said, and end on their own: first the leader.
func outlives(t *testing.T, cont corral.Containment, probe *escape.Probe, members []escape.Member, helper *proctree.Handle, rep *corral.Report, leader bool) {
	t.Helper()
	if cont == corral.Cgroup {
		await(t, helper) // the guard has done what it does
	}
	if leader && cont != corral.PIDNS && len(probe.Survivors()) != len(members) {
		t.Fatalf("only %v are left of %v", probe.Survivors(), members)
	}
	if cont != corral.PIDNS {
		probe.Release()
		gone(t, probe, []string{"node"})
		if cont == corral.Keeper {
			await(t, helper) // it ends with the leader
		}
		if left := probe.Survivors(); len(left) != len(members)-1 {
			t.Errorf("only %v are left of %v", left, members)
		}
		return
	}
	outlivesLeader(t, probe, rep)
	await(t, helper)
}

// outlivesLeader checks that the init of a PID namespace goes on until all have
// ended, as the kernel would kill them.
func outlivesLeader(t *testing.T, probe *escape.Probe, rep *corral.Report) {
	t.Helper()
	all := make(map[int]*proctree.Handle)
	for _, l := range rep.Leftovers {
		h, err := proctree.Open(proctree.ID{PID: l.PID, Start: l.Start})
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if l.PID == rep.Leader.PID {
			probe.Release()
			await(t, h)
		} else {
			all[l.PID] = h
		}
	}
	for pid, h := range all {
		if row, err := proctree.Lookup(pid); err != nil || !row.Alive() {
			t.Fatalf("%v, %v", row, err)
		}
		if err := h.Signal(syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		await(t, h)
	}
}

// holdHelper opens the owner's helper in the role, if there is to be one.
func holdHelper(o *running, role string) *proctree.Handle {
	o.Helper()
	if role == "" {
		return nil
	}
	h, err := proctree.Open(o.helper(role))
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { h.Close() })
	return h
}

// await waits for a process's end.
func await(t *testing.T, h *proctree.Handle) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// line is the next result that the owner says.
func (o *running) line() (r result) {
	o.Helper()
	text, err := o.stdout.ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(text), &r)
	}
	if err != nil {
		o.Fatalf("%q: %v", text, err)
	}
	return r
}
