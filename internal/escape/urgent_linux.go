package escape

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Urgent gives a thread of this process, 0 for the calling one, priority where it
// may, and short turns on the processor. So processes that fork and end all the time,
// each of which begins with a short turn, do not keep the scheduler from it (EEVDF,
// Linux 6.6). Linux takes the length of a turn from 6.12 on, and asks for no
// permission. If alone, what the thread forks gets nothing of it.
func Urgent(tid int, alone bool) {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Runtime: uint64(100 * time.Microsecond)}
	if alone {
		attr.Flags = unix.SCHED_FLAG_RESET_ON_FORK
	}
	for _, attr.Nice = range []int32{-20, 0} {
		if unix.SchedSetAttr(tid, attr, 0) == nil {
			return
		}
	}
}

// NotUrgent takes that back from the calling thread.
func NotUrgent() { unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr}, 0) }

// NeedPriority skips the test if this process may take no priority.
func NeedPriority(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	usual, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		t.Fatal(os.NewSyscallError("sched_getattr", err))
	}
	more := *usual
	more.Nice--
	if err := unix.SchedSetAttr(0, &more, 0); err != nil {
		t.Skip("SKIPPED: without CAP_SYS_NICE there is no priority to take: ", err)
	}
	if err := unix.SchedSetAttr(0, usual, 0); err != nil {
		t.Fatal(os.NewSyscallError("sched_setattr", err))
	}
}

const hurryVariable = "CORRAL_TEST_HURRY"

// HurryWhenTold calls hurry and ends, if this process is a child of TestHurry. It is
// for an init function.
func HurryWhenTold(hurry func()) {
	if os.Getenv(hurryVariable) == "" {
		return
	}
	hurry()
	turn, err := turnLength()
	group, gerr := os.ReadFile("/proc/self/autogroup")
	fmt.Printf("turns of %v, %s %v", turn, group, errors.Join(err, gerr))
	os.Exit(0)
}

// turnLength returns the length of the calling thread's turns, 0 before Linux 6.12.
func turnLength() (time.Duration, error) {
	attr, err := unix.SchedGetAttr(0, 0)
	if err != nil {
		return 0, os.NewSyscallError("sched_getattr", err)
	}
	return time.Duration(attr.Runtime), nil
}

// TestShortTurns tests that the function given to HurryWhenTold has the scheduler
// give short turns, whoever asks for them.
func TestShortTurns(t *testing.T) {
	if usual, err := turnLength(); err != nil || usual == 0 {
		t.Skipf("SKIPPED: before Linux 6.12 nobody chooses the length of turns: %v, %v", usual, err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), hurryVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil || !strings.HasPrefix(string(out), "turns of 100µs, ") {
		t.Errorf("%q, %v; want turns of 100µs", out, err)
	}
}

// TestHurry tests that the function given to HurryWhenTold raises the priority of a
// session that is the process's own, and of no other.
func TestHurry(t *testing.T) {
	if on, err := os.ReadFile("/proc/sys/kernel/sched_autogroup_enabled"); err != nil || string(on) != "1\n" {
		t.Skipf("SKIPPED: sessions are not scheduled as one here: %q, %v", on, err)
	}
	NeedPriority(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for command, want := range map[string]string{
		`exec "$0"`:       "nice -20\n",
		`"$0"; exit "$?"`: "nice 0\n",
	} {
		cmd := exec.Command("sh", "-c", command, exe)
		cmd.Env = append(os.Environ(), hurryVariable+"=1")
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %q, %v; want %q", command, out, err, want)
		}
	}
}
