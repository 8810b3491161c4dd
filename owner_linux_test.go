package corral_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/threads"
)

// What these tests are about is the program that asks for a run: how it dies,
// what becomes of its threads and of its helpers, and what it is itself a part
// of. It is a process of its own, in the role "program".

const programRole = "program"

func init() {
	escape.Register(programRole, runProgram)
	// The main goroutine stays on the main thread only if it is locked to it now.
	if len(os.Args) > 5 && os.Args[1] == "escape:"+programRole && strings.Contains(os.Args[5], `"Thread":"main"`) {
		runtime.LockOSThread()
	}
}

// program is what an owner does: it starts its command, as many times as Runs
// says, and goes on with one of thens.
type program struct {
	Containment corral.Containment
	Argv        []string
	Runs        int    // 0 is 1
	Then        string // "" is to wait
	Timeout     time.Duration
	Grace       time.Duration // 0 is grace
	// Thread is whose end the run has to outlive: "own", a thread that has called
	// Start, or "main", where the main goroutine has.
	Thread      string
	DeathSignal bool // ask for one in SysProcAttr
	Setsid      bool // likewise
	Detach      bool // by DetachLeftovers
	// Keep are patterns of programs to keep. The owner says when it has asked.
	Keep        []string
	AllowDetach bool
	// Release: after a byte of the standard input, let go of the processes, and say
	// with which Reports.
	Release bool
	// Urgent: the owner is, and not what it starts.
	Urgent bool
	Log    bool // what Corral logs goes to the standard output

	cancel context.CancelFunc
	cmds   []*corral.Cmd
}

// thens are called when all runs have been started. Those that wait do so for
// the end of the standard input.
var thens = map[string]func(*program){
	"":        func(*program) {},
	"exit":    func(*program) { cue(); os.Exit(0) },
	"panic":   func(*program) { cue(); panic("as it happens") },
	"exec":    func(*program) { cue(); execSleep() },
	"stop":    func(p *program) { cue(); p.cmds[0].Stop(context.Background()) },
	"context": func(p *program) { cue(); p.cancel() },
}

func cue() { io.Copy(io.Discard, os.Stdin) }

func execSleep() {
	path, err := exec.LookPath("sleep")
	if err == nil {
		err = syscall.Exec(path, []string{"sleep", fmt.Sprint(escape.Lifetime.Seconds())}, os.Environ())
	}
	panic(err)
}

func runProgram(args []string) {
	p := new(program)
	if err := json.Unmarshal([]byte(args[0]), p); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	if p.Urgent {
		beUrgent()
	}
	for range max(1, p.Runs) {
		cmd := corral.CommandContext(ctx, p.Argv[0], p.Argv[1:]...)
		cmd.Containment, cmd.Require = p.Containment, p.Containment
		cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: cmp.Or(p.Grace, grace)}}
		cmd.Timeout = p.Timeout
		cmd.ExtraFiles = escape.Inherited()
		cmd.Stderr = os.Stderr
		if p.Log {
			cmd.Logger = slog.New(slog.NewTextHandler(os.Stdout, nil))
		}
		if p.DeathSignal {
			cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		}
		if p.Setsid {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
		}
		if p.Detach {
			cmd.Leftovers = corral.DetachLeftovers
		}
		if cmd.AllowDetach = p.AllowDetach; p.Keep != nil {
			cmd.Keep, cmd.Logger = keepPrograms(p.Keep), slog.New(tellsOf{slog.DiscardHandler, "corral: kept"})
		}
		p.cmds = append(p.cmds, cmd)
	}
	fmt.Println("starting")
	switch p.Thread {
	case "own":
		p.startOnMortalThread()
	case "main":
		if unix.Gettid() != os.Getpid() {
			panic("not on the main thread")
		}
		p.start()
		go p.end()
		runtime.Goexit()
	default:
		p.start()
	}
	p.end()
}

