package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

func init() {
	programs["pid1"] = pid1
	programs["pending"] = pending
	programs["listen"] = listen
	programs["slow"] = slow
	programs["orphans"] = orphans
	programs["initcheck"] = initCheck
}

// pid1 is how a namespace begins: it mounts /proc and becomes the program in
// its arguments.
func pid1() {
	err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	if err == nil {
		err = unix.Mount("proc", "/proc", "proc", 0, "")
	}
	if err == nil {
		become(os.Args[1:])
	}
	fail("mount /proc", err)
}

func become(args []string) {
	path, err := exec.LookPath(args[0])
	if err == nil {
		err = syscall.Exec(path, args, os.Environ())
	}
	fail(args[0], err)
}

func fail(what string, err error) {
	fmt.Fprintln(os.Stderr, what+":", err)
	os.Exit(99)
}

// asPID1 returns the command as PID 1 of a namespace.
func asPID1(args ...string) *exec.Cmd {
	cmd := exec.Command("pid1", args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	return cmd
}

var tryNamespaces = sync.OnceValue(func() error {
	out, err := asPID1("sh", "-c", "test $$ = 1").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("no PID namespaces here: %w: %s", err, out)
	}
	return err
})

func needNamespaces(t *testing.T) {
	t.Helper()
	if err := tryNamespaces(); err != nil {
		t.Skip("SKIPPED: ", err)
	}
}

// forEachInit runs the test under each containment that an init may get.
func forEachInit(t *testing.T, test func(t *testing.T, flags ...string)) {
	needNamespaces(t)
	for _, cont := range []string{"cgroup", "keeper"} {
		t.Run(cont, func(t *testing.T) {
			if out, err := asPID1("corral", "--require", cont, "true").CombinedOutput(); err != nil {
				t.Skipf("SKIPPED: %s", out)
			}
			test(t, "--containment", cont)
		})
	}
}

// pid1Process is a PID 1 that has been started, and what it and its command say.
type pid1Process struct {
	*exec.Cmd
	lines  *bufio.Reader
	stderr strings.Builder
}

func startPID1(t *testing.T, args ...string) *pid1Process {
	t.Helper()
	return startLines(t, asPID1(args...))
}

func startLines(t *testing.T, cmd *exec.Cmd) *pid1Process {
	t.Helper()
	p := &pid1Process{Cmd: cmd}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	r.SetReadDeadline(time.Now().Add(lifetime))
	p.lines = bufio.NewReader(r)
	cmd.Stdout, cmd.Stderr = w, &p.stderr
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() }) // and with it the namespace
	return p
}

// expect reads the next line.
func (p *pid1Process) expect(t *testing.T, want string) {
	t.Helper()
	if line, err := p.lines.ReadString('\n'); err != nil || line != want+"\n" {
		t.Fatalf("it says %q, %v; want %q", line, err, want)
	}
}

// expectBoth reads the next two lines, in whatever order they come; the ones wanted
// are sorted.
func (p *pid1Process) expectBoth(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	for range want {
		line, err := p.lines.ReadString('\n')
		if err != nil {
			t.Fatalf("want %q: %v", want, err)
		}
		got = append(got, strings.TrimSpace(line))
	}
	if slices.Sort(got); !slices.Equal(got, want) {
		t.Fatalf("%q; want %q", got, want)
	}
}

