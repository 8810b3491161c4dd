package procgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/corral-run/corral/internal/console"
	"github.com/corral-run/corral/internal/osproc"
)

// Each process of a test is the test binary again, with a role. It says "ready"
// on the standard output that it shares with its children, so that end-of-file
// there is the proof that all have ended.
const roleVariable = "CORRAL_PROCGROUP_TEST"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVariable)
	if role == "" {
		os.Exit(m.Run())
	}
	time.AfterFunc(time.Minute, func() { os.Exit(3) })
	obedient := make(chan os.Signal, 1)
	if role == "disobedient" {
		signal.Ignore(os.Interrupt)
	} else {
		signal.Notify(obedient, os.Interrupt) // CTRL_BREAK too
	}
	if role == "parent" {
		if err := helper("obedient").Start(); err != nil {
			panic(err)
		}
	}
	fmt.Println("ready")
	<-obedient
}

func helper(role string) *exec.Cmd {
	path, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd
}

// start starts a process in a group of its own, waits until n processes are
// ready, and returns what they share.
func start(t *testing.T, role string, n int) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := helper(role)
	cmd.Stdout = w
	if err := SetCmdProcessGroup(cmd); err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		KillCmd(cmd)
		cmd.Wait()
		r.Close()
	})
	said := bufio.NewReader(r)
	for range n {
		if line, err := said.ReadString('\n'); err != nil {
			t.Fatal(line, err)
		}
	}
	return cmd, said
}

func gone(t *testing.T, said io.Reader) {
	t.Helper()
	if b, err := io.ReadAll(said); err != nil || len(b) > 0 {
		t.Error(string(b), err)
	}
}

func TestKill(t *testing.T) {
	for name, kill := range map[string]func(*exec.Cmd) error{
		"KillGroup":   func(cmd *exec.Cmd) error { return KillGroup(cmd.Process.Pid) },
		"KillGroupOf": func(cmd *exec.Cmd) error { return KillGroupOf(cmd.Process.Pid) },
		"KillCmd":     KillCmd,
	} {
		t.Run(name, func(t *testing.T) {
			bystander, _ := start(t, "obedient", 1)
			cmd, said := start(t, "parent", 2)
			if err := kill(cmd); err != nil {
				t.Error(err)
			}
			gone(t, said)
			if err := kill(cmd); err != nil {
				t.Error("already gone:", err)
			}
			cmd.Wait()
			if err := kill(cmd); err != nil {
				t.Error("waited for:", err)
			}
			runs(t, bystander)
		})
	}
}

func runs(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	err := osproc.WithHandle(cmd.Process, func(h uintptr) {
		if event, err := windows.WaitForSingleObject(windows.Handle(h), 0); event != uint32(windows.WAIT_TIMEOUT) {
			t.Error("the bystander has ended:", event, err)
		}
	})
	if err != nil {
		t.Error(err)
	}
}

func TestGracefulKill(t *testing.T) {
	const long = 40 * time.Second
	obeys := GracefulExit
	if _, err := console.Processes(); err != nil {
		t.Log("without a console nobody can be asked:", err)
		obeys = ForcefulKill
	}
	for _, test := range []struct {
		role  string
		n     int
		grace time.Duration
		want  Result
	}{
		{"obedient", 1, long, obeys},
		{"parent", 2, long, obeys},
		{"disobedient", 1, 100 * time.Millisecond, ForcefulKill},
	} {
		t.Run(test.role, func(t *testing.T) {
			bystander, _ := start(t, "obedient", 1)
			cmd, said := start(t, test.role, test.n)
			begin := time.Now()
			if result, err := GracefulKill(cmd.Process.Pid, Term, test.grace); result != test.want || err != nil {
				t.Errorf("%v, %v, want %v", result, err, test.want)
			}
			if took := time.Since(begin); took > long/2 {
				t.Errorf("it took %v", took)
			}
			gone(t, said)
			if result, err := GracefulKill(cmd.Process.Pid, Term, test.grace); result != AlreadyExited || err != nil {
				t.Errorf("again: %v, %v, want %v", result, err, AlreadyExited)
			}
			runs(t, bystander)
		})
	}
}

// TestNoConsoleGroup: a process that leads no group is not sent CTRL_BREAK,
// which the caller would get too.
func TestNoConsoleGroup(t *testing.T) {
	cmd := helper("obedient")
	cmd.Stdout = nil
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := SignalGroup(cmd.Process.Pid, Term); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("%v, want it unsupported", err)
	}
}

func TestRefused(t *testing.T) {
	for _, id := range []int{0, 1, -1, math.MinInt, math.MaxInt, os.Getpid()} {
		for name, call := range map[string]func(int) error{
			"KillGroup":   KillGroup,
			"KillGroupOf": KillGroupOf,
			"KillProcess": KillProcess,
			"GracefulKill": func(id int) error {
				_, err := GracefulKill(id, Term, 0)
				return err
			},
		} {
			var refused *RefusedError
			if err := call(id); !errors.As(err, &refused) || refused.ID != id {
				t.Errorf("%s(%d): %v, want it refused", name, id, err)
			}
		}
	}
}

func TestCmdAttributes(t *testing.T) {
	for _, test := range []struct {
		name       string
		set        func(*exec.Cmd) error
		have, want uint32
		conflict   bool
	}{
		{"group", SetCmdProcessGroup, windows.CREATE_SUSPENDED, windows.CREATE_SUSPENDED | windows.CREATE_NEW_PROCESS_GROUP, false},
		{"group with a console", SetCmdProcessGroup, windows.CREATE_NEW_CONSOLE, 0, true},
		{"detached", DetachCmdFromTTY, windows.CREATE_NEW_PROCESS_GROUP, windows.CREATE_NEW_PROCESS_GROUP | windows.DETACHED_PROCESS, false},
		{"detached with a console", DetachCmdFromTTY, windows.CREATE_NEW_CONSOLE, 0, true},
		{"parent death", SetCmdParentDeathSignal, windows.CREATE_SUSPENDED, windows.CREATE_SUSPENDED, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command("none")
			have := &syscall.SysProcAttr{CreationFlags: test.have, HideWindow: true}
			cmd.SysProcAttr = have
			err := test.set(cmd)
			var conflict *ConflictError
			switch {
			case test.conflict && (!errors.As(err, &conflict) || cmd.SysProcAttr != have):
				t.Errorf("%v, want a conflict", err)
			case !test.conflict && (err != nil || cmd.SysProcAttr.CreationFlags != test.want || !cmd.SysProcAttr.HideWindow):
				t.Errorf("%v, %#x, want %#x", err, cmd.SysProcAttr.CreationFlags, test.want)
			case have.CreationFlags != test.have:
				t.Error("attributes that other commands may share were changed")
			}
		})
	}
}
