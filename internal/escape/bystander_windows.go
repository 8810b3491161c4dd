package escape

import (
	"os"
	"os/exec"
	"syscall"
	"testing"

	"golang.org/x/sys/windows"

	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/winetest"
)

const bystander = "bystander"

func init() { addRole(bystander, func(t *task) { (&process{task: *t}).stay() }) }

// StartBystander starts a process in a console group of its own, which has nothing
// to do with any run. The test fails if the process ends before it does.
func StartBystander(t testing.TB) *os.Process {
	t.Helper()
	exe, args := Command(bystander)
	var cmd *exec.Cmd
	err := winetest.Start(func() error {
		cmd = exec.Command(exe, args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
		return cmd.Start()
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := osproc.WithHandle(cmd.Process, func(h uintptr) {
			if event, err := windows.WaitForSingleObject(windows.Handle(h), 0); event != uint32(windows.WAIT_TIMEOUT) {
				t.Error("the bystander did not live to the end:", event, err)
			}
		})
		if err != nil {
			t.Error(err)
		}
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd.Process
}
