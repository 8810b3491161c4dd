package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
)

// oracle is a pipe that everything has which a command starts: its end-of-file says
// that nothing is left.
type oracle struct{ r, w *os.File }

func newOracle(t *testing.T, cmd *exec.Cmd) *oracle {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	cmd.ExtraFiles = append(cmd.ExtraFiles, w)
	return &oracle{r, w}
}

// gone waits for the end, at most that long.
func (o *oracle) gone(d time.Duration) bool {
	o.w.Close()
	o.r.SetReadDeadline(time.Now().Add(d))
	_, err := io.Copy(io.Discard, o.r)
	return err == nil
}

// whatItSays runs cmd and returns what it says. It does not wait for what is left.
func whatItSays(cmd *exec.Cmd) (said string, err error) {
	file, err := os.CreateTemp("", "said")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	cmd.Stdout, cmd.Stderr = file, file
	err = cmd.Run()
	b, rerr := os.ReadFile(file.Name())
	return string(b), errors.Join(err, rerr)
}

// TestKeeperKilledByMember: corral has what the keeper had, also if the kernel
// gives it away a moment after the keeper's line has ended, and if the keeper has
// not got to say that it has started anything.
func TestKeeperKilledByMember(t *testing.T) {
	skipWithout(t, "keeper")
	for name, script := range map[string]string{
		"the leader":       `sleep 60 & kill -9 $PPID; sleep 60`,
		"a daemon":         `setsid sh -c 'sleep 60 & setsid sleep 60 & kill -9 $0' $PPID; exit 0`,
		"later":            `setsid sh -c 'sleep 60 & setsid sleep 60 & sleep .02; kill -9 $0' $PPID & sleep 60`,
		"one of many more": `for i in 1 2 3 4 5 6 7 8; do setsid sleep 60 & done; kill -9 $PPID; sleep 60`,
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 25 {
				cmd := exec.Command("corral", "--containment", "keeper", "--", "sh", "-c", script)
				o := newOracle(t, cmd)
				cmd.Run()
				if !o.gone(5 * time.Second) {
					t.Fatalf("trial %d: something is left", i+1)
				}
			}
		})
	}
}

// TestEarlierChildren: a shell starts others, and then executes corral in its own
// place. They are not what corral's command has started.
func TestEarlierChildren(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("SKIPPED: no bash")
	}
	lines := []string{"init seq 20000", "timeout 20 seq 20000", "run --leftovers fail seq 20000", "run --leftovers wait seq 20000"}
	for _, cont := range []string{"cgroup", "keeper", "group", "pidns"} {
		lines = append(lines, "--containment "+cont+" -- seq 20000")
	}
	for _, line := range lines {
		t.Run(line, func(t *testing.T) {
			for what, script := range map[string]string{
				"substitution":       `exec corral %s > >(sleep .01; cat > "$0")`,
				"pipes below it":     `exec corral %s > >(sleep .01; cat | cat | cat > "$0"; :)`,
				"session of its own": `exec corral %s > >(setsid -w sh -c 'sleep .01; cat > "$0"' "$0")`,
				"coproc":             `coproc { sleep .01; cat > "$0"; }; exec corral %s >&${COPROC[1]} {COPROC[1]}>&- {COPROC[0]}<&-`,
			} {
				file := filepath.Join(t.TempDir(), "out")
				cmd := exec.Command(bash, "-c", fmt.Sprintf(script, line), file)
				var said bytes.Buffer
				cmd.Stderr = &said
				o := newOracle(t, cmd)
				if err := cmd.Run(); err != nil || said.Len() > 0 {
					t.Errorf("%s: %v; corral said %q", what, err, said.String())
				}
				if !o.gone(10 * time.Second) {
					t.Errorf("%s: it goes on", what)
				}
				b, err := os.ReadFile(file)
				if n := bytes.Count(b, []byte("\n")); err != nil || n != 20000 {
					t.Errorf("%s: %d lines, error %v", what, n, err)
				}
			}
		})
	}
}

