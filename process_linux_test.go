package corral_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/escape"
)

// What a caller may do to cmd.Process, and what comes of it, is what comes of it
// under os/exec. A process in the role "handler" does all that and says so: under a
// containment, or with os/exec.

const handlerRole = "handler"

func init() { escape.Register(handlerRole, handler) }

// withHandle is Process.WithHandle, where this version of Go has it.
var withHandle func(*os.Process, func(uintptr)) error

// handled is what os/exec and Corral have both.
type handled interface {
	Start() error
	Wait() error
	StdinPipe() (io.WriteCloser, error)
	StdoutPipe() (io.ReadCloser, error)
}

func handler(args []string) {
	start := func(name string, arg ...string) (cmd handled, p *os.Process, in io.Closer, ended func()) {
		var process func() *os.Process
		if args[0] == "exec" {
			c := exec.Command(name, arg...)
			cmd, process = c, func() *os.Process { return c.Process }
		} else {
			c := command(corral.Containment(args[0]), name, arg...)
			cmd, process = c, func() *os.Process { return c.Process }
		}
		stdin, err := cmd.StdinPipe()
		stdout, oerr := cmd.StdoutPipe()
		if err := errors.Join(err, oerr, cmd.Start()); err != nil {
			fmt.Println(err)
			syscall.Exit(1)
		}
		return cmd, process(), stdin, func() { io.Copy(io.Discard, stdout) }
	}
	leader := 0
	say := func(what string, err error) {
		text := fmt.Sprint(err)
		if leader > 0 {
			text = strings.ReplaceAll(text, fmt.Sprint(leader), "PID")
		}
		fmt.Printf("%s: %T %s, done %v, ECHILD %v, EINVAL %v\n", what, err, text,
			errors.Is(err, os.ErrProcessDone), errors.Is(err, syscall.ECHILD), errors.Is(err, syscall.EINVAL))
	}
	use := func(when string, p *os.Process) {
		say(when+": Signal", p.Signal(syscall.Signal(0)))
		if withHandle == nil {
			return
		}
		same := false
		err := withHandle(p, func(fd uintptr) {
			info, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
			same = strings.Contains(string(info), fmt.Sprintf("\nPid:\t%d\n", leader))
		})
		say(fmt.Sprintf("%s: WithHandle, the leader's: %v", when, same), err)
	}

	cmd, p, _, ended := start("cat")
	leader = p.Pid
	use("running", p)
	say("running: SIGCONT", p.Signal(syscall.SIGCONT))
	say("running: Kill", p.Kill())
	ended()
	use("ended", p)
	say("ended: Kill", p.Kill())
	say("Wait", cmd.Wait())
	fmt.Println("the PID stays:", p.Pid == leader)
	use("waited for", p)
	say("waited for: Kill", p.Kill())
	_, err := p.Wait()
	say("waited for: Process.Wait", err)
	say("waited for: Release", p.Release())
	fmt.Println("waited for, released:", p.Pid)
	use("waited for, released", p)

	cmd, p, in, _ := start("cat")
	leader = p.Pid
	say("Release", p.Release())
	fmt.Println("released:", p.Pid)
	use("released", p)
	say("released: Kill", p.Kill())
	say("released: Release", p.Release())
	_, err = p.Wait()
	say("released: Process.Wait", err)
	in.Close()
	say("released: Wait", cmd.Wait())
	use("released, waited for", p)

	cmd, p, _, ended = start("sh", "-c", "exit 3")
	leader = p.Pid
	ended()
	state, err := p.Wait()
	fmt.Println("Process.Wait:", state)
	say("Process.Wait", err)
	say("Process.Wait, then Wait", cmd.Wait())
	use("Process.Wait, then Wait", p)
	syscall.Exit(0)
}

// notAChild is what is different where the leader is a keeper's child. docs and
// README say so.
var notAChild = []struct{ theirs, ours string }{
	{"Process.Wait: exit status 3", "Process.Wait: <nil>"},
	{"Process.Wait: <nil> <nil>", "Process.Wait: *os.SyscallError waitid: no child processes, done false, ECHILD true, EINVAL false"},
	{"Process.Wait, then Wait: *os.SyscallError", "Process.Wait, then Wait: *exec.ExitError exit status 3, done false, ECHILD false, EINVAL false"},
}

func TestProcess(t *testing.T) {
	say := func(t *testing.T, how string) []string {
		path, args := escape.Command(handlerRole, how)
		cmd := exec.Command(path, args...)
		cmd.Stderr = os.Stderr
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return strings.Split(string(out), "\n")
	}
	theirs := say(t, "exec")
	if len(theirs) < 20 {
		t.Fatalf("os/exec says only %q", theirs)
	}
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		want := slices.Clone(theirs)
		for i, line := range want {
			for _, other := range notAChild {
				if strings.HasPrefix(line, other.theirs) && (cont == corral.Keeper || cont == corral.PIDNS) {
					want[i] = other.ours
				}
			}
		}
		if d := diff.Of(want, say(t, string(cont))); d != "" {
			t.Errorf("under %s, not as under os/exec:\n%s", cont, d)
		}
	})
}
