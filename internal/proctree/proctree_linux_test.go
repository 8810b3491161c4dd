package proctree

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const weirdName = ") (\n) S 1"

func init() {
	if noPidfds() != nil {
		delete(handles, "pidfd")
		delete(watches, "pidfd")
	}
	// The roles below need the leader of the thread group, on which init runs.
	if os.Getenv(roleVariable) != "" {
		runtime.LockOSThread()
	}
	roles["weird name"] = func() {
		name := append([]byte(weirdName), 0)
		if err := unix.Prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(&name[0])), 0, 0, 0); err != nil {
			panic(err)
		}
		roles["idle"]()
	}
	roles["not dumpable"] = func() {
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			panic(err)
		}
		roles["idle"]()
	}
	roles["dead leader"] = deadLeader
	roles["busy thread"] = busyThread
	roles["signal the parent"] = signalParent
	roles["foreign /proc"] = foreignProc
}

// deadLeader ends the thread-group leader; another thread idles.
func deadLeader() {
	go func() {
		for {
			p, err := stat(os.Getpid())
			if err != nil {
				panic(err)
			}
			if p.State == Zombie {
				break
			}
		}
		roles["idle"]()
		os.Exit(0)
	}()
	// As a blocking call, so that the runtime takes back what belongs to the
	// thread.
	unix.Syscall(unix.SYS_EXIT, 0, 0, 0)
}

// busyThread has a thread that does not stop until the standard input is closed: it
// waits in vfork(2).
func busyThread() {
	go func() {
		runtime.LockOSThread()
		var b [1]byte
		if pid, _, _ := unix.RawSyscall(unix.SYS_CLONE, unix.CLONE_VFORK|uintptr(unix.SIGCHLD), 0, 0); pid == 0 {
			unix.RawSyscall(unix.SYS_CLOSE, 1, 0, 0) // of which the test wants the end
			unix.RawSyscall(unix.SYS_READ, 0, uintptr(unsafe.Pointer(&b)), 1)
			unix.RawSyscall(unix.SYS_EXIT, 0, 0, 0)
		}
	}()
	for busy := false; !busy; {
		threads, err := filepath.Glob("/proc/self/task/*/stat")
		if err != nil {
			panic(err)
		}
		for _, thread := range threads {
			b, _ := os.ReadFile(thread)
			p, err := parseStat(b)
			busy = busy || err == nil && p.State == Disk
		}
	}
	roles["idle"]()
}

// signalParent may not signal its parent.
func signalParent() {
	id, err := Identify(os.Getppid())
	if err != nil {
		panic(err)
	}
	for _, open := range handles {
		h, err := open(Process{ID: id})
		if err != nil {
			panic(err)
		}
		// Signal 0: it asks, and does nothing.
		if err := (&Handle{id, h}).Signal(syscall.Signal(0)); !errors.Is(err, os.ErrPermission) || !errors.Is(err, syscall.EPERM) {
			panic(fmt.Sprintf("error %v", err))
		}
	}
	roles["idle"]()
}

// foreignProc has a /proc that shows another PID namespace.
func foreignProc() {
	if table, err := Snapshot(); err == nil {
		panic(fmt.Sprintf("%d processes of another PID namespace", len(table)))
	}
	if id, err := Identify(os.Getpid()); err == nil || errors.Is(err, ErrGone) {
		panic(fmt.Sprintf("identity %v, error %v", id, err))
	}
	roles["idle"]()
}

// waitExit waits until c has ended, by other means than those that are tested.
func waitExit(t *testing.T, c *child) {
	t.Helper()
	_, err := retry(func() (struct{}, error) {
		return struct{}{}, unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func membersOf(t *testing.T, pgid int) []Process {
	t.Helper()
	members, err := Group(pgid)
	if err != nil {
		t.Fatal(err)
	}
	return members
}

func setpgid(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }
func setsid(cmd *exec.Cmd)  { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root")
	}
}

func descriptors(t *testing.T) []string {
	t.Helper()
	dir, err := os.Open("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(0)
	if err != nil {
		t.Fatal(err)
	}
	// Less the one for the look.
	return slices.DeleteFunc(names, func(name string) bool { return name == strconv.Itoa(int(dir.Fd())) })
}
