//go:build linux || darwin || freebsd || windows

package corral_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/promise"
	"github.com/corral-run/corral/internal/winetest"
)

// outcome is what one containment makes of one child: the roles of those that
// live on, for each of the scenarios. Empty is what everybody wants.
type outcome struct {
	ends    []string // the command ends
	stop    []string // the run is stopped
	orphans []string // the owner gets SIGKILL
}

// expected says where a containment does not hold a child. What is not here has
// no survivors.
var expected = map[corral.Containment]map[string]outcome{
	// A session of its own is out of a process group's reach, and when the owner
	// is killed, only the leader gets to know.
	corral.Group: {
		"plain":        {orphans: []string{"child"}},
		"ignore-term":  {orphans: []string{"ignorer"}},
		"setsid":       {[]string{"session"}, []string{"session"}, []string{"session"}},
		"daemon":       {[]string{"daemon"}, []string{"daemon"}, []string{"daemon"}},
		"hold-stdout":  {orphans: []string{"holder"}},
		"close-fds":    {orphans: []string{"closer"}},
		"chain":        {orphans: []string{"link"}},
		"respawn":      {orphans: []string{"respawner", "worker"}},
		"kill-group":   {orphans: []string{"child", "ignorer", "killer"}},
		"kill-parent":  {orphans: []string{"parricide"}},
		"wide":         {orphans: []string{"child"}},
		"stopped":      {orphans: []string{"frozen"}},
		"dead-leader":  {orphans: []string{"headless"}},
		"scrubbed":     {[]string{"renamed"}, []string{"renamed"}, []string{"renamed"}},
		"subreaper":    {[]string{"orphan"}, []string{"orphan"}, []string{"orphan", "reaper"}},
		"own-ns":       {orphans: []string{"ns-child", "ns-init"}},
		"traced":       {orphans: []string{"tracee", "tracer"}},
		"no-pdeathsig": {[]string{"undying"}, []string{"undying"}, []string{"leader", "undying"}},
		"vfork":        {orphans: []string{"borrower", "suspended"}},
		"mover":        {[]string{"moved"}, []string{"moved"}, []string{"moved"}},
		"undead":       {[]string{"zombie"}, []string{"zombie"}, []string{"zombie"}},
		"clone-parent": {[]string{"sibling"}, []string{"sibling"}, []string{"sibling"}},
		"fork-limit":   {[]string{"forker"}, []string{"forker"}, []string{"forker"}},
		// There is no helper to turn on.
		"stop-helper":   {[]string{"ignorer"}, []string{"ignorer"}, []string{"ignorer", "stopper"}},
		"trace-helper":  {[]string{"ignorer"}, []string{"ignorer"}, []string{"ignorer", "debugger"}},
		"starve-helper": {[]string{"ignorer"}, []string{"ignorer"}, []string{"ignorer", "starver"}},
		"forge":         {[]string{"ignorer"}, []string{"ignorer"}, []string{"ignorer", "forger"}},
		"hold-line":     {[]string{"ignorer"}, []string{"ignorer"}, []string{"ignorer", "robber"}},
	},
	// A privileged member that moves to another control group is a member no
	// more. When the owner is killed, the guard finds this one all the same,
	// as it has moved no farther than to the directory where the guard looks.
	corral.Cgroup: {
		"mover": {ends: []string{"moved"}, stop: []string{"moved"}},
	},
}

// grace is what the members get to obey SIGTERM.
const grace = 300 * time.Millisecond

// atEnd is called when all tests are over.
var atEnd = func() {}

func TestMain(m *testing.M) {
	escape.Register("owner", owner)
	escape.Main()
	code := m.Run()
	atEnd()
	if code == 0 {
		if err := escape.CheckUsed(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// owner is the program that asks for a run and is killed: its arguments are the
// containment and the command.
func owner(args []string) {
	inner := exec.Command(args[1], args[2:]...)
	escape.Attach(inner, escape.Inherited())
	cmd := corral.Wrap(inner)
	cmd.Containment, cmd.Require = corral.Containment(args[0]), corral.Containment(args[0])
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "owner:", err)
		os.Exit(1)
	}
}

func TestEscape(t *testing.T) {
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			for _, child := range escape.All() {
				want := expected[cont][child.Name]
				t.Run(child.Name, func(t *testing.T) {
					if err := child.Unavailable(); err != nil {
						t.Skip("SKIPPED: ", err)
					}
					t.Run("ends", func(t *testing.T) { commandEnds(t, cont, child, want.ends) })
					t.Run("stop", func(t *testing.T) { commandIsStopped(t, cont, child, want.stop) })
					t.Run("owner", func(t *testing.T) { ownerIsKilled(t, cont, child, want.orphans) })
				})
			}
		})
	}
}

// What is promised to hold everything is not expected to let anything go.
func TestExpectedAsPromised(t *testing.T) {
	for _, p := range promise.On(runtime.GOOS) {
		for child, o := range expected[corral.Containment(p.Containment)] {
			if len(o.ends)+len(o.stop) > 0 && strings.HasPrefix(p.Escapes, "nothing") {
				t.Errorf("%s escapes from %s, and %q is promised to", child, p.Containment, p.Escapes)
			}
		}
	}
}

// need skips the test where cont does not work.
func need(t *testing.T, cont corral.Containment) {
	t.Helper()
	cmd := corral.Command(succeed[0], succeed[1:]...)
	cmd.Containment, cmd.Require = cont, cont
	if err := cmd.Run(); err != nil {
		t.Skip("SKIPPED: ", err)
	}
}

