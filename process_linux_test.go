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
	h := &handling{cont: args[0]}
	h.waitedFor()
	h.released()
	h.waitedByProcess()
	syscall.Exit(0)
}

// handling does things to the Process of one command after the other, and says what
// comes of it.
type handling struct {
	cont   string // a containment, or "exec"
	leader int
}

func (h *handling) start(name string, arg ...string) (cmd handled, p *os.Process, in io.Closer, ended func()) {
	var process func() *os.Process
	if h.cont == "exec" {
		c := exec.Command(name, arg...)
		cmd, process = c, func() *os.Process { return c.Process }
	} else {
		c := command(corral.Containment(h.cont), name, arg...)
		cmd, process = c, func() *os.Process { return c.Process }
	}
	stdin, err := cmd.StdinPipe()
	stdout, oerr := cmd.StdoutPipe()
	if err := errors.Join(err, oerr, cmd.Start()); err != nil {
		fmt.Println(err)
		syscall.Exit(1)
	}
	p = process()
	h.leader = p.Pid
	return cmd, p, stdin, func() { io.Copy(io.Discard, stdout) }
}

func (h *handling) say(what string, err error) {
	text := fmt.Sprint(err)
	if h.leader > 0 {
		text = strings.ReplaceAll(text, fmt.Sprint(h.leader), "PID")
	}
	fmt.Printf("%s: %T %s, done %v, ECHILD %v, EINVAL %v\n", what, err, text,
		errors.Is(err, os.ErrProcessDone), errors.Is(err, syscall.ECHILD), errors.Is(err, syscall.EINVAL))
}

func (h *handling) use(when string, p *os.Process) {
	h.say(when+": Signal", p.Signal(syscall.Signal(0)))
	if withHandle == nil {
		return
	}
	same := false
	err := withHandle(p, func(fd uintptr) {
		info, _ := os.ReadFile(fmt.Sprintf("/proc/self/fdinfo/%d", fd))
		same = strings.Contains(string(info), fmt.Sprintf("\nPid:\t%d\n", h.leader))
	})
	h.say(fmt.Sprintf("%s: WithHandle, the leader's: %v", when, same), err)
}

// waitedFor kills a command and waits for it.
func (h *handling) waitedFor() {
	cmd, p, _, ended := h.start("cat")
	h.use("running", p)
	h.say("running: SIGCONT", p.Signal(syscall.SIGCONT))
	h.say("running: Kill", p.Kill())
	ended()
	h.use("ended", p)
	h.say("ended: Kill", p.Kill())
	h.say("Wait", cmd.Wait())
	fmt.Println("the PID stays:", p.Pid == h.leader)
	h.use("waited for", p)
	h.say("waited for: Kill", p.Kill())
	_, err := p.Wait()
	h.say("waited for: Process.Wait", err)
	h.say("waited for: Release", p.Release())
	fmt.Println("waited for, released:", p.Pid)
	h.use("waited for, released", p)
}

// released releases the process of a command that runs.
func (h *handling) released() {
	cmd, p, in, _ := h.start("cat")
	h.say("Release", p.Release())
	fmt.Println("released:", p.Pid)
	h.use("released", p)
	h.say("released: Kill", p.Kill())
	h.say("released: Release", p.Release())
	_, err := p.Wait()
	h.say("released: Process.Wait", err)
	in.Close()
	h.say("released: Wait", cmd.Wait())
	h.use("released, waited for", p)
}

// waitedByProcess calls Process.Wait before Wait.
func (h *handling) waitedByProcess() {
	cmd, p, _, ended := h.start("sh", "-c", "exit 3")
	ended()
	state, err := p.Wait()
	fmt.Println("Process.Wait:", state)
	h.say("Process.Wait", err)
	h.say("Process.Wait, then Wait", cmd.Wait())
	h.use("Process.Wait, then Wait", p)
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
