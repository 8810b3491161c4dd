package migrates

import (
	"os/exec"
	"syscall"
)

func all(cmd *exec.Cmd) {
	cmd.Process.Wait()                // want `use Cmd.Wait`
	cmd.Process.Release()             // want `DetachLeftovers`
	syscall.Kill(-cmd.Process.Pid, 9) // want `use Cmd.Signal`
	_, _ = cmd.Run().(*exec.ExitError)
}
