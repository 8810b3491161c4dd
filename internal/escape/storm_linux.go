package escape

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Storm returns a child whose leader has started chains of processes. Each process
// forks the next one and ends, as fast as that goes, until life is over. They are
// not reported, and block all signals. Storm is not among All.
//
// They run a file of their own: a process that ends and one that forks take the same
// lock of each file that they have mapped (unlink_file_vma and dup_mmap in mm/), so an
// owner of the same file can take nine seconds to end.
func Storm(chains int, life time.Duration) Child {
	c := storms
	c.Doc = fmt.Sprintf("%d chains for %v", chains, life)
	c.args = []string{strconv.Itoa(chains), strconv.FormatInt(life.Milliseconds(), 10)}
	return c
}

var storms = define(Child{Name: "storm", Members: 1, program: copyProgram}, parts{"leader": leadStorm})

// copyProgram returns the path of a copy of the program.
func copyProgram(t testing.TB, program string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), filepath.Base(program))
	b, err := os.ReadFile(program)
	if err == nil {
		syscall.ForkLock.RLock() // nobody is to inherit it open: it could not be executed
		err = os.WriteFile(path, b, 0o755)
		syscall.ForkLock.RUnlock()
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func leadStorm(p *process) {
	n := p.numbers()
	chains, life := min(n[0], 100), min(time.Duration(n[1])*time.Millisecond, Lifetime/2)
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		p.fail(err)
	}
	weather := &storm{until: now.Nano() + life.Nanoseconds()}
	unblock := blockAll(p)
	for range chains {
		errno := weather.fork()
		// The chains there are may have filled the table of processes.
		for errno == unix.EAGAIN && !weather.over() {
			unix.Nanosleep(&unix.Timespec{Nsec: 1e6}, nil)
			errno = weather.fork()
		}
		if errno != 0 {
			p.fail(os.NewSyscallError("clone", errno))
		}
	}
	unblock()
	// Where the leader may, it is to end when it is told to: that the chains keep it
	// from its work is nobody's fault.
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		p.fail(err)
	}
	for _, thread := range threads {
		const most = -20
		if tid, err := strconv.Atoi(thread.Name()); err == nil {
			unix.Setpriority(unix.PRIO_PROCESS, tid, most)
		}
	}
	p.lead()
}

// storm is what the processes of a chain know.
type storm struct {
	until int64
	now   unix.Timespec
}

// fork starts a chain. It returns in this process alone.
//
//go:norace
//go:nosplit
func (s *storm) fork() syscall.Errno {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return errno
	}
	for !s.over() {
		pid, _, errno = syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
		if errno != 0 || pid != 0 {
			break
		}
	}
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// over reports whether the storm's time is over.
//
//go:norace
//go:nosplit
func (s *storm) over() bool {
	syscall.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&s.now)), 0)
	return int64(s.now.Sec)*1e9+int64(s.now.Nsec) > s.until
}
