package proctree

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestFields(t *testing.T) {
	sid, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	self := find(t, os.Getpid())
	comm, err := os.ReadFile("/proc/self/comm")
	if err != nil {
		t.Fatal(err)
	}
	if self.PGID != syscall.Getpgrp() || self.SID != sid || self.Threads < 2 || self.RSS < 1<<20 ||
		self.User != strconv.Itoa(os.Geteuid()) || self.Name+"\n" != string(comm) {
		t.Errorf("got %+v, want group %d, session %d, user %d, name %q", self, syscall.Getpgrp(), sid, os.Geteuid(), comm)
	}
	p := find(t, start(t, "idle", setsid).Process.Pid)
	if p.PGID != p.PID || p.SID != p.PID {
		t.Errorf("session leader: %+v", p)
	}
	p = find(t, start(t, "weird name").Process.Pid)
	if p.Name != weirdName || p.PPID != os.Getpid() || p.Threads < 2 {
		t.Errorf("weird name: %+v", p)
	}
}

func TestUserOfOther(t *testing.T) {
	needRoot(t)
	// Nobody may be unable to reach the directory of the test binary.
	nobody := func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = "/proc/self/exe", "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	for _, role := range []string{"idle", "not dumpable"} {
		if p := find(t, start(t, role, nobody).Process.Pid); p.User != "65534" {
			t.Errorf("%s: user %s", role, p.User)
		}
	}
	start(t, "signal the parent", nobody)
}

func TestThreadIsNoProcess(t *testing.T) {
	c := start(t, "idle")
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", c.Process.Pid))
	if err != nil || len(tasks) < 2 {
		t.Fatalf("threads %q, error %v", tasks, err)
	}
	for _, task := range tasks {
		tid, err := strconv.Atoi(filepath.Base(task))
		if err != nil {
			t.Fatal(err)
		}
		if tid == c.Process.Pid {
			continue
		}
		if p, err := Lookup(tid); !errors.Is(err, ErrGone) {
			t.Errorf("thread %d: %+v, error %v", tid, p, err)
		}
		p, err := stat(tid)
		if err != nil {
			t.Fatal(err)
		}
		for name, open := range handles {
			if _, err := open(p); !errors.Is(err, ErrGone) {
				t.Errorf("%s: thread %d: error %v", name, tid, err)
			}
		}
	}
}

func TestGroup(t *testing.T) {
	if members := membersOf(t, 0); members != nil {
		t.Errorf("group 0: %+v", members)
	}
	leader := start(t, "idle", setpgid)
	pgid := leader.Process.Pid
	member := start(t, "idle", func(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: pgid} })
	ids := func() (ids []ID) {
		for _, p := range membersOf(t, pgid) {
			if p.PGID != pgid || p.PPID != os.Getpid() || p.Name == "" || p.Threads < 2 || p.Started.IsZero() {
				t.Errorf("got %+v", p)
			}
			ids = append(ids, p.ID)
		}
		return ids
	}
	if got := ids(); len(got) != 2 || !slices.Contains(got, leader.id) || !slices.Contains(got, member.id) {
		t.Errorf("got %v, want %v and %v", got, leader.id, member.id)
	}
	// A zombie is in the table, but it is not a live member.
	leader.input.Close()
	waitExit(t, leader)
	if got := ids(); len(got) != 1 || got[0] != member.id {
		t.Errorf("got %v, want %v", got, member.id)
	}
	p := find(t, pgid)
	if p.Alive() || p.State != Zombie || p.Args != nil || p.PGID != pgid {
		t.Errorf("zombie: %+v", p)
	}
	member.input.Close()
	waitExit(t, member)
	if got := ids(); len(got) != 0 {
		t.Errorf("got %v, want none", got)
	}
}

// TestReapedMeanwhile: a row that has lost its group while it was being made is that of
// a process that is gone, whatever its state was.
func TestReapedMeanwhile(t *testing.T) {
	for _, state := range []string{"R", "Z", "X"} {
		row := "8672 (sh) " + state + " 0 -1 -1 0 -1 4194380 26 0 0 0 0 0 0 0 20 0 0 0 173 0 0 18446744073709551615 0\n"
		if p, err := parseOwnStat(8672, []byte(row)); !errors.Is(err, ErrGone) {
			t.Errorf("%s: %+v, %v", state, p, err)
		}
	}
}

