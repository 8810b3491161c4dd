package threads

import (
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

const reserveVariable = "CORRAL_THREADS_TEST"

// A process with a reserve, which waits when no thread can be started any more.
func init() {
	reserve, err := strconv.Atoi(os.Getenv(reserveVariable))
	if err != nil {
		return
	}
	Reserve(reserve)
	if err := unix.Prlimit(0, unix.RLIMIT_NPROC, &unix.Rlimit{}, nil); err != nil {
		panic(err)
	}
	for range 40 {
		pause := syscall.NsecToTimespec(15e6) // the kernel writes into it
		syscall.Syscall6(syscall.SYS_PPOLL, 0, 0, uintptr(unsafe.Pointer(&pause)), 0, 0, 0)
	}
	os.Exit(0)
}

// TestReserve: with a reserve, the runtime of a process that waits again and again
// needs no other thread.
func TestReserve(t *testing.T) {
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), reserveVariable+"=3", "GOMAXPROCS=4", "GOGC=off")
			if os.Getuid() == 0 { // whom the limit does not bind
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%.300s", err, out)
			}
		})
	}
	all.Wait()
}
