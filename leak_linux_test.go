package corral_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/leak"
	"github.com/corral-run/corral/internal/proctree"
)

// Whether runs leave anything in their owner is for the owner to see, which does
// nothing else: it is a process in the role "leaky".

const leakyRole = "leaky"

func init() { escape.Register(leakyRole, runLeaky) }

// possessions are what a process has that lasts.
type possessions struct {
	Descriptors []string
	Children    []string
	Groups      []string // Corral's control groups below the process's own
	Threads     int
}

func possess() (p possessions, err error) {
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return p, err
	}
	for _, fd := range fds {
		target, err := os.Readlink(filepath.Join("/proc/self/fd", fd.Name()))
		if err != nil || target == "/proc/self/fd" || strings.HasPrefix(target, fmt.Sprintf("/proc/%d/", os.Getpid())) {
			continue // it was that of the look
		}
		// Which pipe or socket it is does not matter, nor which process or group.
		kind, _, _ := strings.Cut(target, ":[")
		if strings.Contains(kind, "/corral-") {
			kind = "a control group"
		}
		p.Descriptors = append(p.Descriptors, kind)
	}
	slices.Sort(p.Descriptors)
	pids, err := proctree.ChildPIDs(os.Getpid())
	if err != nil {
		return p, err
	}
	for _, pid := range pids {
		row, err := proctree.Lookup(pid)
		if errors.Is(err, proctree.ErrGone) {
			continue // it has been reaped
		}
		if err != nil {
			return p, err
		}
		p.Children = append(p.Children, fmt.Sprintf("%s %s, alive: %v", row.Name, row.Args, row.Alive()))
	}
	threads, err := os.ReadDir("/proc/self/task")
	p.Threads = len(threads)
	if err != nil {
		return p, err
	}
	own, err := cgroup.Own()
	if err != nil {
		return p, nil // there is none
	}
	self, err := proctree.Identify(os.Getpid())
	if err != nil {
		return p, err
	}
	homes, err := filepath.Glob(filepath.Join(own, fmt.Sprintf("corral-%d-%d*", self.PID, self.Start)))
	for _, home := range homes {
		err = errors.Join(err, filepath.WalkDir(home, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				p.Groups = append(p.Groups, strconv.Itoa(strings.Count(strings.TrimPrefix(path, own), "/")))
			}
			return err
		}))
	}
	return p, err
}

// runLeaky starts many runs in the containment of its first argument, as many
// as the second says of the kind in the third, and says what it has more than
// before.
func runLeaky(args []string) {
	cont := corral.Containment(args[0])
	n, err := strconv.Atoi(args[1])
	if err == nil {
		err = leaky(cont, n, mostly[args[2]])
	}
	if err != nil {
		fmt.Println(err)
		syscall.Exit(1)
	}
	syscall.Exit(0)
}

// mostly are the kinds of runs that there are many of.
var mostly = map[string]func(corral.Containment) error{"plain": runPlain, "pty": runPTY}

func leaky(cont corral.Containment, n int, plain func(corral.Containment) error) error {
	// What Go's runtime makes once is no leak.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	r.Close()
	w.Close()
	if err := exec.Command("true").Run(); err != nil {
		return err
	}
	before, err := possess()
	if err != nil {
		return err
	}
	terminals, err := os.ReadDir("/dev/pts")
	if err != nil {
		return err
	}
	kinds := []func(corral.Containment) error{runPlain, runLeaving, runStopped, runCancelled, runNothing, runPTY, runPTYHeld, runReleased, plain}
	for _, kind := range kinds {
		if err := kind(cont); err != nil {
			return err
		}
	}
	ignore := leak.Now()
	warm, err := possess()
	if err != nil {
		return err
	}
	began := time.Now()
	for i := range n {
		if time.Since(began) > escape.Lifetime/3 {
			break // under the race detector a helper takes a second to end
		}
		if err := plain(cont); err != nil {
			return err
		}
		if i%50 != 0 {
			continue
		}
		for _, kind := range kinds {
			if err := kind(cont); err != nil {
				return err
			}
		}
	}
	after, err := settled(warm)
	if err != nil {
		return fmt.Errorf("after %d runs: %w", n, err)
	}
	// Others open and close them, too.
	if now, err := os.ReadDir("/dev/pts"); err != nil || len(now) > len(terminals)+n/4 {
		return fmt.Errorf("%d terminals before, %d after %d runs, %w", len(terminals), len(now), n, err)
	}
	// The runtime keeps threads that have been in a system call at the same time.
	if after.Threads > warm.Threads+8 {
		return fmt.Errorf("%d threads before, %d after", warm.Threads, after.Threads)
	}
	if err := leak.Since(ignore); err != nil {
		return err
	}
	if cont != corral.Cgroup {
		return nil
	}
	if err := idleGuardEnds(before); err != nil {
		return err
	}
	return runPlain(cont) // and all comes back
}

// idleGuardEnds: the guard ends when there has been no run for a while, and the
// owner then possesses what it did before.
func idleGuardEnds(before possessions) error {
	children, err := proctree.ChildPIDs(os.Getpid())
	if err != nil || len(children) != 1 {
		return fmt.Errorf("the guard is to be the only child: %v, %w", children, err)
	}
	guard, err := proctree.Identify(children[0])
	if err != nil {
		return err
	}
	h, err := proctree.Open(guard)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	err = h.Wait(ctx)
	h.Close()
	if err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	if _, err := settled(before); err != nil {
		return fmt.Errorf("idle: %w", err)
	}
	return nil
}

