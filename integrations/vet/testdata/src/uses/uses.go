package uses

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"
	"time"

	exec "github.com/corral-run/corral"
	"golang.org/x/sys/unix"
)

type server struct{ cmd *exec.Cmd }

func waits(s server) {
	cmd := exec.Command("true")
	cmd.Process.Wait()          // want `use Cmd.Wait`
	_, _ = s.cmd.Process.Wait() // want `use Cmd.Wait`
	p := cmd.Process
	go func() {
		p.Wait() // want `use Cmd.Wait`
	}()
	var c exec.Cmd
	c.Process.Wait() // want `use Cmd.Wait`

	cmd.Wait()
	other, _ := os.StartProcess("/bin/true", nil, nil)
	other.Wait()
	p, _ = os.FindProcess(1)
	p.Wait()
	cmd.Process.Kill()
}

func releases(cmd *exec.Cmd) {
	cmd.Process.Release() // want `DetachLeftovers`
	p, _ := os.FindProcess(cmd.Process.Pid)
	p.Release()
}

func detaches() {
	cmd := exec.Command("true")
	cmd.Leftovers = exec.DetachLeftovers
	cmd.Start()
	cmd.Process.Release()
	made := &exec.Cmd{Path: "true", Leftovers: exec.DetachLeftovers}
	made.Process.Release()
	other := exec.Command("true")
	other.Leftovers = exec.KeepLeftovers
	other.Process.Release() // want `DetachLeftovers`
}

func policies() {
	cmd := exec.Command("true")
	cmd.Leftovers = exec.KeepLeftovers
	_, _ = cmd.Run().(*exec.ExitError)
	failing := exec.Command("true")
	failing.Leftovers = exec.FailOnLeftovers
	_, _ = failing.Run().(*exec.ExitError) // want `use errors.As`
}

func kills(cmd *exec.Cmd, pid int) {
	syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)                // want `use Cmd.Signal`
	_ = unix.Kill(-(cmd.Process.Pid), syscall.SIGTERM)             // want `use Cmd.Signal`
	if err := syscall.Kill(-int(cmd.Process.Pid), 9); err != nil { // want `use Cmd.Signal`
		return
	}
	pgid, err := syscall.Getpgid(cmd.Process.Pid)
	if err == nil {
		syscall.Kill(-pgid, 9) // want `use Cmd.Signal`
	}
	p := cmd.Process.Pid
	syscall.Kill(-p, 9) // want `use Cmd.Signal`
	minus := -p
	syscall.Kill(minus, 9) // want `use Cmd.Signal`

	syscall.Kill(cmd.Process.Pid, 9)
	syscall.Kill(-pid, 9)
	syscall.Kill(-os.Getpid(), 9)
	pgid, _ = syscall.Getpgid(pid)
	syscall.Kill(-pgid, 9)
}

func fields(ctx context.Context) int {
	cmd := exec.CommandContext(ctx, "true")
	cmd.Timeout = time.Second
	err := cmd.Run()
	if exit, ok := err.(*exec.ExitError); ok { // want `use errors.As`
		return exit.ExitCode()
	}
	switch err.(type) {
	case *exec.ExitError: // want `use errors.As`
	}
	switch e := err.(type) {
	case nil:
	case *exec.ExitError: // want `use errors.As`
		return e.ExitCode()
	}
	if err == context.DeadlineExceeded { // want `use errors.Is`
		return 1
	}
	if context.Canceled != err { // want `use errors.Is`
		return 1
	}
	switch err {
	case io.EOF:
	case context.Canceled: // want `use errors.Is`
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) || errors.Is(err, context.Canceled) || err == ctx.Err() {
		return 2
	}
	err = ctx.Err()
	if err == context.Canceled {
		return 3
	}
	return 0
}

// made sees only a part of what the command is.
func made(cmd *exec.Cmd) {
	out, err := cmd.Output()
	_, _ = err.(*exec.ExitError) // want `use errors.As`
	_ = out
}

func literal() {
	cmd := &exec.Cmd{Path: "true", Timeout: time.Second}
	err := cmd.Wait()
	_, _ = err.(*exec.ExitError) // want `use errors.As`
}

func idle() {
	cmd := exec.Command("true")
	cmd.IdleTimeout = time.Second
	_, _ = cmd.Run().(*exec.ExitError) // want `use errors.As`
}

// plain uses nothing but os/exec's own fields, and gets os/exec's errors.
func plain(ctx context.Context) {
	cmd := exec.CommandContext(ctx, "true")
	cmd.WaitDelay = time.Second
	if cmd.Timeout > 0 {
		return
	}
	err := cmd.Run()
	_, _ = err.(*exec.ExitError)
	_ = err == context.DeadlineExceeded
	var other error
	_, _ = other.(*exec.ExitError)
	_, _ = exec.Command("true").Run().(*exec.ExitError)
}