// beUrgent makes all of this process's threads urgent, and nothing that it starts.
func beUrgent() {
	const enough = 8 // one that starts later is a fork, too
	before := runtime.GOMAXPROCS(enough)
	threads.Reserve(enough)
	runtime.GOMAXPROCS(before)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		panic(err)
	}
	for _, task := range tasks {
		if tid, err := strconv.Atoi(task.Name()); err == nil {
			escape.Urgent(tid, true)
		}
	}
}

func (p *program) start() {
	var starting sync.WaitGroup
	for _, cmd := range p.cmds[1:] {
		starting.Go(func() { start(cmd) })
	}
	start(p.cmds[0]) // this thread does
	starting.Wait()
	fmt.Println("started")
}

func start(cmd *corral.Cmd) {
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "owner:", err)
		os.Exit(1)
	}
}

// startOnMortalThread returns when the thread that has called Start is gone.
func (p *program) startOnMortalThread() {
	threads := make(chan string)
	var begin func()
	begin = func() {
		runtime.LockOSThread() // for good, so the thread ends with the goroutine
		if unix.Gettid() == os.Getpid() {
			go begin()
			select {} // the main thread would not end
		}
		p.start()
		threads <- fmt.Sprintf("/proc/self/task/%d", unix.Gettid())
	}
	go begin()
	for thread := <-threads; ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat(thread); errors.Is(err, os.ErrNotExist) {
			return
		}
	}
}

// result is what an owner that lives so long says of its first run.
type result struct {
	Err    string
	Report *corral.Report
}

func (p *program) end() {
	if p.Release {
		os.Stdin.Read(make([]byte, 1))
		for _, cmd := range p.cmds {
			cmd.Process.Release()
		}
		for _, cmd := range p.cmds {
			for cmd.Report() == nil {
				time.Sleep(time.Millisecond)
			}
			json.NewEncoder(os.Stdout).Encode(result{Report: cmd.Report()})
		}
	}
	thens[p.Then](p)
	var r result
	for _, cmd := range slices.Backward(p.cmds) {
		err := cmd.Wait()
		r = result{fmt.Sprint(err), cmd.Report()}
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		panic(err)
	}
	syscall.Exit(0)
}

// argv is the command line of an owner which does p.
func (p program) argv() []string {
	spec, err := json.Marshal(p)
	if err != nil {
		panic(err)
	}
	path, args := escape.Command(programRole, string(spec))
	return append([]string{path}, args...)
}

// running is an owner, seen from the test.
type running struct {
	*testing.T
	*exec.Cmd
	id     proctree.ID
	stdin  io.WriteCloser
	stdout *bufio.Reader
	waited sync.Once
}

// startOwner starts an owner which does p with the command of probe, unless p
// has one. It is in a process group of its own, and in the control group nest if
// that is not nil.
func startOwner(t *testing.T, nest *cgroup.Dir, probe *escape.Probe, p program) *running {
	t.Helper()
	path, args, files := probe.Command()
	if p.Argv == nil {
		p.Argv = append([]string{path}, args...)
	}
	argv := p.argv()
	stderr := os.Stderr
	if p.Then == "panic" {
		stderr = nil // its trace is nothing to look at
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	if nest != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, nest.FD()
	}
	return launchOwner(t, argv, attr, files, stderr, probe)
}

// launchOwner starts an owner with the command line, and the files of probe.
func launchOwner(t *testing.T, argv []string, attr *syscall.SysProcAttr, files []*os.File, stderr *os.File, probe *escape.Probe) *running {
	t.Helper()
	o := &running{T: t, Cmd: exec.Command(argv[0], argv[1:]...)}
	o.ExtraFiles, o.SysProcAttr = files, attr
	if stderr != nil {
		o.Stderr = stderr
	}
	o.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // else os.Exit takes a second
	var err error
	if o.stdin, err = o.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := o.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	o.stdout = bufio.NewReader(stdout)
	if err := o.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.kill)
	probe.Started()
	if o.id, err = proctree.Identify(o.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return o
}

