package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/disposition"
)

func init() {
	programs["forker"] = forker
	programs["limited"] = limited
}

// forker starts processes until there can be none, and goes on trying. Neither it
// nor they live for longer than a lifetime.
func forker() {
	debug.SetGCPercent(-1) // no threads
	disposition.Default(syscall.SIGTERM)
	sleep := func(d time.Duration) {
		ts := unix.NsecToTimespec(int64(d))
		unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
	for began, n := time.Now(), 0; time.Since(began) < lifetime/2 && n < 1000; {
		pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0, 0, 0, 0)
		switch {
		case errno == 0 && pid == 0:
			sleep(lifetime)
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		case errno == 0:
			n++
		default:
			sleep(time.Millisecond)
		}
	}
}

// limited becomes the command in its arguments, in the control group in the first
// one, or with at most so many processes of its user.
func limited() {
	where := os.Args[1]
	var err error
	if most, numErr := strconv.Atoi(where); numErr == nil {
		err = unix.Setrlimit(unix.RLIMIT_NPROC, &unix.Rlimit{Cur: uint64(most), Max: uint64(most)})
	} else {
		err = os.WriteFile(filepath.Join(where, "cgroup.procs"), []byte("0"), 0)
	}
	if err == nil {
		become(os.Args[2:])
	}
	fail("become limited", err)
}

// pidsGroup makes a control group with a limit of processes below this one's own.
func pidsGroup(t *testing.T, most int) string {
	t.Helper()
	own, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(own)) {
		_, path, ok := strings.Cut(strings.TrimSpace(line), ":pids:")
		if !ok {
			continue
		}
		dir := filepath.Join("/sys/fs/cgroup/pids", path, fmt.Sprintf("corral-test-%d", os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skip("SKIPPED: no control group with a limit of processes: ", err)
		}
		t.Cleanup(func() {
			for deadline := time.Now().Add(lifetime); os.Remove(dir) != nil && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond) // the kernel counts them out
			}
		})
		if err := os.WriteFile(filepath.Join(dir, "pids.max"), []byte(strconv.Itoa(most)), 0); err != nil {
			t.Skip("SKIPPED: no control group with a limit of processes: ", err)
		}
		return dir
	}
	t.Skip("SKIPPED: no version 1 control groups that limit processes")
	return ""
}

// threadsOf counts the threads of a user.
func threadsOf(t *testing.T, uid int) (n int) {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil || len(processes) == 0 {
		t.Fatal(processes, err)
	}
	for _, process := range processes {
		if info, err := os.Stat(process); err == nil && int(info.Sys().(*syscall.Stat_t).Uid) == uid {
			tasks, _ := os.ReadDir(process + "/task")
			n += len(tasks)
		}
	}
	return n
}

// TestForkToTheLimit: a command that leaves no room for one more thread is stopped
// all the same, by corral, which does not end by the want of one.
func TestForkToTheLimit(t *testing.T) {
	for _, cont := range []string{"cgroup", "keeper", "group"} {
		for _, how := range []string{"--timeout .5 --grace 1s --", "--pty --timeout .5 --lifeline parent --", "timeout .5"} {
			t.Run(cont+" "+how, func(t *testing.T) {
				skipWithout(t, cont)
				args := strings.Fields("corral --containment " + cont + " " + how + " forker")
				if strings.HasPrefix(how, "timeout") {
					args = strings.Fields("corral " + how + " forker")
				}
				limit := ""
				if os.Geteuid() == 0 {
					limit = pidsGroup(t, 150)
				} else {
					limit = strconv.Itoa(threadsOf(t, os.Geteuid()) + 150)
				}
				cmd := exec.Command("limited", append([]string{limit}, args...)...)
				var out bytes.Buffer
				cmd.Stdout, cmd.Stderr = &out, &out
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				// What is left would hold the pipe for a lifetime.
				if _, status := ended(cmd); status != statusTimeout || strings.Contains(out.String(), "goroutine") {
					t.Errorf("status %d: %.500s", status, &out)
				}
			})
		}
	}
}

// TestFewDescriptors: too few are one line, and nothing is started.
func TestFewDescriptors(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	for _, n := range []int{4, 5, 6, 7, 8, 9, 10, 11, 16, 34, 40} { // the dynamic linker needs one
		for _, how := range []string{"--", "--pty --", "--containment group --", "init --", "timeout 5"} {
			os.Remove(started)
			line := fmt.Sprintf("ulimit -n %d; exec corral %s sh -c 'setsid -f sleep .1; : >%s; exit 7'", n, how, started)
			cmd := exec.Command("sh", "-c", line)
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_, status := ended(cmd)
			_, err := os.Stat(started)
			switch {
			case status == 7 && err == nil:
			case status == statusOwn && err != nil && strings.Count(out.String(), "\n") == 1 && strings.Contains(out.String(), "descriptors"):
			default:
				t.Errorf("%s: status %d, started: %v, said %.500s", line, status, err == nil, &out)
			}
		}
	}
}