func (p *pid1Process) send(t *testing.T, sig syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// end waits for the end, and returns the exit status and the last lines.
func (p *pid1Process) end(t *testing.T) (int, string) {
	t.Helper()
	rest, err := io.ReadAll(p.lines)
	if err != nil {
		t.Fatalf("it does not end: %v", err)
	}
	p.Wait()
	if !p.ProcessState.Exited() {
		t.Errorf("it did not exit: %v", p.ProcessState)
	}
	return p.ProcessState.ExitCode(), string(rest)
}

// listen says which signals it gets, as NAME NUMBER, and ends with status 9 by
// TERM. An argument "NAME+" makes it start another one of that name first.
func listen() {
	end := time.After(lifetime)
	got := make(chan os.Signal, 128)
	signal.Notify(got)
	name, more := strings.CutSuffix(os.Args[1], "+")
	if more {
		cmd := exec.Command("listen", "child")
		cmd.Stdout = os.Stdout
		r, err := cmd.StderrPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err == nil {
			_, err = io.ReadAll(r) // it has closed it
		}
		if err != nil {
			fail("listen", err)
		}
	}
	if name == "child" {
		os.Stderr.Close()
	} else {
		fmt.Println("ready")
	}
	for {
		select {
		case sig := <-got:
			switch sig {
			case unix.SIGURG, unix.SIGCHLD:
				continue
			}
			fmt.Println(name, int(sig.(syscall.Signal)))
			if sig == unix.SIGTERM {
				os.Exit(9)
			}
		case <-end:
			os.Exit(8)
		}
	}
}

// TestInitCommandLine: what a Dockerfile's SHELL is called with is for an init.
func TestInitCommandLine(t *testing.T) {
	for _, args := range [][]string{
		{"corral", "-ec", `echo "parent $PPID $0"; exit 5`, "name"},
		{"corral", "init", "-c", `echo "parent $PPID $0"; exit 5`, "name"},
		{"corral", "--wait-all", "-c", `echo "parent $PPID $0"; exit 5`, "name"},
	} {
		args = slices.Insert(args, len(args)-3, "--containment=group") // which has no process between
		p := startPID1(t, args...)
		p.expect(t, "parent 1 name")
		if status, rest := p.end(t); status != 5 || rest != "" {
			t.Errorf("%q: status %d, %q, %s", args, status, rest, p.stderr.String())
		}
	}
}

// TestInitSignals: every signal that can be is passed on, to the command, or
// to all with --all.
func TestInitSignals(t *testing.T) {
	forEachInit(t, func(t *testing.T, flags ...string) {
		for _, all := range []bool{false, true} {
			args := append([]string{"corral", "init"}, flags...)
			if all {
				args = append(args, "--all")
			}
			p := startPID1(t, append(args, "--", "listen", "leader+")...)
			p.expect(t, "ready")
			count := 0
			for sig := syscall.Signal(1); sig <= 64; sig++ {
				switch {
				case sig == unix.SIGKILL || sig == unix.SIGSTOP || sig == unix.SIGTERM:
					continue
				case !slices.Contains(initSignals(), os.Signal(sig)):
					p.send(t, sig) // and nothing happens
					continue
				}
				count++
				p.send(t, sig)
				if !all {
					p.expect(t, fmt.Sprint("leader ", int(sig)))
					continue
				}
				p.expectBoth(t, fmt.Sprint("child ", int(sig)), fmt.Sprint("leader ", int(sig)))
			}
			if count != 53 {
				t.Errorf("%d signals are passed on besides TERM; docs/cli.md leaves 53", count)
			}
			p.send(t, unix.SIGTERM)
			status, rest := p.end(t)
			if status != 9 || strings.Count(rest, " 15\n") != 2 {
				t.Errorf("TERM: status %d, %q, %s; want 9, and both to have it", status, rest, p.stderr.String())
			}
		}
	})
}

func TestInitRewrite(t *testing.T) {
	needNamespaces(t)
	p := startPID1(t, "corral", "--rewrite", "HUP:USR1,usr2:0", "--rewrite", "RTMIN+3:TERM", "--rewrite", "15:QUIT", "listen", "leader")
	p.expect(t, "ready")
	p.send(t, unix.SIGUSR2)
	p.send(t, unix.SIGHUP)
	p.expect(t, "leader 10")
	p.send(t, unix.SIGTERM)
	p.expect(t, "leader 3")
	p.send(t, 37)
	if status, rest := p.end(t); status != 9 || !strings.Contains(rest, "leader 15\n") {
		t.Errorf("status %d, %q", status, rest)
	}
}

// pending makes a signal pending, blocked, and becomes the program in the
// arguments behind: that gets it when it first wants to know of it. All threads
// have to block it, so they are born that way: the first round is for that. (The
// Go runtime does so for USR1, but has TERM unblocked.)
func pending() {
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fail("pending", err)
	}
	var set unix.Sigset_t
	set.Val[(n-1)/64] = 1 << ((n - 1) % 64)
	runtime.LockOSThread()
	var before unix.Sigset_t
	if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, &before); err != nil {
		fail("pending", err)
	}
	if before == set {
		unix.Kill(os.Getpid(), syscall.Signal(n))
		become(os.Args[2:])
	}
	become(os.Args)
}