// settled waits until the process has what it is to have again: a goroutine may
// be about to close something.
func settled(want possessions) (possessions, error) {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		got, err := possess()
		if err != nil {
			return got, err
		}
		threads := got.Threads
		got.Threads = want.Threads
		diff := diff.Of(want, got)
		got.Threads = threads
		if diff == "" {
			return got, nil
		}
		if time.Now().After(deadline) {
			return got, fmt.Errorf("before and after differ:\n%s", diff)
		}
	}
}

func command(cont corral.Containment, name string, args ...string) *corral.Cmd {
	cmd := corral.Command(name, args...)
	cmd.Containment, cmd.Require = cont, cont
	return cmd
}

func runPlain(cont corral.Containment) error { return command(cont, "/bin/true").Run() }

func runLeaving(cont corral.Containment) error {
	cmd := command(cont, "sh", "-c", "sleep 60 & setsid sleep 60 & exit 0")
	if err := cmd.Run(); err != nil {
		return err
	}
	if n := len(cmd.Report().Leftovers); n != 2 {
		return fmt.Errorf("%d leftovers: %v", n, cmd.Report().Leftovers)
	}
	return nil
}

func runStopped(cont corral.Containment) error {
	cmd := command(cont, "sleep", "60")
	if err := cmd.Start(); err != nil {
		return err
	}
	if err := cmd.Stop(context.Background()); err != nil {
		return err
	}
	if err := cmd.Wait(); err == nil || cmd.Report().Ending != corral.Stopped {
		return fmt.Errorf("stopped: %w, %+v", err, cmd.Report())
	}
	return nil
}

// runCancelled has pipes, too, and is killed.
func runCancelled(cont corral.Containment) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := corral.CommandContext(ctx, "sh", "-c", "trap '' TERM; echo; sleep 60 & wait")
	cmd.Containment, cmd.Require = cont, cont
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Millisecond}}
	cmd.Stdin = strings.NewReader("x")
	cmd.Stdout = writer(func(b []byte) (int, error) {
		cancel()
		return len(b), nil
	})
	if err := cmd.Run(); err == nil || cmd.Report() == nil || cmd.Report().Ending != corral.Cancelled {
		return fmt.Errorf("cancelled: %w", err)
	}
	return nil
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// runPTY has a terminal, of which it reads.
func runPTY(cont corral.Containment) error {
	cmd := command(cont, "/bin/echo", "hello")
	cmd.PTY = new(corral.PTY)
	if err := cmd.Start(); err != nil {
		return err
	}
	shown, err := io.ReadAll(cmd.PTY)
	if err == nil && string(shown) != "hello\r\n" {
		err = fmt.Errorf("the terminal shows %q", shown)
	}
	return errors.Join(err, cmd.Wait())
}

// runPTYHeld keeps a process that has the terminal open.
func runPTYHeld(cont corral.Containment) error {
	if cont == corral.PIDNS {
		return nil // the kernel keeps nothing
	}
	cmd := command(cont, "sh", "-c", "exec 4>&1; setsid -f sh -c 'echo; exec sleep 60' 5>&4 | read x")
	cmd.PTY = new(corral.PTY)
	cmd.Leftovers, cmd.WaitDelay = corral.KeepLeftovers, time.Millisecond
	_, err := cmd.Output()
	if !errors.Is(err, corral.ErrWaitDelay) {
		err = fmt.Errorf("held: %w, %v", err, cmd.Report().Leftovers)
	} else {
		err = nil
	}
	for _, l := range cmd.Report().Leftovers {
		syscall.Kill(l.PID, syscall.SIGKILL)
	}
	return err
}

// runReleased is let go. What os/exec would leave is a zombie.
func runReleased(cont corral.Containment) error {
	before, err := proctree.ChildPIDs(os.Getpid())
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	cmd := corral.CommandContext(ctx, "cat")
	cmd.Containment, cmd.Require = cont, cont
	cmd.Timeout = time.Hour
	cmd.Lifelines = []corral.Lifeline{corral.LifelineParent}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return err
	}
	defer in.Close()
	cmd.Process.Release()
	for cmd.Report() == nil {
		time.Sleep(time.Millisecond)
	}
	if cmd.Report().Ending != corral.Released {
		return fmt.Errorf("released: %+v", cmd.Report())
	}
	in.Close()
	after, err := proctree.ChildPIDs(os.Getpid())
	for _, pid := range after {
		row, lerr := proctree.Lookup(pid)
		if !slices.Contains(before, pid) && lerr == nil && row.Name != "corral-guard" {
			_, werr := syscall.Wait4(pid, nil, 0, nil)
			err = errors.Join(err, werr)
		}
	}
	return err
}

// runNothing cannot execute what it is to run.
func runNothing(cont corral.Containment) error {
	if err := command(cont, "/etc/passwd").Run(); !errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("not executable: %w", err)
	}
	return nil
}

func TestOwnerLeaks(t *testing.T) { testOwnerLeaks(t, "plain") }

// TestPTYLeaks: a thousand runs with a terminal.
func TestPTYLeaks(t *testing.T) {
	needPTY(t)
	testOwnerLeaks(t, "pty")
}

func testOwnerLeaks(t *testing.T, kind string) {
	for _, cont := range strong {
		n := 1000
		switch {
		case testing.Short():
			n = 100
		case cont != corral.Cgroup:
			n = 200 // each has to start a keeper, which is this large program
		}
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			t.Parallel()
			nest := newNest(t, false)
			path, args := escape.Command(leakyRole, string(cont), fmt.Sprint(n), kind)
			cmd := exec.Command(path, args...)
			cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0")
			if nest != nil {
				cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: nest.FD()}
			}
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}