// kill kills the owner, if it is there still, and reaps it.
func (o *running) kill() {
	o.Process.Kill()
	o.wait()
}

// killed is to be called where the owner has been killed, to see that nothing
// else had ended it before.
func (o *running) killed() {
	o.Helper()
	o.wait()
	if status := o.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		o.Errorf("the owner has not been killed: %v", o.ProcessState)
	}
}

func (o *running) wait() { o.waited.Do(func() { o.Cmd.Wait() }) }

// comesTo returns when the owner has printed the line.
func (o *running) comesTo(line string) {
	o.Helper()
	o.prints(line, func(got string) bool { return got == line+"\n" })
}

// mentions returns when the owner has printed a line with the text in it.
func (o *running) mentions(text string) {
	o.Helper()
	o.prints(text, func(got string) bool { return strings.Contains(got, text) })
}

func (o *running) prints(what string, meant func(line string) bool) {
	o.Helper()
	for {
		line, err := o.stdout.ReadString('\n')
		if err != nil {
			o.Fatalf("the owner ends before it says %q: %v", what, err)
		}
		if meant(line) {
			return
		}
	}
}

// cue lets the owner go on.
func (o *running) cue() { o.stdin.Close() }

// result waits for the owner's end, and returns what it has said.
func (o *running) result() (r result) {
	o.Helper()
	rest, err := io.ReadAll(o.stdout)
	lines := strings.Split(strings.TrimSpace(string(rest)), "\n")
	if err == nil {
		err = json.Unmarshal([]byte(lines[len(lines)-1]), &r)
	}
	if err != nil {
		o.Fatalf("no result of the owner: %q, %v", rest, err)
	}
	o.wait()
	return r
}

// helper waits until the owner has a child that is one of Corral's helpers, and
// returns it. It is not one of old.
func (o *running) helper(role string, old ...proctree.ID) proctree.ID {
	o.Helper()
	return o.below(func(row proctree.Process) bool {
		return row.PPID == o.id.PID && row.State != proctree.Zombie && len(row.Args) > 0 && row.Args[0] == role &&
			!slices.Contains(old, row.ID)
	})
}

// below waits until there is a descendant of the owner that is the right one.
func (o *running) below(right func(proctree.Process) bool) (found proctree.ID) {
	o.Helper()
	eventually(o.T, "there is no such process below the owner", func() bool {
		table, err := proctree.Snapshot()
		if err != nil {
			o.Fatal(err)
		}
		rows := proctree.Descendants(table, o.id.PID)
		i := slices.IndexFunc(rows, right)
		if i >= 0 {
			found = rows[i].ID
		}
		return i >= 0
	})
	return found
}

