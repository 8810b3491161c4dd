//go:build linux || darwin || freebsd

package procgroup_test

import (
	"fmt"
	"os/exec"
	"time"

	"github.com/corral-run/corral/procgroup"
)

// A shell and what it starts are stopped together.
func Example() {
	cmd := exec.Command("sh", "-c", "sleep 60 & wait")
	if err := procgroup.SetCmdProcessGroup(cmd); err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	result, err := procgroup.GracefulKill(cmd.Process.Pid, procgroup.Term, 30*time.Second)
	fmt.Println(result, err)
	fmt.Println(cmd.Wait())
	// Output:
	// graceful exit <nil>
	// signal: terminated
}
