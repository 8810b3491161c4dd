//go:build amd64 || arm64

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/osproc"
)

const nobody = 65534

// roles are what the test binary is when it is started again with these arguments.
var roles = map[string]func(args []string) int{
	"role:oldkernel": run,
	"role:probe":     probe,
}

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		if role := roles[os.Args[1]]; role != nil {
			os.Exit(role(os.Args[2:]))
		}
	}
	os.Exit(m.Run())
}

// oldkernel is a command in the role of the program. Another user may not reach the
// test binary by its path, but can through /proc.
func oldkernel(args ...string) *exec.Cmd {
	return exec.Command("/proc/self/exe", append([]string{"role:oldkernel"}, args...)...)
}

func TestAnswers(t *testing.T) {
	users := []int{os.Getuid()}
	if users[0] == 0 {
		users = append(users, nobody)
	}
	before := mountinfo(t)
	for _, uid := range users {
		for _, args := range [][]string{nil, {"-no-pidfd-signal"}} {
			t.Run(strings.Join(append([]string{strconv.Itoa(uid)}, args...), " "), func(t *testing.T) {
				answer := unix.EBADF
				if len(args) > 0 {
					answer = unix.ENOSYS
				}
				cmd := oldkernel(slices.Concat(args, []string{"/proc/self/exe", "role:probe", strconv.Itoa(int(answer))})...)
				if uid != os.Getuid() {
					cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
				}
				out, err := cmd.CombinedOutput()
				if bytes.HasPrefix(out, []byte("oldkernel: unshare the mounts: ")) {
					t.Skipf("SKIPPED, this root may not mount: %s", out)
				}
				if err != nil || len(out) > 0 {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
	if diff := diff.Of(before, mountinfo(t)); diff != "" {
		t.Errorf("the mounts outside have changed:\n%s", diff)
	}
}

func mountinfo(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// probe prints each answer that is wrong. Its argument is the answer that
// pidfd_send_signal should give to a bad descriptor. Every call that it makes fails
// or does nothing on a new kernel too, with another answer.
func probe(args []string) int {
	status := 0
	wrong := func(format string, args ...any) {
		fmt.Printf(format+"\n", args...)
		status = 1
	}
	pidfdSignal, err := strconv.Atoi(args[0])
	if err != nil {
		wrong("%v", err)
	}
	none := ^uintptr(0) // as a descriptor
	type call struct {
		name       string
		number     uintptr
		arg0, arg1 uintptr
		arg3       uintptr
		want       syscall.Errno
	}
	calls := []call{
		{name: "pidfd_open", number: unix.SYS_PIDFD_OPEN, arg0: uintptr(os.Getpid()), want: unix.ENOSYS},
		{name: "clone3", number: unix.SYS_CLONE3, want: unix.ENOSYS},
		{name: "waitid P_PIDFD", number: unix.SYS_WAITID, arg0: unix.P_PIDFD, arg1: none, arg3: unix.WEXITED, want: unix.ENOSYS},
		{name: "waitid P_ALL", number: unix.SYS_WAITID, arg0: unix.P_ALL, arg3: unix.WEXITED, want: unix.ECHILD},
		{name: "pidfd_send_signal", number: unix.SYS_PIDFD_SEND_SIGNAL, arg0: none, want: syscall.Errno(pidfdSignal)},
		{name: "ioctl TIOCGPTPEER", number: unix.SYS_IOCTL, arg0: none, arg1: unix.TIOCGPTPEER, want: unix.ENOTTY},
		{name: "ioctl", number: unix.SYS_IOCTL, arg0: none, arg1: unix.TIOCGPTN, want: unix.EBADF},
		{name: "unshare", number: unix.SYS_UNSHARE, want: unix.EPERM},
		{name: "setns", number: unix.SYS_SETNS, arg0: none, want: unix.EPERM},
		// CLONE_THREAD without CLONE_SIGHAND is never possible.
		{name: "clone", number: unix.SYS_CLONE, arg0: unix.CLONE_THREAD, want: unix.EINVAL},
		{name: "clone CLONE_NEWUSER", number: unix.SYS_CLONE, arg0: unix.CLONE_THREAD | unix.CLONE_NEWUSER, want: unix.EPERM},
		{name: "clone CLONE_NEWPID", number: unix.SYS_CLONE, arg0: unix.CLONE_THREAD | unix.CLONE_NEWPID, want: unix.EPERM},
		{name: "clone CLONE_NEWNS", number: unix.SYS_CLONE, arg0: unix.CLONE_THREAD | unix.CLONE_NEWNS, want: unix.EPERM},
		{name: "clone CLONE_NEWCGROUP", number: unix.SYS_CLONE, arg0: unix.CLONE_THREAD | unix.CLONE_NEWCGROUP, want: unix.EPERM},
	}
	if runtime.GOARCH == "amd64" {
		calls = append(calls, call{name: "getpid of x32", number: x32 + unix.SYS_GETPID, want: unix.ENOSYS})
	}
	for _, c := range calls {
		if _, _, errno := unix.RawSyscall6(c.number, c.arg0, c.arg1, 0, c.arg3, 0, 0); errno != c.want {
			wrong("%s: %v, want %v", c.name, errno, c.want)
		}
	}
	if set, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); set != 1 || err != nil {
		wrong("no_new_privs: %d, %v", set, err)
	}
	for _, err := range probeExec() {
		wrong("os/exec: %v", err)
	}
	for _, err := range probeCgroups() {
		wrong("cgroups: %v", err)
	}
	return status
}

// probeExec returns what does not work in os/exec as on an old kernel.
func probeExec() (wrong []error) {
	if err := exec.Command("true").Run(); err != nil {
		wrong = append(wrong, fmt.Errorf("true: %w", err))
	}
	out, err := exec.Command("sh", "-c", "echo $(echo said); exit 7").Output()
	var exited *exec.ExitError
	if string(out) != "said\n" || !errors.As(err, &exited) || exited.ExitCode() != 7 {
		wrong = append(wrong, fmt.Errorf("sh: %q, %w", out, err))
	}

	sleep := exec.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		return append(wrong, err)
	}
	if err := osproc.WithHandle(sleep.Process, func(uintptr) {}); !errors.Is(err, osproc.ErrNoHandle) {
		wrong = append(wrong, fmt.Errorf("the process has a handle: %v", err))
	}
	if err := sleep.Process.Kill(); err != nil {
		wrong = append(wrong, err)
	}
	sleep.Wait()
	if status := sleep.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		wrong = append(wrong, fmt.Errorf("a killed process: %v", sleep.ProcessState))
	}

	cmd := exec.Command("true")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: -1}
	if err := cmd.Run(); !errors.Is(err, syscall.ENOSYS) {
		wrong = append(wrong, fmt.Errorf("into a cgroup: %v", err))
	}
	return wrong
}

// probeCgroups tries to make a cgroup in every cgroup file system.
func probeCgroups() (wrong []error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return []error{err}
	}
	for _, m := range cgroupMounts(string(text)) {
		dir := filepath.Join(m.target, "corral-oldkernel-test")
		switch err := os.Mkdir(dir, 0o755); {
		case err == nil:
			wrong = append(wrong, fmt.Errorf("could make %s", dir))
			os.Remove(dir)
		case os.Getuid() == 0 && !errors.Is(err, syscall.EROFS):
			wrong = append(wrong, err)
		}
	}
	return wrong
}

func TestExitStatus(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage")
	if err := os.WriteFile(garbage, []byte{1, 2, 3}, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args   []string
		status int
		stderr string // the beginning; "" if there is no output
	}{
		{nil, 125, "oldkernel: usage: "},
		{[]string{"--"}, 125, "oldkernel: usage: "},
		{[]string{"-nonsense", "true"}, 125, "oldkernel: flag provided but not defined: -nonsense"},
		{[]string{"-no-pidfd-signal=maybe", "true"}, 125, "oldkernel: invalid boolean value"},
		{[]string{"no-such-command"}, 127, "oldkernel: "},
		{[]string{"/no/such/command"}, 127, "oldkernel: "},
		{[]string{"/"}, 126, "oldkernel: "},
		{[]string{garbage}, 126, "oldkernel: exec " + garbage},
		{[]string{"--", "true"}, 0, ""},
		{[]string{"sh", "-c", "exit $1", "-no-pidfd-signal", "7"}, 7, ""},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			cmd := oldkernel(tt.args...)
			var stdout, stderr bytes.Buffer
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			err := cmd.Run()
			said := stderr.String()
			if strings.HasPrefix(said, "oldkernel: unshare the mounts: ") {
				t.Skipf("SKIPPED, this root may not mount: %s", said)
			}
			lines := 0
			if tt.stderr != "" {
				lines = 1
			}
			if cmd.ProcessState.ExitCode() != tt.status || stdout.Len() > 0 ||
				!strings.HasPrefix(said, tt.stderr) || strings.Count(said, "\n") != lines {
				t.Errorf("%v, stdout %q, stderr %q; want status %d", err, stdout.String(), said, tt.status)
			}
		})
	}
}

func TestCgroupMounts(t *testing.T) {
	got := cgroupMounts(`23 29 0:21 / /proc rw,nosuid,nodev,noexec,relatime shared:13 - proc proc rw
34 24 0:29 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate
35 24 0:30 /a\040b /mnt/old\040one\134 ro,noatime - cgroup cgroup rw,cpu
36 24 0:31 / /mnt/cgroup rw - tmpfs cgroup rw
`)
	want := []mount{
		{"/sys/fs/cgroup", unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_RELATIME},
		{`/mnt/old one\`, unix.MS_NOATIME},
	}
	if diff := diff.Of(want, got); diff != "" {
		t.Error(diff)
	}
}
