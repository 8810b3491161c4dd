package corral_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/hold/cgroups"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/stub"
	"github.com/corral-run/corral/internal/stub/bare"
	"github.com/corral-run/corral/internal/wire"
)

// headlessRole is a leader whose first thread has ended, and which ignores what can
// be ignored. The kernel's own kill of a control group does not reach it.
const headlessRole = "headless-leader"

func init() {
	escape.Register(headlessRole, runHeadless)
	if len(os.Args) > 1 && os.Args[1] == "escape:"+headlessRole {
		runtime.LockOSThread()
	}
}

func runHeadless([]string) {
	signal.Ignore(syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM)
	unix.Setsid()
	go func() {
		time.Sleep(escape.Lifetime)
		syscall.Exit(0)
	}()
	unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

// headless waits until a process is one.
func headless(t *testing.T, pid int) proctree.ID {
	t.Helper()
	var row proctree.Process
	eventually(t, "its first thread does not end", func() bool {
		var err error
		row, err = proctree.Lookup(pid)
		return err == nil && row.State == proctree.Zombie && row.Threads > 1
	})
	return row.ID
}

// ends waits for the end of a process.
func ends(t *testing.T, id proctree.ID) {
	t.Helper()
	h, err := proctree.Open(id)
	if err != nil {
		return // it has
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		t.Error(err)
		h.Signal(os.Kill)
	}
}

// TestHeadless: a leader without its first thread is stopped like another, in
// whichever way.
func TestHeadless(t *testing.T) {
	path, args := escape.Command(headlessRole)
	for _, end := range []string{"Stop", "Kill"} {
		t.Run(end, func(t *testing.T) {
			forEach(t, strong, func(t *testing.T, cont corral.Containment) {
				cmd := contained(cont, path, args...)
				cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				id := headless(t, cmd.Process.Pid)
				if end == "Stop" {
					if err := cmd.Stop(t.Context()); err != nil {
						t.Error(err)
					}
				} else if err := cmd.Signal(os.Kill); err != nil {
					t.Error(err)
				}
				cmd.Wait()
				if len(cmd.Report().Survivors()) > 0 {
					t.Errorf("%+v", cmd.Report())
				}
				ends(t, id)
			})
		})
	}
	t.Run("owner is killed", func(t *testing.T) {
		forEach(t, strong, func(t *testing.T, cont corral.Containment) {
			nest := newNest(t, false)
			o := startOwner(t, nest, escape.NewProbe(t, child("plain")), program{Containment: cont, Argv: append([]string{path}, args...)})
			o.comesTo("started")
			id := headless(t, o.below(func(row proctree.Process) bool {
				return row.State == proctree.Zombie && row.Threads > 1
			}).PID)
			o.kill()
			ends(t, id)
		})
	})
}

// TestGuardStopped: a guard that somebody has stopped neither holds up the owner
// nor outlives it, nor do the runs.
func TestGuardStopped(t *testing.T) {
	t.Run("owner is killed", func(t *testing.T) {
		o, probe, guard := startWithStoppedGuard(t)
		o.kill()
		gone(t, probe, nil)
		ends(t, guard)
	})
	t.Run("owner exits", func(t *testing.T) {
		o, probe, guard := startWithStoppedGuard(t)
		probe.Release()
		if r := o.result(); r.Err != "<nil>" {
			t.Error(r.Err)
		}
		gone(t, probe, nil)
		ends(t, guard)
	})
	t.Run("idle", func(t *testing.T) {
		need(t, corral.Cgroup)
		cgroups.GiveBack() // so that there is one guard
		need(t, corral.Cgroup)
		guard := ownGuard(t)
		send(t, guard, syscall.SIGSTOP)
		given := make(chan struct{})
		go func() {
			defer close(given)
			cgroups.GiveBack()
		}()
		need(t, corral.Cgroup) // it is not held up
		select {
		case <-given:
		case <-time.After(20 * time.Second):
			t.Fatal("the owner waits for the guard")
		}
		ends(t, guard)
	})
}

// startWithStoppedGuard starts an owner with a run that resists, and stops its
// guard.
func startWithStoppedGuard(t *testing.T) (*running, *escape.Probe, proctree.ID) {
	t.Helper()
	need(t, corral.Cgroup)
	probe := escape.NewProbe(t, stubborn)
	o := startOwner(t, newNest(t, false), probe, program{Containment: corral.Cgroup})
	probe.Ready(t.Context())
	guard := o.helper("corral-guard")
	send(t, guard, syscall.SIGSTOP)
	return o, probe, guard
}

// TestGuardUrgent: a guard has priority before it is needed. When it is, members may
// keep the scheduler from it.
func TestGuardUrgent(t *testing.T) {
	need(t, corral.Cgroup)
	escape.NeedPriority(t)
	probe := escape.NewProbe(t, stubborn)
	o := startOwner(t, newNest(t, false), probe, program{Containment: corral.Cgroup})
	probe.Ready(t.Context())
	guard := o.helper("corral-guard")
	eventually(t, "the guard has no priority", func() bool {
		const most = -20
		attr, err := unix.SchedGetAttr(guard.PID, 0)
		if err != nil {
			t.Fatal(err)
		}
		return attr.Nice == most
	})
}

// TestGuardHasRoom: whoever stops the runs of a dead owner can hold many members
// without its table of descriptors growing, which members may keep it from.
func TestGuardHasRoom(t *testing.T) {
	need(t, corral.Cgroup)
	probe := escape.NewProbe(t, stubborn)
	o := startOwner(t, newNest(t, false), probe, program{Containment: corral.Cgroup, Grace: time.Minute})
	members := probe.Ready(t.Context())
	guard := o.helper("corral-guard")
	o.kill()
	eventually(t, "no guard with threads has room for 1024 descriptors", func() bool {
		pids, _ := proctree.ChildPIDs(guard.PID)
		return slices.ContainsFunc(append(pids, guard.PID), func(pid int) bool {
			status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
			var threads, room int
			for line := range strings.Lines(string(status)) {
				fmt.Sscanf(line, "Threads: %d", &threads)
				fmt.Sscanf(line, "FDSize: %d", &room)
			}
			return threads > 1 && room >= 1024
		})
	})
	// The guard gives them a minute, so that the look is never too late.
	for _, m := range members {
		if h, err := proctree.Open(m.ID); err == nil { // SIGTERM may have ended the leader
			h.Signal(syscall.SIGKILL)
			h.Close()
		}
	}
	gone(t, probe, nil)
}

// TestGuardInItsHome: a guard that somebody has put where it is to kill everybody
// gets out of there first.
func TestGuardInItsHome(t *testing.T) {
	need(t, corral.Cgroup)
	probe := escape.NewProbe(t, stubborn)
	nest := newNest(t, false)
	o := startOwner(t, nest, probe, program{Containment: corral.Cgroup})
	probe.Ready(t.Context())
	guard := o.helper("corral-guard")
	homes, err := filepath.Glob(filepath.Join(nest.Path(), wire.HomePrefix+"*"))
	if err != nil || len(homes) != 1 {
		t.Fatal(homes, err)
	}
	run := filepath.Join(homes[0], "own")
	if err := os.Mkdir(run, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(run, "cgroup.procs"), fmt.Append(nil, guard.PID), 0); err != nil {
		t.Fatal(err)
	}
	o.kill()
	gone(t, probe, nil)
}

// ownGuard is the one of this process.
func ownGuard(t *testing.T) proctree.ID {
	t.Helper()
	id, found := findGuard()
	if !found {
		t.Fatal("no guard")
	}
	return id
}

func findGuard() (id proctree.ID, found bool) {
	pids, _ := proctree.ChildPIDs(os.Getpid())
	for _, pid := range pids {
		row, err := proctree.Lookup(pid)
		if err == nil && row.Alive() && len(row.Args) > 0 && row.Args[0] == "corral-guard" {
			return row.ID, true
		}
	}
	return id, false
}

// TestGuardNotReplaced: there is one again as soon as there can be, and the report
// says that there was none.
func TestGuardNotReplaced(t *testing.T) {
	need(t, corral.Cgroup)
	nest := newNest(t, false)
	probe := escape.NewProbe(t, stubborn)
	o := startOwner(t, nest, probe, program{Containment: corral.Cgroup, Log: true})
	probe.Ready(t.Context())
	guard := o.helper("corral-guard")
	// Without descriptors there is no guard to be had, as without processes.
	var before unix.Rlimit
	if err := unix.Prlimit(o.id.PID, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1, Max: 1024}, &before); err != nil {
		t.Skip("SKIPPED: ", err)
	}
	send(t, guard, syscall.SIGKILL)
	// That it has reaped it does not say that it has tried for another already.
	o.mentions("there is no guard")
	time.Sleep(50 * time.Millisecond) // a few tries more, if they are made; the test does not depend on it
	before.Max = 1024
	before.Cur = 1024
	if err := unix.Prlimit(o.id.PID, unix.RLIMIT_NOFILE, &before, nil); err != nil {
		t.Fatal(err)
	}
	next := o.helper("corral-guard", guard)
	// And that one is looked after.
	send(t, next, syscall.SIGKILL)
	o.helper("corral-guard", guard, next)
	probe.Release()
	if r := o.result(); r.Err != "<nil>" || !strings.Contains(r.Report.Unguarded, "too many open files") {
		t.Errorf("Wait: %s, %+v", r.Err, r.Report)
	}
	gone(t, probe, nil)
}