// TestEarlierChildStays: a stop is for the command alone.
func TestEarlierChildStays(t *testing.T) {
	for _, cont := range []string{"cgroup", "keeper", "group"} {
		t.Run(cont, func(t *testing.T) {
			dir := t.TempDir()
			fed, feed, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("sh", "-c", `cat <&4 >"$0" & exec corral --containment `+cont+` --timeout .2 -- sh -c 'sleep 60 & setsid sleep 60 & sleep 60'`, dir+"/out")
			o := newOracle(t, cmd)
			cmd.ExtraFiles = append(cmd.ExtraFiles, fed)
			err = cmd.Run()
			fed.Close()
			if cmd.ProcessState.ExitCode() != statusTimeout {
				t.Errorf("corral: %v", err)
			}
			fmt.Fprintln(feed, "still there")
			feed.Close()
			gone := o.gone(5 * time.Second)
			b, err := os.ReadFile(dir + "/out")
			if want := cont != "group"; want && !gone {
				t.Error("something is left")
			}
			if err != nil || string(b) != "still there\n" {
				t.Errorf("the earlier child has written %q, error %v", b, err)
			}
		})
	}
}

const (
	roleVariable   = "CORRAL_TEST_ROLE"
	chainsVariable = "CORRAL_TEST_CHAINS" // of a storm
)

var stormy = flag.Bool("storm", false, "TestForkStorm starts so many processes that no other test can run meanwhile")

func init() {
	switch os.Getenv(roleVariable) {
	case "sibling":
		cloneSibling()
	case "storm":
		chains, err := strconv.Atoi(os.Getenv(chainsVariable))
		if err != nil {
			panic(err)
		}
		startStorm(min(chains, 100))
	case "refused":
		refuseAdoption()
	}
}

// cloneSibling makes a child of its parent's, in a session of its own, which
// executes sleep(1), and ends.
func cloneSibling() {
	runtime.LockOSThread()
	path, err := exec.LookPath("sleep")
	if err != nil {
		panic(err)
	}
	argv0, _ := syscall.BytePtrFromString(path)
	argv, _ := syscall.SlicePtrFromStrings([]string{"sleep", "20"})
	envv, _ := syscall.SlicePtrFromStrings(nil)
	pid, _, errno := unix.RawSyscall6(unix.SYS_CLONE, unix.CLONE_PARENT|uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if pid == 0 {
		unix.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
		unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(argv0)), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])))
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
	}
	if errno != 0 {
		panic(errno)
	}
	os.Exit(0)
}

// TestClonedSibling: a member can make a child of corral's.
func TestClonedSibling(t *testing.T) {
	for _, cont := range []string{"cgroup", "keeper", "group", "pidns"} {
		t.Run(cont, func(t *testing.T) {
			skipWithout(t, cont)
			for _, then := range []string{"", "; sleep .1", "; sleep 20"} {
				cmd := exec.Command("corral", "--containment", cont, "--timeout", "1", "--", "env", roleVariable+"=sibling", self(t))
				if then != "" {
					cmd.Args = append(cmd.Args[:len(cmd.Args)-3], "sh", "-c", roleVariable+`=sibling "$0"`+then, self(t))
				}
				o := newOracle(t, cmd)
				out, err := whatItSays(cmd)
				if !o.gone(5 * time.Second) {
					t.Errorf("it is left; corral: %s, %v", out, err)
				}
			}
		})
	}
}

func self(t *testing.T) string {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// refuseAdoption executes its arguments where nobody may be a subreaper, as under a
// seccomp policy that knows prctl(2) by its options.
func refuseAdoption() {
	const offsetNumber, offsetArg0 = 0, 16
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	unless := func(value uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: skip}
	}
	give := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	program := []unix.SockFilter{
		load(offsetNumber), unless(unix.SYS_PRCTL, 3),
		load(offsetArg0), unless(unix.PR_SET_CHILD_SUBREAPER, 1), give(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)),
		give(unix.SECCOMP_RET_ALLOW),
	}
	runtime.LockOSThread()
	prog := &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	path, err := exec.LookPath(os.Args[1])
	if err == nil {
		err = unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
	}
	if err == nil {
		err = unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(prog)), 0, 0)
	}
	if err == nil {
		os.Unsetenv(roleVariable)
		err = syscall.Exec(path, os.Args[1:], os.Environ())
	}
	panic(err)
}

