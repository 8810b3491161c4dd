package procgroup

import (
	"os"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/pgroup/pgtest"
)

func init() { roles["hide processes"] = hideProcesses }

// TestPermissionOfHiddenMembers: the process table does not show the members, as
// the caller may not signal them either. That is not the same as none.
func TestPermissionOfHiddenMembers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, needs root, to mount a /proc that hides processes")
	}
	tree := pgtest.Bystander{Tree: pgtest.Start(t, spec{Mode: pgtest.Count, Group: true})}
	for _, call := range []string{"KillGroup", "SignalGroupOf", "GracefulKill", "GracefulKillTree"} {
		asker := pgtest.Start(t, spec{Role: "hide processes", Session: true, Args: []string{call, strconv.Itoa(tree.PID)}})
		if line := asker.Line(t); strings.HasPrefix(line, "SKIPPED") {
			t.Skip(line)
		}
		if said := asker.Line(t); !strings.HasPrefix(said, "permission: result error") {
			t.Errorf("%s: %s", call, said)
		}
	}
	tree.Unharmed(t)
}

// hideProcesses stops a group, as a user to whom /proc shows only its own
// processes.
func hideProcesses(args []string) {
	pgtest.Say("ready", os.Getpid())
	err := unix.Unshare(unix.CLONE_NEWNS) // of this thread, which is the one that forks
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", 0, "hidepid=2")
	}
	if err != nil {
		pgtest.Say("SKIPPED, cannot mount a /proc that hides processes:", err)
		return
	}
	if err := pgtest.Command(spec{Role: "stop as another user", User: 65534, Args: args}).Run(); err != nil {
		pgtest.Say(err)
	}
}