// TestGroupOnTheMove: a group is not empty because each of its members ends
// before it is looked at, having started the next one.
func TestGroupOnTheMove(t *testing.T) {
	for name, script := range map[string]string{
		// Each link is a program, which takes a millisecond.
		"programs": `link='[ "$1" = 0 ] || sh -c "$0" "$0" $(($1 - 1)) &'; exec sh -c "$link" "$link" 200`,
		// It is a mere fork, which is faster than a look through all of /proc.
		"forks": `link() { [ "$1" = 0 ] || link $(($1 - 1)) & }; link 500`,
	} {
		t.Run(name, func(t *testing.T) { watchChain(t, script) })
	}
	t.Run("round", func(t *testing.T) {
		// In the middle of the chain the PIDs begin with the low ones again, which are
		// read first.
		most, err := os.ReadFile("/proc/sys/kernel/pid_max")
		if err != nil {
			t.Fatal(err)
		}
		n, err := strconv.Atoi(strings.TrimSpace(string(most)))
		if err != nil {
			t.Fatal(err)
		}
		const crowd = 500
		next := func(pid int) {
			if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", strconv.AppendInt(nil, int64(pid), 10), 0); err != nil {
				t.Skip("SKIPPED, needs root, to choose the next PID: ", err)
			}
		}
		next(n - 3*crowd)
		others := exec.Command("sh", "-c", fmt.Sprintf(`i=0; while [ $i -lt %d ]; do sleep 60 & i=$((i + 1)); done; echo; wait`, crowd))
		others.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		all, err := others.StdoutPipe()
		if err == nil {
			err = others.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			syscall.Kill(-others.Process.Pid, syscall.SIGKILL)
			others.Wait()
		}()
		if _, err := all.Read(make([]byte, 1)); err != nil {
			t.Fatal(err)
		}
		next(n - crowd)
		watchChain(t, `link() { [ "$1" = 0 ] || link $(($1 - 1)) & }; link 1000`)
	})
}

// watchChain looks for the group of a script's processes until it is empty.
func watchChain(t *testing.T, script string) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	chain := exec.Command("sh", "-c", script)
	chain.Stdout = w
	chain.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = chain.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	defer chain.Wait() // so long, it pins the number of the group
	looks := 0
	for began := time.Now(); ; looks++ {
		live, err := Group(chain.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		if len(live) > 0 {
			if time.Since(began) > 2*time.Minute {
				t.Fatal("the chain does not end")
			}
			continue
		}
		// What is not there has closed the pipe before.
		end := []unix.PollFd{{Fd: int32(r.Fd())}}
		if n, err := retry(func() (int, error) { return unix.Poll(end, 0) }); n != 1 || end[0].Revents&unix.POLLHUP == 0 {
			t.Fatalf("nobody is left after %d looks, but the pipe is open: %v", looks, err)
		}
		break
	}
	t.Logf("%d looks", looks)
}

// TestBorn: what is taken for the start time without a look is what the table has.
func TestBorn(t *testing.T) {
	const many = 200
	unseen := 0
	// A fork takes a millisecond, and a tick is ten. On a slow machine it takes more of
	// them until there are enough that need no look.
	for tries := 0; tries < many || unseen < many/4; tries++ {
		if tries == 50*many {
			t.Fatalf("%d of %d were known without a look", unseen, tries)
		}
		before := Now()
		cmd := exec.Command("true")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if before.start != 0 && before == Now() {
			unseen++
		}
		got, err := before.Born(cmd.Process.Pid)
		want, ierr := Identify(cmd.Process.Pid)
		cmd.Wait()
		if got != want || err != nil || ierr != nil {
			t.Fatalf("got %v, %v; the table has %v, %v", got, err, want, ierr)
		}
	}
}

// TestStopping: a process has stopped when all of its threads have.
func TestStopping(t *testing.T) {
	c := start(t, "busy thread")
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer c.Process.Signal(syscall.SIGCONT)
	first := fmt.Sprintf("/proc/%d/task/%[1]d/stat", c.Process.Pid)
	comesTo := func(state func() State, want State) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); state() != want; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("state %c; want %c", state(), want)
			}
		}
	}
	comesTo(func() State {
		b, err := os.ReadFile(first)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parseStat(b)
		if err != nil {
			t.Fatal(err)
		}
		return p.State
	}, Stopped)
	process := func() State { return find(t, c.Process.Pid).State }
	comesTo(process, Disk)
	c.input.Close()
	comesTo(process, Stopped)
	if err := c.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	waitExit(t, c)
}
