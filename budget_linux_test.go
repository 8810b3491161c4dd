package corral_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stub"
)

func init() { escape.Register("spender", spender) }

// counted is how many runs are counted, after some that are not: the first run
// starts what an owner has once. System calls are counted by the block of runs, as a
// tick of the clock may add some to one.
const counted, block = 40, 2

// spender runs /bin/true under the containment, or through os/exec, and writes how
// many allocations one run takes. A system call that fails in its own way is before
// and after each block of runs.
func spender(args []string) {
	run := func() {
		var cmd interface{ Run() error } = exec.Command("/bin/true")
		if cont := corral.Containment(args[0]); cont != "exec" {
			c := corral.Command("/bin/true")
			c.Containment, c.Require = cont, cont
			cmd = c
		}
		if err := cmd.Run(); err != nil {
			fmt.Fprintln(os.Stderr, "spender:", err)
			os.Exit(1)
		}
	}
	for range 5 {
		run()
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range counted {
		if i%block == 0 {
			unix.Close(marker)
		}
		run()
	}
	unix.Close(marker)
	runtime.ReadMemStats(&after)
	fmt.Println((after.Mallocs - before.Mallocs) / counted)
}

// marker is no descriptor.
const marker = 1 << 30

// TestBudget pins what a run of /bin/true costs its owner in what can be counted:
// system calls of all its threads, but for those by which Go's runtime handles its
// threads and memory, and allocations. A budget is what it takes and a little more;
// to go over it should be a decision.
func TestBudget(t *testing.T) {
	for _, tt := range []struct {
		runs        string
		calls       float64
		allocations int
	}{
		{"exec", 28, 40},
		{string(corral.Group), 22, 66},  // fewer than os/exec, which opens the null device as something to be polled
		{string(corral.Cgroup), 26, 67}, // five more than it might: what a command has done to the directory is looked for
		// 8 whether ids and /proc are in order, 3 how much memory there is, 2 (and 4
		// allocations) for a pidfd in cmd.Process.
		{string(corral.Keeper), 41, 103},
	} {
		t.Run(tt.runs, func(t *testing.T) {
			path, args := escape.Command("spender", tt.runs)
			if tt.runs != "exec" {
				need(t, corral.Containment(tt.runs))
			}
			switch {
			case raceEnabled:
				t.Skip("SKIPPED: the race detector allocates too")
			case tt.runs == string(corral.Keeper) && stub.Possible() != nil:
				t.Skipf("SKIPPED: the keeper is a program: %v", stub.Possible())
			case testing.Short(): // as in the virtual machine: without a vDSO, and on older kernels, it takes other calls
				t.Skip("SKIPPED: -short")
			case strings.HasPrefix(runtime.Version(), "go1.25"):
				t.Skip("SKIPPED: Go 1.25 costs a little more, as os.Process does not give its pidfd")
			case !proctree.EventDriven():
				t.Skip("SKIPPED: without pidfds it takes other calls")
			}
			// The least of some counts is what it takes. The runtime allocates for itself
			// when the machine has other work. If the kernel's clock ticks while a keeper's
			// leader is born, its start time is read, four calls more.
			const most = 5
			allocations, err := countAllocations(path, args...)
			for i := 1; i < most && err == nil && allocations > tt.allocations; i++ {
				allocations, err = countAllocations(path, args...)
			}
			if err != nil {
				t.Fatal(err)
			}
			calls, names, err := countCalls(path, args...)
			for i := 1; i < most && err == nil && float64(calls)/block > tt.calls; i++ {
				calls, names, err = countCalls(path, args...)
			}
			if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EIO) || errors.Is(err, unix.ENOSYS) {
				t.Skipf("SKIPPED: system calls cannot be traced here: %v", err)
			}
			if err != nil {
				t.Fatal(err)
			}
			each := float64(calls) / block
			t.Logf("%.1f system calls, %d allocations", each, allocations)
			if each > tt.calls || each < tt.calls/2 {
				t.Errorf("%.1f system calls a run, the budget is %v: %v", each, tt.calls, names)
			}
			if allocations > tt.allocations || allocations < tt.allocations/2 {
				t.Errorf("%d allocations a run, the budget is %d", allocations, tt.allocations)
			}
		})
	}
}