// TestInitEarlySignals: what comes before the command is up is for the command.
func TestInitEarlySignals(t *testing.T) {
	forEachInit(t, func(t *testing.T, flags ...string) {
		args := append([]string{"pending", "10", "corral"}, flags...)
		p := startPID1(t, append(args, "listen", "leader")...)
		// It may get it before it says that it is ready.
		first, _ := p.lines.ReadString('\n')
		second, _ := p.lines.ReadString('\n')
		if said := []string{first, second}; !slices.Contains(said, "ready\n") || !slices.Contains(said, "leader 10\n") {
			t.Errorf("it says %q, %s", said, p.stderr.String())
		}
		args = append([]string{"pending", "10", "corral", "--rewrite", "USR1:TERM"}, flags...)
		if status, rest := startPID1(t, append(args, "sleep", "50")...).end(t); status != 143 || rest != "" {
			t.Errorf("TERM: status %d, %q; want 143", status, rest)
		}
	})
}

// slow says that it is stopping when TERM comes, takes the time in its argument,
// and says that it has stopped.
func slow() {
	takes, err := time.ParseDuration(os.Args[1])
	if err != nil {
		fail("slow", err)
	}
	got := make(chan os.Signal, 1)
	signal.Notify(got, unix.SIGTERM)
	fmt.Println("ready")
	select {
	case <-got:
	case <-time.After(lifetime):
		os.Exit(8)
	}
	fmt.Println("stopping")
	time.Sleep(takes)
	fmt.Println("stopped")
	os.Exit(5)
}

// TestInitStop: TERM leaves the command the grace period, and not more.
func TestInitStop(t *testing.T) {
	forEachInit(t, func(t *testing.T, flags ...string) {
		p := startPID1(t, append(append([]string{"corral", "--grace", "50s"}, flags...), "slow", "300ms")...)
		p.expect(t, "ready")
		began := time.Now()
		p.send(t, unix.SIGTERM)
		p.expect(t, "stopping")
		p.send(t, unix.SIGTERM) // does not mean that it has to hurry
		if status, rest := p.end(t); status != 5 || rest != "stopped\n" {
			t.Errorf("status %d, %q, %s; want 5, stopped", status, rest, p.stderr.String())
		}
		t.Logf("TERM to exit, with a handler that takes 300ms: %v", time.Since(began).Round(time.Millisecond))

		p = startPID1(t, append(append([]string{"corral", "--grace", "3s"}, flags...), "slow", "50s")...)
		p.expect(t, "ready")
		began = time.Now()
		p.send(t, unix.SIGTERM)
		p.expect(t, "stopping")
		if status, rest := p.end(t); status != 137 || rest != "" {
			t.Errorf("status %d, %q, %s; want 137", status, rest, p.stderr.String())
		}
		t.Logf("TERM to exit, with 3s of grace for one that does not end: %v", time.Since(began).Round(time.Millisecond))

		// Not only the command is stopped: the shell ends at once, the other takes
		// its time, and has it.
		p = startPID1(t, append(append([]string{"corral", "--grace", "50s"}, flags...), "sh", "-c", "trap 'exit 4' TERM; slow 300ms & wait; wait")...)
		p.expect(t, "ready")
		p.send(t, unix.SIGTERM)
		if status, rest := p.end(t); status != 4 || rest != "stopping\nstopped\n" {
			t.Errorf("status %d, %q, %s; want 4, stopped", status, rest, p.stderr.String())
		}
	})
}

