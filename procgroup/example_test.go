//go:build linux || darwin || freebsd

package procgroup_test

import (
	"context"
	"fmt"
	"io"
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

// What a command leaves in its group is killed also when the command has ended first.
// Until then it holds the output, so reading does not end.
func ExampleKillCmd() {
	cmd := exec.Command("sh", "-c", "sleep 60 & echo built")
	if err := procgroup.SetCmdProcessGroup(cmd); err != nil {
		panic(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	built := make([]byte, len("built"))
	if _, err := io.ReadFull(stdout, built); err != nil {
		panic(err)
	}
	fmt.Println(string(built), procgroup.KillCmd(cmd))
	_, err = io.ReadAll(stdout)
	fmt.Println("end of output", err)
	cmd.Wait()
	// Output:
	// built <nil>
	// end of output <nil>
}

// A group that ignores the first signal is killed when the grace period is over. When
// it returns, no member is alive.
func ExampleGracefulKillContext() {
	cmd := exec.Command("sh", "-c", "trap '' TERM; echo ready; sleep 60; :")
	if err := procgroup.SetCmdProcessGroup(cmd); err != nil {
		panic(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	if _, err := io.ReadFull(stdout, make([]byte, len("ready"))); err != nil {
		panic(err)
	}
	ctx := context.Background() // a request's: its end ends the grace period
	fmt.Println(procgroup.GracefulKillContext(ctx, cmd.Process.Pid, procgroup.Term, procgroup.DefaultGrace))
	cmd.Wait()
	// Output:
	// forceful kill <nil>
}
