//go:build linux || freebsd

package procgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/pgroup/pgtest"
)

func init() {
	roles["die with the parent"] = dieWithParent
	roles["parent is dead"] = parentIsDead
	roles["start dying with parent"] = startDyingWithParent
}

func TestSetParentDeathSignal(t *testing.T) {
	t.Run("parent ends", func(t *testing.T) {
		tree := pgtest.Start(t, spec{Children: []spec{{Role: "die with the parent"}}})
		tree.Kill(t, 0)
		tree.Gone(t)
	})
	t.Run("parent has ended", func(t *testing.T) {
		tree := pgtest.Start(t, spec{Role: "parent is dead"})
		if state := tree.Reap(); state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Errorf("%v, want it killed", state)
		}
	})
	t.Run("no process ID", func(t *testing.T) {
		var e *RefusedError
		if err := SetParentDeathSignal(-1); !errors.As(err, &e) {
			t.Errorf("%v, want it refused", err)
		}
	})
}

func dieWithParent([]string) {
	if err := SetParentDeathSignal(os.Getppid()); err != nil {
		panic(err)
	}
	pgtest.Say("ready", os.Getpid())
	<-time.After(pgtest.Lifetime)
}

func parentIsDead([]string) {
	pgtest.Say("ready", os.Getpid())
	err := SetParentDeathSignal(os.Getpid()) // of all processes, surely not its parent
	panic(fmt.Sprint("still here: ", err))
}

func TestSetCmdParentDeathSignal(t *testing.T) {
	tree := pgtest.Start(t, spec{Role: "start dying with parent"})
	if line := tree.Line(t); !strings.HasPrefix(line, "ready ") {
		t.Fatal(line)
	}
	tree.Kill(t, 0)
	tree.Gone(t)
}

func startDyingWithParent([]string) {
	cmd := pgtest.Command(spec{})
	if err := SetCmdParentDeathSignal(cmd); err != nil {
		panic(err)
	}
	pgtest.Say("ready", os.Getpid())
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	cmd.Wait()
}

func TestCmdParentDeathSignalAttribute(t *testing.T) {
	for have, conflict := range map[syscall.Signal]bool{0: false, syscall.SIGKILL: false, syscall.SIGTERM: true} {
		cmd := exec.Command("true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: have, Chroot: "/x"}
		err := SetCmdParentDeathSignal(cmd)
		var e *ConflictError
		switch {
		case conflict && (!errors.As(err, &e) || e.Field != "Pdeathsig" || cmd.SysProcAttr.Pdeathsig != have):
			t.Errorf("%v: %v, %+v, want a conflict", have, err, cmd.SysProcAttr)
		case !conflict && (err != nil || !equal(cmd.SysProcAttr, &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Chroot: "/x"})):
			t.Errorf("%v: %v, %+v", have, err, cmd.SysProcAttr)
		}
	}
}