// TestInitWaitAll: the command's status, when all have ended by themselves. Its
// zombie does not stay for so long.
func TestInitWaitAll(t *testing.T) {
	forEachInit(t, func(t *testing.T, flags ...string) {
		fifo := filepath.Join(t.TempDir(), "fifo")
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		args := append(append([]string{"corral", "--wait-all", "--exit-zero-on", "6"}, flags...),
			"sh", "-c", `(read x <"$0"; echo by itself) & echo leader; exit "$1"`, fifo)
		p := startPID1(t, append(args, "6")...)
		p.expect(t, "leader")
		w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // when the other one reads
		if err != nil {
			t.Fatal(err)
		}
		leaderGone(t, p)
		w.Close()
		if status, rest := p.end(t); status != 0 || rest != "by itself\n" || p.stderr.Len() > 0 {
			t.Errorf("status %d, %q, %s", status, rest, p.stderr.String())
		}

		p = startPID1(t, append(args, "7")...)
		p.expect(t, "leader")
		if w, err = os.OpenFile(fifo, os.O_WRONLY, 0); err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		leaderGone(t, p)
		p.send(t, unix.SIGTERM)
		if status, rest := p.end(t); status != 7 || rest != "" || !strings.Contains(p.stderr.String(), "stopped 1 ") {
			t.Errorf("status %d, %q, %s", status, rest, p.stderr.String())
		}
	})
}

// leaderGone waits until one shell is left of two, and no zombie.
func leaderGone(t *testing.T, p *pid1Process) {
	t.Helper()
	eventually(t, func() error {
		rows, err := proctree.Snapshot()
		shells := 0
		for _, row := range proctree.Descendants(rows, p.Process.Pid) {
			if !row.Alive() {
				return fmt.Errorf("a zombie: %v", row)
			}
			if row.Name == "sh" {
				shells++
			}
		}
		if shells != 1 {
			return fmt.Errorf("%d shells", shells)
		}
		return err
	})
}

// eventually waits for what the kernel has no event for.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	if err := eventuallyNil(check); err != nil {
		t.Fatal(err)
	}
}

func eventuallyNil(check func() error) error {
	for deadline := time.Now().Add(lifetime); ; time.Sleep(5 * time.Millisecond) {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
	}
}

// TestInitStatus: as PID 1, too, corral exits with the command's status.
func TestInitStatus(t *testing.T) {
	needNamespaces(t)
	zeroed := []int{129, 142, 143}
	try := func(name, script string, want int) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := asPID1("corral", "--containment", "keeper", "--exit-zero-on", "129,142", "--exit-zero-on", "143", "--", "sh", "-c", script)
			if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != want {
				t.Errorf("%v; want status %d", err, want)
			}
		})
	}
	for status := range 256 {
		if testing.Short() && status%32 != 0 && status != 255 {
			continue
		}
		want := status
		if slices.Contains(zeroed, status) {
			want = 0
		}
		try(fmt.Sprint("exit ", status), fmt.Sprint("exit ", status), want)
	}
	for sig := 1; sig <= 64; sig++ {
		switch syscall.Signal(sig) {
		case unix.SIGCHLD, unix.SIGCONT, unix.SIGURG, unix.SIGWINCH, // do nothing
			unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
			continue
		}
		if testing.Short() && sig > 3 && sig != 34 {
			continue
		}
		want := 128 + sig
		if slices.Contains(zeroed, want) {
			want = 0
		}
		try(fmt.Sprint("signal ", sig), fmt.Sprintf("ulimit -c 0; kill -%d $$", sig), want)
	}
}

// orphans makes as many orphans as its argument says, a thousand at a time, that
// end at the same time. It says when nothing is left of them.
func orphans() {
	total, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = makeOrphans(total)
	}
	if err != nil {
		fail("orphans", err)
	}
}

