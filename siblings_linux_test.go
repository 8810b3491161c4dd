package corral_test

import (
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

const siblingRole = "sibling"

func init() { escape.Register(siblingRole, makeSiblings) }

// makeSiblings makes children of the parent's by clone(2): three that end at once.
func makeSiblings([]string) {
	runtime.LockOSThread()
	for range 3 {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if pid == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		if errno != 0 {
			panic(errno)
		}
	}
	// They are here until their parent has waited for them, or nobody does.
	os.Exit(0)
}

// TestSiblingsReaped: what a member makes a child of the owner does not stay a
// zombie, and the owner's own child is left to it.
func TestSiblingsReaped(t *testing.T) {
	own := exec.Command("true")
	if err := own.Start(); err != nil {
		t.Fatal(err)
	}
	var info [128]byte
	for {
		_, _, errno := unix.Syscall6(unix.SYS_WAITID, unix.P_PID, uintptr(own.Process.Pid), uintptr(unsafe.Pointer(&info)), unix.WEXITED|unix.WNOWAIT, 0, 0)
		if errno != unix.EINTR {
			break
		}
	}
	before := zombies(t)
	path, args := escape.Command(siblingRole)
	for range 5 {
		cmd := corral.Command(path, args...)
		cmd.Require = corral.Cgroup
		cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Second}}
		if err := cmd.Run(); err != nil {
			t.Skip("SKIPPED: no control group: ", err)
		}
	}
	if after := zombies(t); after != before {
		t.Errorf("%d zombies after five runs, %d before", after, before)
	}
	if err := own.Wait(); err != nil {
		t.Errorf("the owner's own child: %v", err)
	}
}

// TestSiblingsBesideOthers: nor do they while other runs go on and end; and the
// leaders of those are left to who waits for them.
func TestSiblingsBesideOthers(t *testing.T) {
	need(t, corral.Cgroup)
	before := zombies(t)
	lasting := command(corral.Cgroup, "cat")
	in, err := lasting.StdinPipe()
	if err == nil {
		err = lasting.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		in.Close()
		if err := lasting.Wait(); err != nil {
			t.Error(err)
		}
	}()
	path, args := escape.Command(siblingRole)
	var others sync.WaitGroup
	for i := range 8 {
		others.Go(func() {
			for j := range 10 {
				cmd := command(corral.Cgroup, "true")
				if i%4 == 0 && j < 2 { // with the race detector, this program takes a second to exit
					cmd = command(corral.Cgroup, path, args...)
				}
				err := cmd.Start()
				if err == nil {
					runtime.Gosched() // a leader that ends before Wait is a zombie for longer
					err = cmd.Wait()
				}
				if err != nil || cmd.ProcessState == nil {
					t.Errorf("Wait: %v, %v", err, cmd.ProcessState)
				}
			}
		})
	}
	others.Wait()
	eventually(t, "there are zombies", func() bool { return zombies(t) == before })
}

func zombies(t *testing.T) (n int) {
	pids, err := proctree.ChildPIDs(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if p, err := proctree.Lookup(pid); err == nil && !p.Alive() {
			n++
		}
	}
	return n
}
