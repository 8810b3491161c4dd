//go:build !linux && !darwin && !freebsd && !windows

package procgroup

import (
	"errors"
	"os"
	"os/exec"
	"testing"
)

// Every function says that there is no such thing, and none claims to have
// stopped anything.
func TestUnsupported(t *testing.T) {
	const pid = 4711
	started := func() *exec.Cmd { return &exec.Cmd{Process: &os.Process{Pid: pid}} }
	for name, err := range map[string]error{
		"SetProcessGroup":         SetProcessGroup(),
		"DetachFromTTY":           DetachFromTTY(),
		"SetParentDeathSignal":    SetParentDeathSignal(pid),
		"SetCmdProcessGroup":      SetCmdProcessGroup(new(exec.Cmd)),
		"DetachCmdFromTTY":        DetachCmdFromTTY(new(exec.Cmd)),
		"SetCmdParentDeathSignal": SetCmdParentDeathSignal(new(exec.Cmd)),
		"KillGroup":               KillGroup(pid),
		"SignalGroup":             SignalGroup(pid, Term),
		"KillGroupOf":             KillGroupOf(pid),
		"SignalGroupOf":           SignalGroupOf(pid, Term),
		"KillCmd":                 KillCmd(started()),
		"SignalCmd":               SignalCmd(started(), Term),
		"KillProcess":             KillProcess(pid),
	} {
		if !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, stop := range map[string]func() (Result, error){
		"GracefulKill":        func() (Result, error) { return GracefulKill(pid, Term, 0) },
		"GracefulKillDefault": func() (Result, error) { return GracefulKillDefault(pid) },
		"GracefulKillContext": func() (Result, error) { return GracefulKillContext(t.Context(), pid, Term, 0) },
		"GracefulKillTree":    func() (Result, error) { return GracefulKillTree(t.Context(), pid, Term, 0) },
	} {
		if result, err := stop(); result != Error || !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v, %v", name, result, err)
		}
	}
}
