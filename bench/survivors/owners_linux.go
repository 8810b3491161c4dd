package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
)

// The owners that are this program once more. Their arguments are the command's; SIGTERM
// stops it, in the way that the library is for.
func init() {
	escape.Register("osexec", func(args []string) {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, escape.Inherited()
		ended(cmd.Run())
	})
	escape.Register("osexec-group", func(args []string) {
		runtime.LockOSThread() // a parent-death signal is of the thread that forks
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
		cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, escape.Inherited()
		ended(cmd.Run())
	})
	escape.Register("corral", func(args []string) {
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
		defer stop()
		cmd := corral.CommandContext(ctx, args[1], args[2:]...)
		cmd.Containment = corral.Containment(args[0])
		if cmd.Containment != corral.Auto {
			cmd.Require = cmd.Containment
		}
		wait, _ := time.ParseDuration(grace)
		cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: wait}}
		cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = os.Stdout, os.Stderr, escape.Inherited()
		ended(cmd.Run())
	})
}

// ended ends an owner as its command has.
func ended(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "owner:", err)
		os.Exit(1)
	}
}