// send signals a process that the test or an owner of its has started. SIGSTOP
// has had its effect when it returns, and SIGKILL too.
func send(t *testing.T, id proctree.ID, sig syscall.Signal) {
	t.Helper()
	h, err := proctree.Open(id)
	if err == nil {
		defer h.Close()
		err = h.Signal(sig)
	}
	if err == nil && sig == syscall.SIGKILL {
		err = h.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	if sig == syscall.SIGSTOP {
		eventually(t, fmt.Sprintf("%v does not stop", id), func() bool {
			row, err := proctree.Lookup(id.PID)
			return err == nil && row.ID == id && row.State == proctree.Stopped
		})
	}
}

// newNest returns a control group for an owner, so that the test sees what it
// leaves, helpers included, and nobody else's guard does: the test fails if
// there is a process in it after its end, or a directory of Corral's. It is nil
// if there cannot be one.
//
// An owner that is killed before it has a guard that is up, or ends before it
// has replaced one, leaves an empty directory with no lock on it, for the next
// owner to remove. mayBegin says that one may be.
func newNest(t *testing.T, mayBegin bool) *cgroup.Dir {
	t.Helper()
	own, err := cgroup.Own()
	if err != nil {
		return nil
	}
	path := filepath.Join(own, fmt.Sprintf("test-%d-%d-%d", os.Getpid(), time.Now().UnixNano(), nests.Add(1)))
	nest, err := cgroup.Create(path)
	if err != nil {
		return nil
	}
	t.Cleanup(func() {
		defer nest.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := nest.AwaitEmpty(ctx); err != nil {
			left, _ := nest.Members()
			t.Errorf("left in the owner's control group: %+v", left)
			nest.Kill()
		} else {
			dirs, err := filepath.Glob(filepath.Join(path, "*", ""))
			for _, dir := range dirs {
				home, err := cgroup.Open(dir)
				if err != nil {
					continue // a file
				}
				if locked, err := home.Lock(); !mayBegin || !locked || err != nil {
					t.Errorf("left: %s (not locked: %v, %v)", dir, locked, err)
				}
				home.Close()
			}
			if err != nil {
				t.Error(err)
			}
		}
		if err := nest.Remove(); err != nil {
			t.Error(err)
		}
	})
	return nest
}

var nests atomic.Int64

// strong are the containments that hold what the owner's death leaves.
var strong = []corral.Containment{corral.Cgroup, corral.Keeper, corral.PIDNS}

func forEach(t *testing.T, containments []corral.Containment, test func(*testing.T, corral.Containment)) {
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			test(t, cont)
		})
	}
}

// stubborn is a child that leaves its session and its parent, and ignores
// SIGTERM.
var stubborn = escape.Tree(escape.Node{Session: true, Orphan: true, Ignore: true})

// child returns the child of that name.
func child(name string) escape.Child {
	all := escape.All()
	return all[slices.IndexFunc(all, func(c escape.Child) bool { return c.Name == name })]
}

func TestOwnerDeath(t *testing.T) {
	for _, tt := range []struct {
		name, then string
		kill       func(*running)
	}{
		{"exits", "exit", (*running).cue},
		{"panics", "panic", (*running).cue},
		// It lives, as another program which knows nothing of the run.
		{"executes another program", "exec", (*running).cue},
		{"SIGKILL", "", (*running).kill},
		{"SIGKILL to its process group", "", func(o *running) {
			// Nobody but the owner and those it has started can be in it.
			if err := syscall.Kill(-o.id.PID, syscall.SIGKILL); err != nil {
				o.Error(err)
			}
		}},
		{"SIGSTOP then SIGKILL", "", func(o *running) {
			send(o.T, o.id, syscall.SIGSTOP)
			o.kill()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			forEach(t, strong, func(t *testing.T, cont corral.Containment) {
				nest := newNest(t, false)
				probe := escape.NewProbe(t, stubborn)
				o := startOwner(t, nest, probe, program{Containment: cont, Then: tt.then})
				probe.Ready(t.Context())
				tt.kill(o)
				gone(t, probe, nil)
			})
		})
	}
}

// TestThreadEnds: the kernel takes the end of the thread that has started a
// process for the end of its parent, where a parent-death signal is concerned
// (golang/go#27505). The run has to live on.
func TestThreadEnds(t *testing.T) {
	for _, thread := range []string{"own", "main"} {
		for _, signal := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s,signal=%v", thread, signal), func(t *testing.T) {
				forEach(t, append(strong, corral.Group), func(t *testing.T, cont corral.Containment) {
					nest := newNest(t, false)
					probe := escape.NewProbe(t, child("plain"))
					o := startOwner(t, nest, probe, program{Containment: cont, Thread: thread, DeathSignal: signal})
					o.comesTo("started")
					probe.Ready(t.Context())
					probe.Release()
					r := o.result()
					if r.Err != "<nil>" || r.Report.ExitCode != 0 || r.Report.Signal != "" || r.Report.Ending != corral.Exited {
						t.Errorf("Wait: %s, %+v", r.Err, r.Report)
					}
					gone(t, probe, nil)
				})
			})
		}
	}
}