func makeOrphans(total int) error {
	const batch = 1000
	// Each is the child of a shell that has ended, blocks until end-of-file, and
	// then writes a line.
	const script = `i=0; while [ $i -lt $0 ]; do (read x <&3; echo) & i=$((i+1)); done`
	began := time.Now()
	for made := 0; made < total; made += batch {
		blocked, release, err := os.Pipe()
		if err != nil {
			return err
		}
		cmd := exec.Command("sh", "-c", script, strconv.Itoa(min(batch, total-made)))
		cmd.ExtraFiles = []*os.File{blocked}
		lines, w, err := os.Pipe()
		if err != nil {
			return err
		}
		cmd.Stdout = w
		if err := cmd.Run(); err != nil {
			return err
		}
		w.Close()
		blocked.Close()
		release.Close()
		said, err := io.ReadAll(lines)
		if err != nil {
			return err
		}
		lines.Close()
		if len(said) != min(batch, total-made) {
			return fmt.Errorf("%d of %d orphans", len(said), min(batch, total-made))
		}
	}
	ended := time.Since(began)
	err := eventuallyNil(func() error {
		now, err := proctree.Snapshot()
		if err != nil {
			return err
		}
		for _, row := range now {
			if row.Name == "sh" || !row.Alive() { // a zombie, or on its way to be one
				return fmt.Errorf("%d processes, and one of them is %v", len(now), row)
			}
		}
		return nil
	})
	later := time.Since(began) - ended
	reaper, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", os.Getppid()))
	fields := strings.Fields(string(reaper)) // proc_pid_stat(5)
	fmt.Printf("%d orphans in %.1fs, all reaped %.0fms later; the reaper has used %s+%s ticks of CPU time\n",
		total, ended.Seconds(), later.Seconds()*1000, fields[13], fields[14])
	return err
}

func TestInitOrphans(t *testing.T) {
	count := "10000"
	if testing.Short() {
		count = "1000"
	}
	forEachInit(t, func(t *testing.T, flags ...string) {
		cmd := asPID1(append(append([]string{"corral", "--quiet"}, flags...), "orphans", count)...)
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.HasPrefix(string(out), count+" orphans") {
			t.Errorf("%v: %s", err, out)
		}
		t.Logf("%s", out)
	})
}

