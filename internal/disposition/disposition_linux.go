package disposition

import (
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const sigDfl, sigIgn = 0, 1 // SIG_DFL, SIG_IGN

// action has room for the kernel's struct sigaction, which begins with the handler.
type action [8]uintptr

// set sets what the kernel does with sig, and returns what it did before.
func set(sig syscall.Signal, a action) (before action) {
	unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&a)), uintptr(unsafe.Pointer(&before)), 8, 0, 0)
	return before
}

// Ignore ignores sig without telling the runtime, which gives the default back to
// programs that are started from here. (os/signal.Notify would do as well, but
// takes its time.)
func Ignore(sig syscall.Signal) { set(sig, action{sigIgn}) }

// Ignored reports whether this process ignores sig, and so would a program started
// from it. A signal for which the runtime has had a handler from the start is not
// ignored, whatever it was before. The runtime has one for each signal whose
// default is to end the process, but for SIGHUP and SIGINT.
func Ignored(sig syscall.Signal) bool {
	var now action
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&now)), 8, 0, 0)
	return errno == 0 && now[0] == sigIgn
}

// Default makes the kernel do its default for sig. Unlike after signal.Reset, the
// runtime, which prints a trace for some signals, has no part in it.
func Default(sig syscall.Signal) { set(sig, action{sigDfl}) }

// StopSelf stops this process as Ctrl-Z does by default, and returns when it goes on;
// at once if its process group is orphaned. The signal is for this thread: so it has
// been acted upon when tgkill(2) returns, and the handler can be set again, which the
// runtime takes for set from the first os/signal.Notify on. Until this thread runs
// again, another SIGTSTP has its default effect, too.
func StopSelf() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before := set(syscall.SIGTSTP, action{sigDfl})
	unix.Tgkill(os.Getpid(), unix.Gettid(), syscall.SIGTSTP)
	set(syscall.SIGTSTP, before)
}

// StopGroup stops this process and the rest of its process group as Ctrl-Z does by
// default, and returns when this process goes on; in a second, if the group is orphaned.
// All of them have the signal at one moment: so who waits for one of them, and continues
// the group when that has stopped, does not do so before this process has stopped.
func StopGroup() {
	group := unix.Getpgrp()
	if group <= 1 {
		return
	}
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	before := set(syscall.SIGTSTP, action{sigDfl})
	defer set(syscall.SIGTSTP, before)
	unix.Kill(-group, syscall.SIGTSTP)
	select {
	case <-continued:
	case <-time.After(time.Second):
	}
}

// EndLike ends the process the way status says that another one has ended, so that
// whoever waits for this one learns it. It dumps no second core.
func EndLike(status syscall.WaitStatus) {
	if !status.Signaled() {
		syscall.Exit(status.ExitStatus())
	}
	sig := status.Signal()
	if os.Getpid() == 1 {
		// The init of a PID namespace does not die of its own signals.
		syscall.Exit(128 + int(sig))
	}
	unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	Default(sig)
	unix.Kill(os.Getpid(), sig)
	time.Sleep(time.Second) // it is on its way
	syscall.Exit(128 + int(sig))
}