// TestOwnerDeathSweep: there is no moment at which the owner's death leaves
// anything, from before the run is started to when it is complete. Each
// millisecond is tried in one of the containments; in all of them if there is
// time for a long -soak.
func TestOwnerDeathSweep(t *testing.T) {
	const moments = 200 // of a millisecond
	step := len(strong)
	switch {
	case testing.Short():
		step = 30
	case *soak > 100:
		step = 1
	}
	forEach(t, strong, func(t *testing.T, cont corral.Containment) {
		first := slices.Index(strong, cont) * step / len(strong)
		nest := newNest(t, true)
		next := make(chan time.Duration)
		go func() {
			defer close(next)
			for i := first; i < moments; i += step {
				next <- time.Duration(i) * time.Millisecond
			}
		}()
		var workers sync.WaitGroup
		defer workers.Wait()
		for range 4 {
			workers.Go(func() {
				for after := range next {
					t.Run(after.String(), func(t *testing.T) {
						probe := escape.NewProbe(t, child("daemon"))
						o := startOwner(t, nest, probe, program{Containment: cont})
						o.comesTo("starting")
						probe.Interrupt()
						time.Sleep(after) // this is the trial, not how it is judged
						o.kill()
						o.killed()
						gone(t, probe, nil)
					})
				}
			})
		}
	})
}

// TestGuardKilled: the runs do not notice, and another guard takes over.
func TestGuardKilled(t *testing.T) {
	need(t, corral.Cgroup)
	for _, end := range []string{"owner is killed", "command ends"} {
		t.Run(end, func(t *testing.T) {
			nest := newNest(t, false)
			probe := escape.NewProbe(t, stubborn)
			o := startOwner(t, nest, probe, program{Containment: corral.Cgroup})
			members := probe.Ready(t.Context())
			var guards []proctree.ID
			for range 3 {
				guards = append(guards, o.helper("corral-guard", guards...))
				send(t, guards[len(guards)-1], syscall.SIGKILL)
			}
			o.helper("corral-guard", guards...)
			if alive := probe.Survivors(); len(alive) != len(members) {
				t.Errorf("of %v are alive: %v", members, alive)
			}
			if end == "owner is killed" {
				o.kill()
			} else {
				probe.Release()
				if r := o.result(); r.Err != "<nil>" || len(r.Report.Leftovers) != 1 {
					t.Errorf("Wait: %s, %+v", r.Err, r.Report)
				}
			}
			gone(t, probe, nil)
		})
	}
}

// TestKeeperKilled: whoever is known to be a member is killed, and Wait says
// that there may be others.
func TestKeeperKilled(t *testing.T) {
	for _, tt := range []struct {
		child    escape.Child
		look     bool // the owner has looked at the members
		survivor []string
	}{
		{child("plain"), true, nil},
		{child("setsid"), true, nil},
		{stubborn, true, nil},
		{escape.Tree(escape.Node{Session: true, Ignore: true, Below: []escape.Node{{Session: true}, {Stopped: true}}}), true, nil},
		// What has lost its parent has nothing left that ties it to the run, unless
		// it has been seen. (What has not loses it now, as the leader dies with the
		// keeper: whether the owner gets to see it before that is a race.)
		{stubborn, false, []string{"node"}},
	} {
		t.Run(fmt.Sprintf("%s,%s,look=%v", tt.child.Name, tt.survivor, tt.look), func(t *testing.T) {
			forEach(t, []corral.Containment{corral.Keeper, corral.PIDNS}, func(t *testing.T, cont corral.Containment) {
				if cont == corral.PIDNS {
					tt.survivor = nil // the keeper is their init
				}
				escape.StartBystander(t)
				probe := escape.NewProbe(t, tt.child)
				cmd := newRun(t, cont, probe)
				probe.Ready(t.Context())
				if tt.look {
					if _, err := cmd.Members(); err != nil {
						t.Error(err)
					}
				}
				send(t, parentOf(t, cmd.Process.Pid), syscall.SIGKILL)
				if err := cmd.Wait(); !isExit(err, -1) || !cmd.Report().KeeperLost {
					t.Errorf("Wait: %v", err)
				}
				gone(t, probe, tt.survivor)
			})
		})
	}
}