// TestAdoptionRefused: corral does without, and says so.
func TestAdoptionRefused(t *testing.T) {
	for _, cont := range []string{"cgroup", "group"} {
		t.Run(cont, func(t *testing.T) {
			skipWithout(t, cont)
			report := filepath.Join(t.TempDir(), "report")
			cmd := exec.Command(self(t), "corral", "--containment", cont, "--report", report, "--", "sh", "-c", "sleep 60 & exit 3")
			cmd.Env = append(os.Environ(), roleVariable+"=refused")
			o := newOracle(t, cmd)
			out, err := whatItSays(cmd)
			if cmd.ProcessState.ExitCode() != 3 {
				t.Fatalf("corral: %v, %s", err, out)
			}
			if !o.gone(5 * time.Second) {
				t.Error("something is left")
			}
			var r corral.Report
			b, err := os.ReadFile(report)
			if err == nil {
				err = json.Unmarshal(b, &r)
			}
			if err != nil || !strings.Contains(r.BestEffort, "PR_SET_CHILD_SUBREAPER") {
				t.Errorf("the report says %q, error %v", r.BestEffort, err)
			}
		})
	}
	t.Run("PID 1", func(t *testing.T) {
		if os.Geteuid() != 0 {
			t.Skip("SKIPPED: needs root")
		}
		cmd := exec.Command("unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", self(t), "corral", "init", "--", "sh", "-c", "(setsid sleep 60 &) ; exit 3")
		cmd.Env = append(os.Environ(), roleVariable+"=refused")
		o := newOracle(t, cmd)
		out, err := whatItSays(cmd)
		if cmd.ProcessState.ExitCode() != 3 {
			t.Errorf("corral: %v, %s", err, out)
		}
		if !o.gone(5 * time.Second) {
			t.Error("something is left")
		}
	})
}

// stormLasts bounds the life of a storm that nobody stops.
const stormLasts = 15 // seconds

// startStorm starts chains of processes, each of which makes the next one and ends.
func startStorm(chains int) {
	runtime.LockOSThread()
	escape.NotUrgent()
	var now unix.Timespec
	clock := func() int64 {
		unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&now)), 0)
		return int64(now.Sec)
	}
	end := clock() + stormLasts
	for range chains {
		if pid, _, _ := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0); pid != 0 {
			continue
		}
		for clock() < end {
			if pid, _, _ := unix.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0); int(pid) > 0 {
				break
			}
		}
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	time.Sleep(stormLasts * time.Second)
	os.Exit(0)
}

// TestForkStorm: corral, which gets all the orphans, sends its signals in time, and
// is done long before the storm would be. See -storm.
func TestForkStorm(t *testing.T) {
	chains := 4
	if *stormy {
		chains = 100
	}
	for _, tt := range []struct{ by, args string }{
		{"cgroup", "--containment cgroup --timeout 1 --grace 1s --"},
		{"group", "--containment group --timeout 1 --grace 1s --"},
		{"timeout", "timeout --kill-after 1 1"},
	} {
		t.Run(tt.by, func(t *testing.T) {
			if tt.by != "timeout" {
				skipWithout(t, tt.by)
			}
			args := append(strings.Fields(tt.args), "env", roleVariable+"=storm", fmt.Sprintf("%s=%d", chainsVariable, chains), self(t))
			cmd := exec.Command("corral", args...)
			o := newOracle(t, cmd)
			if *stormy {
				runtime.LockOSThread() // for good: the thread ends with this goroutine
				escape.Urgent(0, false)
			}
			began := time.Now()
			out, err := whatItSays(cmd)
			if took := time.Since(began); took > 12*time.Second {
				t.Errorf("corral took %v", took)
			}
			status := exitStatus(cmd.ProcessState)
			if status != statusTimeout && status != statusSignal+int(syscall.SIGKILL) || !cmd.ProcessState.Exited() && tt.by != "timeout" { // which ends as its command does
				t.Errorf("corral: %v: %s", err, out)
			}
			if !o.gone(3 * time.Second) {
				t.Error("something is left")
			}
		})
	}
}