// TestSweepOurs: what is Corral's and has lost its owner is cleared away, and
// nothing that only has such a name.
func TestSweepOurs(t *testing.T) {
	need(t, corral.Cgroup)
	nest := newNest(t, false)
	if nest == nil {
		t.Skip("SKIPPED: no control group for the owner")
	}
	make := func(name string) *cgroup.Dir {
		dir, err := cgroup.Create(filepath.Join(nest.Path(), name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { dir.Close() })
		return dir
	}
	innocent := func(in *cgroup.Dir) *exec.Cmd {
		cmd := exec.Command("sleep", "60")
		cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: in.FD()}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			cmd.Process.Kill()
			cmd.Wait()
		})
		return cmd
	}
	theirs := make("corral-2026-11")
	bystander := innocent(theirs)
	var ours []*cgroup.Dir
	var detached []*exec.Cmd // which go on without an owner
	for i := range 3 {       // before and after the other one in whichever order
		home := make(fmt.Sprintf("corral-%d-%d", 1<<30+i, i))
		if err := home.Mark(); err != nil {
			t.Fatal(err)
		}
		innocent(make(filepath.Base(home.Path()) + "/1.15-100"))
		detached = append(detached, innocent(make(filepath.Base(home.Path())+"/2.detach")))
		ours = append(ours, home)
	}
	probe := escape.NewProbe(t, child("plain"))
	o := startOwner(t, nest, probe, program{Containment: corral.Cgroup})
	probe.Ready(t.Context())
	eventually(t, "they are not swept", func() bool {
		return !slices.ContainsFunc(ours, func(d *cgroup.Dir) bool { _, err := os.Stat(d.Path()); return err == nil })
	})
	probe.Release()
	o.result()
	if state, err := proctree.Lookup(bystander.Process.Pid); err != nil || !state.Alive() {
		t.Errorf("the bystander: %+v, %v", state, err)
	}
	for _, cmd := range detached {
		if state, err := proctree.Lookup(cmd.Process.Pid); err != nil || !state.Alive() {
			t.Errorf("detached: %+v, %v", state, err)
		}
		cmd.Process.Kill()
		cmd.Wait()
	}
	bystander.Process.Kill()
	bystander.Wait()
	if err := theirs.Remove(); err != nil {
		t.Error(err)
	}
}