// parentOf is the keeper, if pid is the leader's.
func parentOf(t *testing.T, pid int) proctree.ID {
	t.Helper()
	row, err := proctree.Lookup(pid)
	if err != nil {
		t.Fatal(err)
	}
	parent, err := proctree.Lookup(row.PPID)
	if err != nil {
		t.Fatal(err)
	}
	if len(parent.Args) == 0 || parent.Args[0] != "corral-keeper" {
		t.Fatalf("the leader's parent is no keeper: %+v", parent)
	}
	return parent.ID
}

// TestOwnerAndHelperKilled: nobody is left to do anything. It is as if the
// keeper or guard had been killed first, as the owner is stopped.
func TestOwnerAndHelperKilled(t *testing.T) {
	for _, tt := range []struct {
		cont      corral.Containment
		child     escape.Child
		survivors []string
	}{
		{corral.Cgroup, child("setsid"), []string{"leader", "session"}},
		{corral.Cgroup, stubborn, []string{"leader", "node"}},
		// The leader has a parent-death signal, and nobody else.
		{corral.Keeper, child("plain"), []string{"child"}},
		{corral.Keeper, child("setsid"), []string{"session"}},
		{corral.Keeper, stubborn, []string{"node"}},
		{corral.Keeper, child("no-pdeathsig"), []string{"leader", "undying"}},
		{corral.PIDNS, child("no-pdeathsig"), nil},
		{corral.PIDNS, stubborn, nil},
	} {
		t.Run(fmt.Sprintf("%s/%s", tt.cont, tt.child.Name), func(t *testing.T) {
			need(t, tt.cont)
			var nest *cgroup.Dir
			role := "corral-keeper"
			if tt.cont == corral.Cgroup {
				role, nest = "corral-guard", newNest(t, false)
			}
			probe := escape.NewProbe(t, tt.child)
			o := startOwner(t, nest, probe, program{Containment: tt.cont})
			probe.Ready(t.Context())
			helper := o.helper(role)
			send(t, o.id, syscall.SIGSTOP)
			send(t, helper, syscall.SIGKILL)
			o.kill()
			gone(t, probe, tt.survivors)
			if tt.cont != corral.Cgroup {
				return
			}
			// The next owner there sees to it.
			next := escape.NewProbe(t, child("plain"))
			o = startOwner(t, nest, next, program{Containment: tt.cont})
			next.Ready(t.Context())
			gone(t, probe, nil)
			next.Release()
			if r := o.result(); r.Err != "<nil>" {
				t.Errorf("Wait: %s", r.Err)
			}
			gone(t, next, nil)
		})
	}
}

// TestLeaderKillsParent: that is the owner itself, or the keeper.
func TestLeaderKillsParent(t *testing.T) {
	forEach(t, strong, func(t *testing.T, cont corral.Containment) {
		nest := newNest(t, false)
		probe := escape.NewProbe(t, escape.KillOwner())
		o := startOwner(t, nest, probe, program{Containment: cont, Then: "stop"})
		o.comesTo("started")
		probe.Ready(t.Context())
		role := ""
		if cont == corral.Keeper {
			role = "corral-keeper"
		}
		keeper := holdHelper(o, role)
		probe.Release()
		switch cont {
		case corral.Cgroup:
			o.killed()
		case corral.Keeper:
			await(t, keeper) // the stop would have the keeper kill the leader first
			o.cue()
			if r := o.result(); !r.Report.KeeperLost {
				t.Errorf("Wait: %s", r.Err)
			}
			// See TestKeeperKilled for the child.
			for _, m := range probe.Survivors() {
				if m.Role != "child" {
					t.Errorf("%v survives", m)
				}
			}
			return
		case corral.PIDNS:
			// An init is immune to those in its namespace.
			o.cue()
			if r := o.result(); r.Report.KeeperLost || r.Report.Ending != corral.Stopped {
				t.Errorf("Wait: %s, %+v", r.Err, r.Report)
			}
		}
		gone(t, probe, nil)
	})
}