// TestInitEntered: processes that have entered the namespace, as docker exec
// does it, leave orphans, too, and these are reaped or stopped.
func TestInitEntered(t *testing.T) {
	if _, err := exec.LookPath("nsenter"); err != nil || os.Geteuid() != 0 {
		t.Skip("SKIPPED: this needs nsenter and root")
	}
	forEachInit(t, func(t *testing.T, flags ...string) {
		p := startPID1(t, append(append([]string{"corral"}, flags...), "listen", "leader")...)
		p.expect(t, "ready")
		enter := func(script string) {
			t.Helper()
			cmd := exec.Command("nsenter", "-t", strconv.Itoa(p.Process.Pid), "-p", "-m", "sh", "-c", script)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		enter(`(read x) >/dev/null </dev/null & (sleep 50) >/dev/null 2>&1 & exit`)
		eventually(t, func() error {
			table, err := proctree.Snapshot()
			if err != nil {
				return err
			}
			sleeps := 0
			for _, row := range proctree.Descendants(table, p.Process.Pid) {
				if !row.Alive() {
					return fmt.Errorf("a zombie: %v", row)
				}
				if row.Name == "sleep" {
					sleeps++
				}
			}
			if sleeps != 1 {
				return fmt.Errorf("%d orphans", sleeps)
			}
			return nil
		})
		p.send(t, unix.SIGTERM)
		// TERM and CONT come at once: which one is handled first is the program's
		// affair.
		told := []string{"leader 15\n", "leader 15\nleader 18\n", "leader 18\nleader 15\n"}
		if status, rest := p.end(t); status != 9 || !slices.Contains(told, rest) || !strings.Contains(p.stderr.String(), "sleep 50") {
			t.Errorf("status %d, %q, %s", status, rest, p.stderr.String())
		}
	})
}

// TestLifelineParentIsInit: PID 1 is no parent to hang on.
func TestLifelineParentIsInit(t *testing.T) {
	needNamespaces(t)
	out, err := asPID1("sh", "-c", "corral --lifeline parent -- echo started; echo status $?").CombinedOutput()
	const want = "corral: lifeline parent: it has ended, or is PID 1, whose end would not be noticed here\nstatus 125\n"
	if err != nil || string(out) != want {
		t.Errorf("%v, %q; want %q", err, out, want)
	}
}

// TestInitTerminal: in `docker run -it`, PID 1 leads the session of the terminal.
// The command can read from it; Ctrl-C is the command's, once; and so is a SIGINT
// that is sent to PID 1.
func TestInitTerminal(t *testing.T) {
	forEachInit(t, func(t *testing.T, flags ...string) {
		said := newFIFO(t)
		const script = `exec 3>"$0"; echo up >&3; read x; echo "read $x" >&3; exec child -log "$0" -echo INT -last USR1`
		init := asPID1(append(append([]string{"corral"}, flags...), "sh", "-c", script, said.path)...)
		term := startInTerminal(t, 80, init)
		said.expect("up")
		term.types("a line\n")
		said.expect("read a line")
		said.expect("ready")
		term.types("\x03")
		said.expect("got INT")
		init.Process.Signal(unix.SIGINT)
		said.expect("got INT")
		init.Process.Signal(unix.SIGUSR1)
		said.expect("got USR1")
		if status, shown := term.end(t); status != 7 {
			t.Errorf("status %d, shown %q", status, shown)
		}
	})
}

// TestInitPTY: a terminal of the command's own, of the size of the container's.
func TestInitPTY(t *testing.T) {
	forEachInit(t, func(t *testing.T, flags ...string) {
		said := newFIFO(t)
		const script = `exec 3>"$0"; stty size >&3; exec child -log "$0" -echo WINCH -last USR1`
		init := asPID1(append(append([]string{"corral", "--pty"}, flags...), "sh", "-c", script, said.path)...)
		term := startInTerminal(t, 80, init)
		said.expect("24 80")
		said.expect("ready")
		term.resize(10, 50)
		said.expect("got WINCH")
		init.Process.Signal(unix.SIGUSR1)
		said.expect("got USR1")
		if status, shown := term.end(t); status != 7 {
			t.Errorf("status %d, shown %q", status, shown)
		}
	})
}

// initCheck is what PID 1 corral runs in the virtual machine (.ci/microvm -init),
// and here in a namespace: it signals PID 1 itself, having seen that this is
// corral. It ends with status 42, by a handler of TERM that takes its time.
func initCheck() {
	name, err := os.ReadFile("/proc/1/comm")
	if err != nil || string(name) != "corral\n" {
		fail("initcheck", fmt.Errorf("PID 1 is %q, %v; want corral", name, err))
	}
	total, err := strconv.Atoi(os.Args[1])
	if err == nil {
		err = makeOrphans(total)
	}
	if err != nil {
		fail("initcheck", err)
	}
	got := make(chan os.Signal, 1)
	passed := 0
	for _, sig := range initSignals() {
		if sig == unix.SIGTERM {
			continue
		}
		signal.Notify(got, sig)
		if err := unix.Kill(1, sig.(syscall.Signal)); err != nil {
			fail("initcheck", err)
		}
		select {
		case s := <-got:
			if s != sig {
				fail("initcheck", fmt.Errorf("got %v; want %v", s, sig))
			}
		case <-time.After(lifetime):
			fail("initcheck", fmt.Errorf("%v has not been passed on", sig))
		}
		passed++
	}
	fmt.Println(passed, "signals passed on")
	// One that TERM cannot end.
	deaf := exec.Command("sh", "-c", "trap '' TERM; exec 2>&-; sleep 50; :")
	ready, err := deaf.StderrPipe()
	if err == nil {
		err = deaf.Start()
	}
	if err == nil {
		_, err = io.ReadAll(ready)
	}
	if err != nil {
		fail("initcheck", err)
	}
	signal.Notify(got, unix.SIGTERM)
	unix.Kill(1, unix.SIGTERM)
	for sig := range got {
		if sig == unix.SIGTERM {
			break
		}
	}
	time.Sleep(500 * time.Millisecond)
	fmt.Println("stopped in order")
	os.Exit(42)
}

// The grace is long enough for an exit that takes half a second, also on a slow
// machine.
func TestInitCheck(t *testing.T) {
	forEachInit(t, func(t *testing.T, flags ...string) {
		p := startPID1(t, append(append([]string{"corral", "--grace", "8s"}, flags...), "initcheck", "100")...)
		status, said := p.end(t)
		if status != 42 || !strings.HasSuffix(said, "53 signals passed on\nstopped in order\n") || !strings.Contains(p.stderr.String(), "by force") {
			t.Errorf("status %d, %q, %s", status, said, p.stderr.String())
		}
	})
}

// TestInitWithoutProc: what an init cannot do without, it asks for in one line.
func TestInitWithoutProc(t *testing.T) {
	needNamespaces(t)
	none := asPID1("sh", "-c", "mount -t tmpfs none /proc && exec corral echo started")
	foreign := exec.Command("corral", "echo", "started")
	foreign.SysProcAttr = none.SysProcAttr
	// The race detector complains, too, without /proc.
	for want, cmd := range map[string]*exec.Cmd{
		"corral: /proc is not mounted, and an init needs it: mount -t proc proc /proc\n": none,
		"corral: /proc is that of another PID namespace: mount -t proc proc /proc\n":     foreign,
	} {
		if out, _ := cmd.CombinedOutput(); cmd.ProcessState.ExitCode() != 125 || !strings.HasSuffix(string(out), want) {
			t.Errorf("status %d, %q; want 125, %q", cmd.ProcessState.ExitCode(), out, want)
		}
	}
}

// TestInitLikeTini: where corral init claims to do what tini does, it does.
func TestInitLikeTini(t *testing.T) {
	needNamespaces(t)
	if _, err := exec.LookPath("tini"); err != nil {
		t.Skip("SKIPPED: ", err)
	}
	for _, tt := range []struct {
		name         string
		tini, corral []string // flags
		command      []string
		signal       syscall.Signal // when it is ready; 0: none
		status       int
	}{
		{"success", nil, nil, []string{"true"}, 0, 0},
		{"failure", nil, nil, []string{"sh", "-c", "exit 3"}, 0, 3},
		{"255", nil, nil, []string{"sh", "-c", "exit 255"}, 0, 255},
		{"not found", nil, nil, []string{"/no/such/program"}, 0, 127},
		{"not executable", nil, nil, []string{"/dev/null"}, 0, 126},
		{"killed", nil, nil, []string{"sh", "-c", "kill -9 $$"}, 0, 137},
		{"quit", nil, nil, []string{"sh", "-c", "ulimit -c 0; kill -3 $$"}, 0, 131},
		{"-e", []string{"-e", "143", "-e", "3"}, []string{"--exit-zero-on", "143,3"}, []string{"sh", "-c", "kill $$"}, 0, 0},
		{"TERM", nil, nil, []string{"sh", "-c", "trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done"}, unix.SIGTERM, 4},
		{"TERM, no handler", nil, nil, []string{"sh", "-c", "echo ready; exec sleep 50"}, unix.SIGTERM, 143},
		{"HUP", nil, nil, []string{"sh", "-c", "trap 'exit 5' HUP; echo ready; while :; do sleep 0.1; done"}, unix.SIGHUP, 5},
		{"USR1, to the group or all", []string{"-g"}, []string{"--all"}, []string{"sh", "-c", "trap 'wait; exit 6' USR1; sh -c \"trap 'exit' USR1; echo ready; while :; do sleep 0.1; done\" & wait"}, unix.SIGUSR1, 6},
		{"a real-time signal", nil, nil, []string{"sh", "-c", "echo ready; exec sleep 50"}, 40, 168},
		{"-w", []string{"-w"}, []string{"--quiet"}, []string{"sh", "-c", "kill $$"}, 0, 143},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, args := range [][]string{append([]string{"tini"}, tt.tini...), append([]string{"corral", "init"}, tt.corral...)} {
				p := startPID1(t, slices.Concat(args, []string{"--"}, tt.command)...)
				if tt.signal != 0 {
					p.expect(t, "ready")
					p.send(t, tt.signal)
				}
				if status, said := p.end(t); status != tt.status {
					t.Errorf("%v: status %d, %q, %s; want %d", args, status, said, p.stderr.String(), tt.status)
				}
			}
		})
	}
}

// TestInitUnlikeTini: what the command has started has time to stop, too.
func TestInitUnlikeTini(t *testing.T) {
	needNamespaces(t)
	for tool, want := range map[string]string{"tini": "", "corral": "stopping\nstopped\n"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Log("SKIPPED: ", err)
			continue
		}
		p := startPID1(t, tool, "--", "sh", "-c", "trap 'exit 4' TERM; slow 300ms & wait; wait")
		p.expect(t, "ready")
		p.send(t, unix.SIGTERM)
		if status, said := p.end(t); status != 4 || said != want {
			t.Errorf("%s: status %d, %q; want 4, %q", tool, status, said, want)
		}
	}
}
