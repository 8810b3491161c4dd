package corral_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

const forgetfulRole = "forgetful"

func init() {
	escape.Register(forgetfulRole, forgetful)
	escape.Register("leave-group", leaveGroup)
}

// unclaimed are what a program may do that does not call Wait. The command has
// ended when they are called.
var unclaimed = map[string]func(*corral.Cmd){
	"nothing":         func(*corral.Cmd) {},
	"Process.Wait":    func(c *corral.Cmd) { c.Process.Wait() },
	"Process.Release": func(c *corral.Cmd) { c.Process.Release() },
	allowsDetach:      func(*corral.Cmd) {},
}

// allowsDetach is a run that has a door, and with it a goroutine.
const allowsDetach = "AllowDetach"

// forgetful is an owner that never calls Wait.
func forgetful(args []string) {
	n, _ := strconv.Atoi(args[2])
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			panic(err)
		}
		return len(entries)
	}
	run := func() error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		cmd := command(corral.Containment(args[0]), "/bin/true")
		cmd.Stdout = w
		cmd.AllowDetach = args[1] == allowsDetach
		err = cmd.Start()
		w.Close()
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if err == nil {
			unclaimed[args[1]](cmd)
		}
		return err
	}
	if err := run(); err != nil { // the guard, and what the runtime opens
		panic(err)
	}
	before := fds()
	for i := range n {
		if err := run(); err != nil {
			fmt.Printf("run %d, with %d descriptors: %v\n", i, fds(), err)
			os.Exit(1)
		}
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		runtime.GC()
		keepers := 0
		pids, _ := proctree.ChildPIDs(os.Getpid())
		for _, pid := range pids {
			if row, err := proctree.Lookup(pid); err == nil && row.Name == "corral-keeper" && row.Alive() {
				keepers++
			}
		}
		if fds() <= before+3 && keepers == 0 && runtime.NumGoroutine() <= 5 {
			return
		}
		if time.Now().After(deadline) {
			fmt.Printf("%d descriptors, before %d; %d keepers; %d goroutines\n", fds(), before, keepers, runtime.NumGoroutine())
			os.Exit(1)
		}
	}
}

// TestUnclaimed: runs that nobody waits for do not use up the owner, as under
// os/exec, where the garbage collector sees to it.
func TestUnclaimed(t *testing.T) {
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		for name := range unclaimed {
			if name == allowsDetach && !slices.Contains(sparing, cont) {
				continue
			}
			t.Run(name, func(t *testing.T) {
				n := 400
				if testing.Short() {
					n = 40
				}
				if cont == corral.Keeper || cont == corral.PIDNS {
					n /= 4 // each has a keeper, until it is garbage
				}
				path, args := escape.Command(forgetfulRole, string(cont), name, strconv.Itoa(n))
				if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
					t.Errorf("%v: %s", err, out)
				}
			})
		}
	})
}

// TestLateWait: Wait reaps a leader that has ended before it, and does not put that
// off until what the leader has left has ended, too. A process group needs its
// leader's zombie.
func TestLateWait(t *testing.T) {
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		if cont == corral.Group {
			t.Skip("the zombie keeps the group's ID")
		}
		for range 10 {
			cmd := command(cont, "sh", "-c", "read x <&3 & exit 0")
			cmd.Leftovers = corral.WaitForLeftovers
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.ExtraFiles = []*os.File{r}
			err = cmd.Start()
			r.Close()
			if err != nil {
				t.Fatal(err)
			}
			pid := cmd.Process.Pid
			eventually(t, "the leader runs", func() bool {
				row, err := proctree.Lookup(pid)
				return err != nil || !row.Alive()
			})
			waited := make(chan error)
			go func() { waited <- cmd.Wait() }()
			eventually(t, "the leader is a zombie", func() bool {
				_, err := proctree.Lookup(pid)
				return errors.Is(err, proctree.ErrGone)
			})
			w.Close()
			if err := <-waited; err != nil {
				t.Error(err)
			}
		}
	})
}

// leaveGroup is a leader that goes to the process group in its argument, says so, and
// lives until it is stopped, or for a minute.
func leaveGroup(args []string) {
	pgid, err := strconv.Atoi(args[0])
	if err == nil {
		err = unix.Setpgid(0, pgid)
	}
	fmt.Println("here", err)
	time.Sleep(time.Minute)
}

// TestReleaseStrayLeader: a leader that has left its process group is stopped, also
// if its Process has been released while somebody waits.
func TestReleaseStrayLeader(t *testing.T) {
	other := exec.Command("sleep", "60")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		other.Process.Kill()
		other.Wait()
	}()
	path, args := escape.Command("leave-group", strconv.Itoa(other.Process.Pid))
	cmd := command(corral.Group, path, args...)
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: 10 * time.Second}}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "here <nil>\n" {
		t.Fatalf("%q, %v", line, err)
	}
	waited := make(chan error)
	go func() { waited <- cmd.Wait() }()
	awaitWait(t)
	cmd.Process.Release()
	if err := cmd.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	<-waited
	if rep := cmd.Report(); rep.Signal != "SIGTERM" || rep.Forced {
		t.Errorf("%+v", rep)
	}
}

// TestReleaseWhileWaiting: it does not disturb who waits, as under os/exec.
func TestReleaseWhileWaiting(t *testing.T) {
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		for status, script := range []string{"read x; exit 0", "read x; exit 1"} {
			cmd := command(cont, "sh", "-c", script)
			in, err := cmd.StdinPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			waited := make(chan error)
			go func() { waited <- cmd.Wait() }()
			awaitWait(t)
			cmd.Process.Release()
			if cont == corral.Cgroup { // then the wait begins once more
				guard := ownGuard(t)
				send(t, guard, syscall.SIGKILL)
				eventually(t, "the guard is not replaced", func() bool {
					now, found := findGuard()
					return found && now != guard
				})
			}
			in.Close()
			err = <-waited
			var exit *corral.ExitError
			if errors.As(err, &exit) != (status == 1) || cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
				t.Errorf("Wait: %v, %v; want status %d", err, cmd.ProcessState, status)
			}
			if rep := cmd.Report(); rep.Ending != corral.Exited || rep.ExitCode != status {
				t.Errorf("%+v", rep)
			}
			if _, err := syscall.Wait4(cmd.Report().Leader.PID, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
				t.Errorf("a zombie is left: %v", err)
			}
		}
	})
}