// TestNested: an owner is itself the command of a run.
func TestNested(t *testing.T) {
	for _, tt := range []struct {
		name, then string
		end        func(outer *running, inner proctree.ID, probe *escape.Probe)
		check      func(*testing.T, result)
	}{
		{"command ends", "", func(_ *running, _ proctree.ID, probe *escape.Probe) { probe.Release() }, func(t *testing.T, r result) {
			if r.Err != "<nil>" || len(r.Report.Leftovers) > 0 || r.Report.Forced {
				t.Errorf("Wait: %s, %+v", r.Err, r.Report)
			}
		}},
		{"outer is stopped", "stop", func(outer *running, _ proctree.ID, _ *escape.Probe) { outer.cue() }, func(t *testing.T, r result) {
			if r.Report.Ending != corral.Stopped || len(r.Report.Survivors()) > 0 {
				t.Errorf("Wait: %s, %+v", r.Err, r.Report)
			}
		}},
		{"outer owner is killed", "", func(outer *running, _ proctree.ID, _ *escape.Probe) { outer.kill() }, nil},
		{"inner owner is killed", "", func(outer *running, inner proctree.ID, _ *escape.Probe) { send(outer.T, inner, syscall.SIGKILL) }, func(t *testing.T, r result) {
			if r.Report.Signal != "SIGKILL" || r.Report.Ending != corral.Exited || len(r.Report.Survivors()) > 0 {
				t.Errorf("Wait: %s, %+v", r.Err, r.Report)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			levels := []corral.Containment{corral.Cgroup, corral.Keeper}
			forEach(t, levels, func(t *testing.T, outerCont corral.Containment) {
				forEach(t, levels, func(t *testing.T, innerCont corral.Containment) {
					// The stop reaches the inner guard as well, maybe before it
					// ignores it. Where it is to clean up, it has to be up.
					nest := newNest(t, tt.then == "stop")
					probe := escape.NewProbe(t, child("setsid"))
					path, args, _ := probe.Command()
					// The inner guard needs time of the outer grace to clean up.
					inner := program{Containment: innerCont, Argv: append([]string{path}, args...), Grace: grace / 6}
					outerGrace := grace
					if tt.name == "command ends" {
						outerGrace = time.Minute // the inner helper ends by itself, and no kill is to come before
					}
					outer := startOwner(t, nest, probe, program{Containment: outerCont, Argv: inner.argv(), Then: tt.then, Grace: outerGrace})
					outer.comesTo("started")
					probe.Ready(t.Context())
					if innerCont == corral.Cgroup && tt.then != "stop" {
						outer.below(func(row proctree.Process) bool { return row.Name == "corral-guard" && row.PPID != outer.id.PID })
					}
					tt.end(outer, outer.below(func(row proctree.Process) bool {
						return len(row.Args) > 1 && row.Args[1] == "escape:"+programRole
					}), probe)
					if tt.check != nil {
						tt.check(t, outer.result())
					}
					gone(t, probe, nil)
				})
			})
		})
	}
}

// TestManyRuns: an owner's death ends all its runs, however many there are.
func TestManyRuns(t *testing.T) {
	runs := 100
	if testing.Short() {
		runs = 10
	}
	forEach(t, strong, func(t *testing.T, cont corral.Containment) {
		nest := newNest(t, false)
		all := child("setsid")
		all.Members *= runs
		probe := escape.NewProbe(t, all)
		o := startOwner(t, nest, probe, program{Containment: cont, Runs: runs})
		probe.Ready(t.Context())
		o.kill()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := probe.Gone(ctx); err != nil {
			t.Error(err)
		}
	})
}
