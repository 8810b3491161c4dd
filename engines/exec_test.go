//go:build linux

package engines_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

// There is no container engine here. A container is a process that is PID 1 of a
// namespace, and has a /proc for that. `docker exec -i` and its like start a
// process in the namespaces, and a client copies its own input to it. The test uses
// nsenter and cat for that.

const containerRole = "container"

func init() {
	escape.Register(containerRole, func(args []string) {
		err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		if err == nil {
			err = unix.Mount("proc", "/proc", "proc", 0, "")
		}
		if err == nil {
			err = syscall.Exec(args[0], args, os.Environ())
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	})
}

// container is a container, seen from outside.
type container struct {
	t    *testing.T
	init *exec.Cmd
	own  []proctree.Process // what it runs by itself
}

// startContainer starts a container whose main process is sleep. command is sleep,
// or the init that starts it.
func startContainer(t *testing.T, command ...string) *container {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can enter the namespaces of others")
	}
	path, args := escape.Command(containerRole, command...)
	c := &container{t: t, init: exec.Command(path, args...)}
	c.init.Stderr = os.Stderr
	c.init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if err := c.init.Start(); err != nil {
		t.Skip("SKIPPED: no PID namespaces here: ", err)
	}
	t.Cleanup(func() {
		c.init.Process.Kill() // the kernel kills the others
		c.init.Wait()
	})
	eventually(t, "the container does not come up", func() error {
		c.own = c.processes()
		if !slices.ContainsFunc(c.own, func(p proctree.Process) bool { return p.Name == "sleep" }) {
			return errors.New("there is no main process")
		}
		return nil
	})
	return c
}

// processes returns the processes in the container, also those that somebody
// outside has started. Zombies are among them.
func (c *container) processes() []proctree.Process {
	c.t.Helper()
	table, err := proctree.Snapshot()
	if err != nil {
		c.t.Fatal(err)
	}
	namespace := func(pid int) string {
		link, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid))
		return link
	}
	here := namespace(c.init.Process.Pid)
	return slices.DeleteFunc(table, func(p proctree.Process) bool { return namespace(p.PID) != here })
}

// without returns the processes that are not among others, or not alive in both.
func without(processes, others []proctree.Process) []proctree.Process {
	return slices.DeleteFunc(slices.Clone(processes), func(p proctree.Process) bool {
		return slices.ContainsFunc(others, func(o proctree.Process) bool { return o.ID == p.ID && o.Alive() && p.Alive() })
	})
}

// enter returns a command in the container.
func (c *container) enter(command ...string) *exec.Cmd {
	c.t.Helper()
	return exec.Command(need(c.t, "nsenter"), append([]string{"-t", strconv.Itoa(c.init.Process.Pid), "-p", "-m"}, command...)...)
}

// exec starts a command in the container, and returns what kills the client.
func (c *container) exec(files []*os.File, command ...string) (kill func()) {
	c.t.Helper()
	theirs, input, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	client := exec.Command("cat")
	client.Stdout = input
	typing, err := client.StdinPipe() // nobody types
	if err := errors.Join(err, client.Start(), input.Close()); err != nil {
		c.t.Fatal(err)
	}
	kill = func() {
		client.Process.Kill()
		client.Wait()
	}
	enter := c.enter(command...)
	enter.Stdin, enter.Stderr, enter.ExtraFiles = theirs, os.Stderr, files
	if err := errors.Join(enter.Start(), theirs.Close()); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		typing.Close()
		kill()
		enter.Process.Kill()
		enter.Wait()
	})
	return kill
}

func sleep(t *testing.T) []string {
	t.Helper()
	return []string{need(t, "sleep"), strconv.Itoa(int(escape.Lifetime.Seconds()))}
}

// TestExecLost: the client of a second command in a container is killed.
func TestExecLost(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	sleep := sleep(t)
	for name, main := range map[string][]string{
		"sleep": sleep,
		// As in most containers, it has no control groups: it could not remove one
		// after itself.
		"corral init": append([]string{path, "init", "--containment", "keeper", "--"}, sleep...),
	} {
		run := func(kind string, line func(*job, []string) []string, judge func(*job, *container, time.Time)) {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				job := newJob(t)
				c := startContainer(t, main...)
				path, args, files := job.Command()
				kill := c.exec(files, line(job, append([]string{path}, args...))...)
				job.complete()
				since := time.Now()
				kill()
				judge(job, c, since)
			})
		}
		run("without corral", func(_ *job, tree []string) []string { return tree }, func(j *job, c *container, since time.Time) {
			// The job knows only the PIDs that they have inside.
			time.Sleep(time.Until(since.Add(limit)))
			left := slices.DeleteFunc(without(c.processes(), c.own), func(p proctree.Process) bool { return !p.Alive() })
			if len(left) < tree.Members {
				j.t.Errorf("without corral, all should be left: %v", left)
			}
		})
		for _, containment := range []string{"auto", "keeper"} {
			run("corral, "+containment, func(j *job, tree []string) []string {
				return j.corralled(tree, "--lifeline", "stdin", "--containment", containment)
			}, func(j *job, c *container, since time.Time) {
				j.goneBy(since, patience)
				if r := j.ended(); r.Ending != corral.LifelineLost {
					j.t.Errorf("corral's report: %s", r.Ending)
				}
				eventually(j.t, "corral or a zombie is left", func() error {
					// The guard of control groups outlives corral, and sleep reaps
					// nobody.
					left := slices.DeleteFunc(without(c.processes(), c.own), func(p proctree.Process) bool {
						return name == "sleep" && p.Name == "corral-guard" && !p.Alive()
					})
					if len(left) > 0 {
						return fmt.Errorf("%v", left)
					}
					return nil
				})
				if lost := without(c.own, c.processes()); len(lost) > 0 {
					j.t.Errorf("the container has lost %v", lost)
				}
			})
		}
	}
}

// TestExecRefused: a second command has no parent in the container, and without -i
// it has no input that could end.
func TestExecRefused(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	c := startContainer(t, sleep(t)...)
	for _, lifeline := range []string{"parent", "stdin"} {
		said, err := c.enter(path, "--lifeline", lifeline, "--", "echo", "started").CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 125 || !strings.HasPrefix(string(said), "corral: lifeline "+lifeline+": ") {
			t.Errorf("%s: %v, %s", lifeline, err, said)
		}
		t.Logf("%s", said)
	}
}