func countAllocations(path string, args ...string) (int, error) {
	out, err := exec.Command(path, args...).Output()
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(out)))
}

// ofRuntime are those that depend on how threads happen to be scheduled.
var ofRuntime = map[uint64]bool{
	unix.SYS_FUTEX: true, unix.SYS_NANOSLEEP: true, unix.SYS_SCHED_YIELD: true, unix.SYS_EPOLL_PWAIT: true,
	unix.SYS_GETPID: true, unix.SYS_GETTID: true, unix.SYS_TGKILL: true, unix.SYS_RT_SIGRETURN: true,
	sysMmap: true, unix.SYS_MUNMAP: true, unix.SYS_MADVISE: true, unix.SYS_CLONE: true,
	unix.SYS_RT_SIGPROCMASK: true, unix.SYS_SIGALTSTACK: true, unix.SYS_RESTART_SYSCALL: true,
	unix.SYS_SCHED_GETAFFINITY: true,
}

// countCalls runs a command, and counts what its threads call from one call of
// close(2) for marker to the next. It returns the least of these counts. It traces
// the threads, which is the business of one thread.
func countCalls(path string, args ...string) (calls int, names map[uint64]int, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.Command(path, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, nil, err
	}
	owner := cmd.Process.Pid
	defer func() {
		if err != nil { // else it has been waited for
			cmd.Process.Kill()
			cmd.Process.Wait()
		}
	}()
	var since map[uint64]int // calls since the last marker, nil before the first
	for first := true; ; {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return 0, nil, os.NewSyscallError("wait4", err)
		case status.Exited() || status.Signaled():
			if tid != owner {
				continue
			}
			if status.ExitStatus() != 0 {
				err = fmt.Errorf("the owner has ended with %v", status)
			}
			return calls, names, err
		}
		signal := status.StopSignal()
		switch {
		case first: // it has executed the program
			first, signal = false, 0
			err = unix.PtraceSetOptions(tid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL)
			if err != nil {
				return 0, nil, os.NewSyscallError("ptrace", err)
			}
		case signal == unix.SIGTRAP|0x80:
			signal = 0
			call, entered, err := syscallInfo(tid)
			switch {
			case err == unix.ESRCH: // the thread ends with the process
			case err != nil:
				return 0, nil, os.NewSyscallError("ptrace", err)
			case entered && call.nr == unix.SYS_CLOSE && call.args[0] == marker:
				if n := total(since); since != nil && (names == nil || n < calls) {
					calls, names = n, since
				}
				since = make(map[uint64]int)
			case entered && since != nil && !ofRuntime[call.nr]:
				since[call.nr]++
			}
		case signal == unix.SIGTRAP, signal == unix.SIGSTOP: // of a new thread
			signal = 0
		}
		unix.PtraceSyscall(tid, int(signal)) // it may be gone
	}
}

func total(counts map[uint64]int) (n int) {
	for _, each := range counts {
		n += each
	}
	return n
}

type syscallEntry struct {
	nr   uint64
	args [6]uint64
}

// syscallInfo asks for a struct ptrace_syscall_info: see ptrace(2).
func syscallInfo(tid int) (call syscallEntry, entered bool, err error) {
	var info struct {
		op   uint8
		_    [3]uint8
		arch uint32
		ip   uint64
		sp   uint64
		syscallEntry
		_ [4]uint64
	}
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid),
		unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno != 0 {
		return call, false, errno
	}
	return info.syscallEntry, info.op == unix.PTRACE_SYSCALL_INFO_ENTRY, nil
}