// poisons are what a command with the owner's rights can do to the control groups
// that it is in, once it has left them. OWN is its own, HOME the owner's.
var poisons = map[string]string{
	"own kill":                        "echo 1 >$OWN/cgroup.kill",
	"own freeze":                      "echo 1 >$OWN/cgroup.freeze",
	"own threaded":                    "echo threaded >$OWN/cgroup.type",
	"own depth":                       "echo 0 >$OWN/cgroup.max.depth",
	"own descendants":                 "echo 0 >$OWN/cgroup.max.descendants",
	"own below":                       "mkdir $OWN/x",
	"own gone":                        "rmdir $OWN",
	"home kill":                       "echo 1 >$HOME/cgroup.kill",
	"home freeze":                     "echo 1 >$HOME/cgroup.freeze",
	"home threaded":                   "for d in $HOME $HOME/*/; do echo threaded >$d/cgroup.type; done",
	"home depth":                      "echo 0 >$HOME/cgroup.max.depth",
	"home descendants":                "echo 0 >$HOME/cgroup.max.descendants",
	"home and own threaded, and back": "echo threaded >$OWN/cgroup.type; echo $$ >$OWN/cgroup.procs",
}

// TestPoison: later runs start, in whichever containment, and are stopped.
func TestPoison(t *testing.T) {
	need(t, corral.Cgroup)
	for name, poison := range poisons {
		t.Run(name, func(t *testing.T) {
			cgroups.GiveBack()
			defer cgroups.GiveBack()
			own, err := cgroup.Own()
			if err != nil {
				t.Fatal(err)
			}
			script := `r=$(sed -n 's/^0:://p' /proc/self/cgroup); OWN=$BASE/corral-${r##*/corral-}; HOME=${OWN%/*}
				echo $$ >$BASE/cgroup.procs || exit 9; ` + poison + `; exit 0`
			cmd := corral.Command("sh", "-c", script)
			cmd.Env = append(os.Environ(), "BASE="+own)
			cmd.Containment, cmd.Require = corral.Cgroup, corral.Cgroup
			out, err := cmd.CombinedOutput()
			if err != nil && cmd.ProcessState.ExitCode() == 9 {
				t.Skipf("SKIPPED: the command cannot leave its control group: %s", out)
			}
			t.Logf("the poisoner: %v %s", err, out)
			began := time.Now()
			for range 3 {
				var at []*corral.Cmd
				for range 3 {
					cmd := corral.Command("sh", "-c", "sleep 60 & sleep 60")
					// They obey at once, but on a busy machine at once takes its time. A sleep
					// that is just being forked may miss the signal, and takes all of it.
					cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: 5 * time.Second}}
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					at = append(at, cmd)
				}
				for _, cmd := range at {
					began := time.Now()
					if err := cmd.Stop(t.Context()); err != nil {
						t.Error(err)
					}
					cmd.Wait()
					if took := time.Since(began); took > 15*time.Second {
						t.Errorf("the stop took %v", took)
					}
					rep := cmd.Report()
					if rep.Signal != "SIGTERM" || len(rep.Survivors()) > 0 {
						t.Errorf("%+v", rep)
					}
					if rep.Containment != corral.Cgroup {
						t.Logf("%s: %v", rep.Containment, rep.Declined)
					}
				}
				if out, err := corral.Command("echo", "alive").Output(); err != nil || string(out) != "alive\n" {
					t.Errorf("%q, %v", out, err)
				}
			}
			// Nine runs, and three that end by themselves.
			if took := time.Since(began); took > time.Minute {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestGuardNoDescriptors: a guard that can open nothing kills by what it has.
func TestGuardNoDescriptors(t *testing.T) {
	need(t, corral.Cgroup)
	nest := newNest(t, true) // the directories stay, for the next owner
	path, args := escape.Command(headlessRole)
	for _, tt := range []struct {
		limit unix.Rlimit
		argv  []string
	}{
		{unix.Rlimit{Max: 1024}, append([]string{path}, args...)},
		{unix.Rlimit{}, []string{"sh", "-c", "trap '' TERM; setsid sleep 60 & sleep 60; sleep 60"}},
	} {
		argv := tt.argv
		o := startOwner(t, nest, escape.NewProbe(t, child("plain")), program{Containment: corral.Cgroup, Argv: argv})
		o.comesTo("started")
		guard := o.helper("corral-guard")
		// It is up when it has opened the control group's files.
		eventually(t, "the guard does not come up", func() bool {
			links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", guard.PID))
			if os.Geteuid() != 0 && len(links) == 0 {
				return true // who may not look knows it too: the owner waits for that before its first run
			}
			return slices.ContainsFunc(links, func(link string) bool {
				target, _ := os.Readlink(link)
				return strings.HasSuffix(target, "/cgroup.kill")
			})
		})
		var members []proctree.ID
		eventually(t, "there is no leader", func() bool {
			table, err := proctree.Snapshot()
			if err != nil {
				t.Fatal(err)
			}
			members = nil
			for _, row := range proctree.Descendants(table, o.id.PID) {
				if row.ID != guard {
					members = append(members, row.ID)
				}
			}
			return len(members) > 0
		})
		if err := unix.Prlimit(guard.PID, unix.RLIMIT_NOFILE, &tt.limit, nil); err != nil {
			t.Fatal(err)
		}
		o.kill()
		for _, id := range members {
			ends(t, id)
		}
		ends(t, guard)
	}
	// Whoever has not been seen is not there either.
	if nest != nil {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if err := nest.AwaitEmpty(ctx); err != nil {
			t.Error(err)
		}
	}
}

// TestGuardOfDeadOwner: if the owner ends before its guard has got ready, as when
// another one is being replaced, the guard does what it is for.
func TestGuardOfDeadOwner(t *testing.T) {
	need(t, corral.Cgroup)
	if err := stub.Possible(); err != nil {
		t.Skipf("SKIPPED: the guard is a program, which must know its owner: %v", err)
	}
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for who, owner := range map[string]int{"ended": ended.Process.Pid, "another process has its PID": 1} {
		t.Run(who, func(t *testing.T) {
			program, err := helper.Program("")
			if err != nil {
				t.Fatal(err)
			}
			guardOneRun(t, owner, program, func(home string) []string { return []string{wire.GuardRole, home} })
		})
	}
}

// TestGuardHelperHangs: a helper that does not get going, for whatever reason, keeps
// nobody alive.
func TestGuardHelperHangs(t *testing.T) {
	need(t, corral.Cgroup)
	if err := stub.Possible(); err != nil {
		t.Skipf("SKIPPED: the guard is no stub: %v", err)
	}
	began := time.Now()
	guardOneRun(t, 1, "/bin/sleep", func(string) []string { return []string{"sleep", "60"} })
	if took := time.Since(began); took > 30*time.Second { // five to kill the run, and five for the helper
		t.Errorf("the guard took %v", took)
	}
}

// guardOneRun has a guard clear up after an owner that is gone, with the program and
// the arguments, the zeroth among them, as its helper.
func guardOneRun(t *testing.T, owner int, program string, args func(home string) []string) {
	t.Helper()
	nest := newNest(t, false)
	home := newDir(t, filepath.Join(nest.Path(), wire.HomePrefix+"test"))
	if locked, err := home.Lock(); !locked || err != nil {
		t.Fatal(locked, err)
	}
	run := newDir(t, filepath.Join(home.Path(), "1."+stop.Plan{}.String()))
	member := exec.Command("sleep", "60")
	member.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: run.FD()}
	if err := member.Start(); err != nil {
		t.Fatal(err)
	}
	ours, theirs, err := helper.Line(wire.GuardRole)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	defer theirs.Close()
	identity := stub.Identity(wire.GuardRole, int(theirs.Fd()))
	identity.Owner = owner
	pid, err := stub.StartGuard(&bare.GuardSpec{
		Home: home.FD(), Base: filepath.Base(home.Path()), Identity: identity,
		Helper: program, HelperEnv: helper.Environ(), HelperArgs: args(home.Path()),
	})
	if err != nil {
		t.Fatal(err)
	}
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, 0, nil); err != nil || !status.Exited() || status.ExitStatus() != 0 {
		t.Errorf("the guard: %v, %#x", err, status)
		member.Process.Kill()
	}
	member.Wait()
	if status := member.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("the member: %v", member.ProcessState)
	}
}

// newDir makes a control group, which somebody else is to remove.
func newDir(t *testing.T, path string) *cgroup.Dir {
	t.Helper()
	dir, err := cgroup.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return dir
}