func newRun(t *testing.T, cont corral.Containment, probe *escape.Probe) *corral.Cmd {
	t.Helper()
	path, args, files := probe.Command()
	var cmd *corral.Cmd
	err := winetest.Start(func() error {
		inner := exec.Command(path, args...)
		inner.Stderr = os.Stderr
		escape.Attach(inner, files)
		cmd = corral.Wrap(inner)
		cmd.Containment, cmd.Require = cont, cont
		cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
		return cmd.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	probe.Started()
	t.Cleanup(func() { // how it ended may say why the tree was not complete
		if t.Failed() && cmd.ProcessState == nil {
			cmd.Signal(os.Kill)
			t.Logf("Wait: %v, %+v", cmd.Wait(), cmd.Report())
		}
	})
	return cmd
}

func commandEnds(t *testing.T, cont corral.Containment, child escape.Child, survivors []string) {
	t.Parallel()
	escape.StartBystander(t)
	probe := escape.NewProbe(t, child)
	cmd := newRun(t, cont, probe)
	members := probe.Ready(t.Context())
	probe.Release()
	err := cmd.Wait()
	want := cmp.Or(endings[child.Name], "exit status 0")
	if got := cmd.ProcessState.String(); got != want || (err == nil) != cmd.ProcessState.Success() {
		t.Errorf("Wait: %v, %s, want %s", err, got, want)
	}
	if got := cmd.Report().Ending; got != corral.Exited {
		t.Errorf("ending %s", got)
	}
	check(t, cmd, probe, child.Name, members, survivors)
}

func commandIsStopped(t *testing.T, cont corral.Containment, child escape.Child, survivors []string) {
	t.Parallel()
	escape.StartBystander(t)
	probe := escape.NewProbe(t, child)
	cmd := newRun(t, cont, probe)
	members := probe.Ready(t.Context())
	if err := cmd.Stop(t.Context()); err != nil {
		t.Errorf("Stop: %v", err)
	}
	var exit *corral.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) {
		t.Errorf("Wait: %v, want an exit error", err)
	}
	if got := cmd.Report().Ending; got != corral.Stopped {
		t.Errorf("ending %s", got)
	}
	check(t, cmd, probe, child.Name, members, survivors)
}

func ownerIsKilled(t *testing.T, cont corral.Containment, child escape.Child, survivors []string) {
	t.Parallel()
	escape.StartBystander(t)
	probe := escape.NewProbe(t, child)
	path, args, files := probe.Command()
	self, ownerArgs := escape.Command("owner", append([]string{string(cont), path}, args...)...)
	var cmd *exec.Cmd
	err := winetest.Start(func() error {
		cmd = exec.Command(self, ownerArgs...)
		cmd.Stderr = os.Stderr
		escape.Attach(cmd, files)
		return cmd.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	probe.Started()
	t.Cleanup(func() { // how it ended may say why the tree was not complete
		if t.Failed() && cmd.ProcessState == nil {
			cmd.Process.Kill()
			t.Logf("the owner: %v", cmd.Wait())
		}
	})
	probe.Ready(t.Context())
	if err := cmd.Process.Kill(); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	gone(t, probe, survivors)
}

// check compares what is left with what should be, and what the Report says
// about the others with what happened.
func check(t *testing.T, cmd *corral.Cmd, probe *escape.Probe, child string, members []escape.Member, survivors []string) {
	t.Helper()
	gone(t, probe, survivors)
	fates := make(map[[2]uint64]corral.Fate)
	for _, l := range cmd.Report().Leftovers {
		fates[key(cmd, l.PID, l.Start)] = l.Fate
		if len(l.Command) == 0 {
			t.Errorf("no command line for %d", l.PID)
		}
		if l.Fate != corral.Signalled && l.Fate != corral.Forced {
			t.Errorf("leftover %v: %s (%s)", l.Process, l.Fate, l.Reason)
		}
	}
	for _, m := range members {
		switch fate, found := fates[key(cmd, m.PID, m.Start)]; {
		case m.Role == "leader" || m.Role == "link": // a link is another one by then
		case !found && endings[child] != "" && m.Role != "ignorer":
			// Another member may have ended it before Corral looked.
		case slices.Contains(survivors, m.Role):
			if found {
				t.Errorf("%v survives, and the report says %s", m, fate)
			}
		case !found:
			t.Errorf("the report does not know of %v", m)
		case strings.HasPrefix(m.Role, "ignorer") && fate != corral.Forced:
			t.Errorf("%v ignores SIGTERM, and the report says %s", m, fate)
		}
	}
}

// key identifies a process. In a PID namespace of its own it has another PID
// for itself.
func key(cmd *corral.Cmd, pid int, start uint64) [2]uint64 {
	if cmd.Report().Containment == corral.PIDNS {
		pid = 0
	}
	return [2]uint64{uint64(pid), start}
}

// gone waits for an event. What leads to it takes several processes, each of which
// a busy machine may keep waiting; one that survives does so until its Lifetime is
// over, which is twice as long.
func gone(t *testing.T, probe *escape.Probe, survivors []string) {
	t.Helper()
	goneWithin(t, escape.Lifetime/2, probe, survivors)
}

// goneWithin is for tests that are about how long it takes.
func goneWithin(t *testing.T, bound time.Duration, probe *escape.Probe, survivors []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), bound)
	defer cancel()
	if err := probe.Gone(ctx, survivors...); err != nil {
		t.Error(err)
	}
}
