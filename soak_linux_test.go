package corral_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/poor"
)

var (
	soak       = flag.Int("soak", 20, "how many random trials TestSoak makes")
	seed       = flag.Uint64("seed", 0, "what the trials of TestSoak are made from; 0 is a new one")
	trialNo    = flag.Int("trial", -1, "the only trial that TestSoak makes; -1 is all")
	stormy     = flag.Bool("storm", false, "TestForkStorm starts so many processes that no other test can run meanwhile")
	corralPath = flag.String("corral", "", "the command corral, for TestSoak; empty to build it")
)

// trial is a random child that meets a random end in a random containment, on a
// machine that may be poor.
type trial struct {
	cont     corral.Containment
	child    escape.Child
	script   string // of sh, on a poor machine: in place of the child
	scenario scenario
	command  bool // the owner is the command corral
	machine  poor.Machine
	// early is how long after the start the end comes, if it does not come when the
	// child is complete. Of a run in the library it is the run's start, of the
	// command its own.
	early time.Duration
}

func (t trial) owner() string {
	if t.command {
		return "command"
	}
	return "library"
}

func (t trial) String() string {
	when := "when ready"
	if t.early > 0 {
		when = "after " + t.early.String()
	}
	what := t.child.Name + " " + t.child.Doc
	if t.script != "" {
		what = strconv.Quote(t.script)
	}
	return fmt.Sprintf("%s, %s %s, %s: %s, %q %d", t.cont, t.scenario.name, when, t.owner(), what, t.machine.Kind, t.machine.Number)
}

// scenario is how a run comes to its end.
type scenario struct {
	name, then string
	end        func(*running, *escape.Probe)
	only       corral.Containment // the one in which nobody is to survive; "" is all
	timeout    bool
	killed     bool           // the owner is, so it has nothing to say
	command    syscall.Signal // what the command corral gets for it; 0 if it cannot be
}

var scenarios = []scenario{
	{name: "ends", end: func(_ *running, p *escape.Probe) { p.Release() }},
	{name: "stop", then: "stop", end: func(o *running, _ *escape.Probe) { o.cue() }, command: syscall.SIGTERM},
	{name: "context", then: "context", end: func(o *running, _ *escape.Probe) { o.cue() }},
	{name: "timeout", timeout: true, command: syscall.SIGALRM},
	{name: "owner exits", then: "exit", end: func(o *running, _ *escape.Probe) { o.cue() }, killed: true},
	{name: "owner killed", end: func(o *running, _ *escape.Probe) { o.kill() }, killed: true, command: syscall.SIGKILL},
	{name: "owner killed", end: func(o *running, _ *escape.Probe) { o.kill() }, killed: true, command: syscall.SIGKILL}, // the most important one
	{name: "guard killed", then: "stop", only: corral.Cgroup, end: func(o *running, _ *escape.Probe) {
		o.comesTo("started") // before, it is not for the run
		send(o.T, o.helper("corral-guard"), syscall.SIGKILL)
		o.cue()
	}},
	{name: "guard replaced, owner killed", only: corral.Cgroup, killed: true, end: func(o *running, _ *escape.Probe) {
		o.comesTo("started")
		guard := o.helper("corral-guard")
		send(o.T, guard, syscall.SIGKILL)
		o.helper("corral-guard", guard)
		o.kill()
	}},
	{name: "keeper killed", only: corral.PIDNS, end: func(o *running, _ *escape.Probe) {
		o.comesTo("started")
		send(o.T, o.helper("corral-keeper"), syscall.SIGKILL)
	}},
	{name: "owner and keeper killed", only: corral.PIDNS, killed: true, end: func(o *running, _ *escape.Probe) {
		o.comesTo("started")
		keeper := o.helper("corral-keeper")
		send(o.T, o.id, syscall.SIGSTOP)
		send(o.T, keeper, syscall.SIGKILL)
		o.kill()
	}},
}

// scripts are the children on a poor machine, which has no room for many programs
// of Go's, and where those of the package escape cannot tell of themselves.
// They wait for their release on descriptor 5.
var scripts = []string{
	"exec head -c 1 <&5",
	"sleep 55 & sleep 55 & head -c 1 <&5",
	"setsid sleep 55 & head -c 1 <&5",
	"trap '' TERM INT HUP; sleep 55 & setsid sleep 55 & head -c 1 <&5",
	`(setsid sh -c 'trap "" TERM; sleep 55 & exec sleep 55' &); head -c 1 <&5`,
	// As many as there can be.
	"i=0; while [ $i -lt 100 ]; do sleep 55 & i=$((i+1)); done; head -c 1 <&5",
	"trap '' TERM; i=0; while [ $i -lt 100 ]; do setsid sleep 55 & i=$((i+1)); done; head -c 1 <&5",
}

// newTrial returns a trial that is expected to leave nobody.
func newTrial(r *rand.Rand, containments []corral.Containment) trial {
	t := trial{cont: containments[r.IntN(len(containments))], command: r.IntN(3) == 0}
	if r.IntN(3) == 0 {
		t.machine.Kind = poor.Kinds[r.IntN(len(poor.Kinds))]
	}
	plain := t.machine.Kind != poor.Rich // what the test does to a helper is for a rich one
	for {
		t.scenario = scenarios[r.IntN(len(scenarios))]
		if (t.scenario.only == "" || t.scenario.only == t.cont && !plain) && (!t.command || t.scenario.command != 0) {
			break
		}
	}
	if r.IntN(2) == 0 || t.scenario.timeout || plain {
		t.early = time.Duration(1+r.IntN(300)) * time.Millisecond
	}
	switch t.machine.Kind {
	case poor.FewFiles:
		t.machine.Number = 4 + r.IntN(40)
	case poor.FewProcesses:
		t.machine.Number = 5 + r.IntN(60)
	}
	if plain {
		t.script = scripts[r.IntN(len(scripts))]
		return t
	}
	for all := escape.All(); ; {
		if r.IntN(3) > 0 {
			budget := 6
			t.child = escape.Tree(randomNodes(r, &budget)...)
			return t
		}
		t.child = all[r.IntN(len(all))]
		want := expected[t.cont][t.child.Name]
		held := len(want.ends)+len(want.stop)+len(want.orphans) == 0
		if (held || t.command && !t.scenario.killed) && t.child.Unavailable() == nil {
			return t
		}
	}
}

// randomNodes takes each process from the budget.
func randomNodes(r *rand.Rand, budget *int) []escape.Node {
	var nodes []escape.Node
	for *budget > 0 && r.IntN(3) > 0 {
		*budget--
		n := escape.Node{
			Session: r.IntN(2) == 0,
			Orphan:  r.IntN(2) == 0,
			Ignore:  r.IntN(3) == 0,
			Stopped: r.IntN(4) == 0,
		}
		n.Below = randomNodes(r, budget)
		nodes = append(nodes, n)
	}
	return nodes
}

// TestSoak tries what nobody has thought of. A trial depends on nothing but the
// seed and its number. It leaves nobody: either the run is stopped, or it is
// refused in words.
func TestSoak(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-soak %d -seed %d", *soak, *seed)
	var containments []corral.Containment
	forEach(t, strong, func(_ *testing.T, cont corral.Containment) { containments = append(containments, cont) })
	if len(containments) == 0 {
		t.Skip("SKIPPED: there is no containment that leaves nobody")
	}
	sums := &summary{counts: make(map[string]map[string]int)}
	defer sums.print()
	defer func() { removeCommand() }()
	next := make(chan int)
	go func() {
		defer close(next)
		if *trialNo >= 0 {
			next <- *trialNo
			return
		}
		for i := range *soak {
			next <- i
		}
	}()
	var workers sync.WaitGroup
	defer workers.Wait()
	for range 4 {
		workers.Go(func() {
			for i := range next {
				tr := newTrial(rand.New(rand.NewPCG(*seed, uint64(i))), containments)
				came := "skipped"
				passed := t.Run(strconv.Itoa(i), func(t *testing.T) { tr.run(t, &came) })
				sums.add(i, tr, came, passed)
			}
		})
	}
}

// summary counts trials.
type summary struct {
	mu     sync.Mutex
	counts map[string]map[string]int
	failed []string
}

func (s *summary) add(i int, tr trial, came string, passed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !passed {
		came = "FAILED"
		s.failed = append(s.failed, fmt.Sprintf("-seed %d -trial %d: %v", *seed, i, tr))
	}
	for what, value := range map[string]string{
		"containment": string(tr.cont), "scenario": tr.scenario.name, "owner": tr.owner(),
		"machine": cmp.Or(string(tr.machine.Kind), "rich"), "outcome": came,
	} {
		if s.counts[what] == nil {
			s.counts[what] = make(map[string]int)
		}
		s.counts[what][value]++
	}
}

// print prints the summary of a long soak.
func (s *summary) print() {
	if *soak < 100 && *trialNo < 0 {
		return
	}
	fmt.Printf("soak: %d trials as user %d, -seed %d, %d failed\n", *soak, os.Getuid(), *seed, len(s.failed))
	for _, what := range []string{"containment", "scenario", "owner", "machine", "outcome"} {
		var parts []string
		for _, value := range slices.Sorted(maps.Keys(s.counts[what])) {
			parts = append(parts, fmt.Sprintf("%s %d", value, s.counts[what][value]))
		}
		fmt.Printf("soak: %s: %s\n", what, strings.Join(parts, ", "))
	}
	for _, line := range s.failed {
		fmt.Println("soak: FAILED", line)
	}
}

// run makes the trial. came is what came of it, if it does not fail.
func (tr trial) run(t *testing.T, came *string) {
	t.Cleanup(func() { // after all others
		if t.Failed() {
			t.Logf("-seed %d: %v", *seed, tr)
		}
	})
	escape.StartBystander(t)
	nest := newNest(t, true)
	probe := escape.NewProbe(t, tr.child0())
	if tr.early > 0 {
		probe.Interrupt()
	}
	o := tr.start(t, nest, probe)
	if !tr.command && !o.says("starting") {
		*came = tr.refused(t, o, probe)
		return
	}
	switch {
	case tr.scenario.timeout:
	case tr.early > 0:
		time.Sleep(tr.early) // this is the trial, not how it is judged
		tr.end(o, probe)
	default:
		probe.Ready(t.Context())
		tr.end(o, probe)
	}
	*came = tr.judge(t, o)
	gone(t, probe, nil)
}

func (tr trial) child0() escape.Child {
	if tr.script != "" {
		return child("plain") // it is not started: see start
	}
	return tr.child
}

func (tr trial) end(o *running, probe *escape.Probe) {
	if tr.command && !tr.scenario.killed {
		o.Process.Signal(tr.scenario.command)
		return
	}
	tr.scenario.end(o, probe)
}

// soakBound is how long an owner may take for its end.
const soakBound = 30 * time.Second

// judge waits for the owner, and says what has come of it.
func (tr trial) judge(t *testing.T, o *running) string {
	t.Helper()
	switch {
	case tr.scenario.then == "exit":
		return "owner gone"
	case tr.scenario.killed:
		o.wait() // it may have been refused before
		return "owner gone"
	}
	late := time.AfterFunc(soakBound, func() {
		t.Errorf("the owner does not come to an end within %v", soakBound)
		o.Process.Kill()
	})
	defer late.Stop()
	if tr.command {
		o.wait()
		return tr.judgeCommand(t, o.ProcessState, o.said(t))
	}
	rest, _ := io.ReadAll(o.stdout)
	o.wait()
	said := o.said(t)
	lines := bytes.Split(bytes.TrimSpace(rest), []byte("\n"))
	var r result
	if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
		return tr.inWords(t, "owner: ", said, o.ProcessState)
	}
	if r.Report == nil || len(r.Report.Survivors()) > 0 {
		t.Errorf("Wait: %s, %+v", r.Err, r.Report)
	}
	return "stopped"
}

// judgeCommand: the command has a status of its own for what it could not do.
func (tr trial) judgeCommand(t *testing.T, state *os.ProcessState, said string) string {
	t.Helper()
	if state.ExitCode() == 125 || strings.Contains(said, "goroutine ") {
		return tr.inWords(t, "corral: ", said, state)
	}
	return "stopped"
}

// inWords is for an owner that has not done what it was asked to. On a poor
// machine it may be refused, and on one without threads the owner, which is the
// program of somebody else, may not come up at all.
func (tr trial) inWords(t *testing.T, prefix, said string, state *os.ProcessState) string {
	t.Helper()
	switch {
	case tr.machine.Kind == poor.Rich:
		t.Errorf("the owner fails on a rich machine: %v, %q", state, said)
	case strings.Contains(said, "newosproc") || strings.Contains(said, "pthread_create"):
		if tr.machine.Kind != poor.FewProcesses {
			t.Errorf("the owner has no threads: %v, %q", state, said)
		}
		return "owner crashed"
	case !tr.command && strings.Contains(said, "fatal error:"), !tr.command && tr.machine.Kind == poor.FewFiles && said != "":
		return "owner crashed"
	case strings.Contains(said, "goroutine "), !strings.Contains(said, prefix):
		t.Errorf("not refused in words: %v, %q", state, said)
	}
	return "refused"
}

// refused is for an owner that has not come up.
func (tr trial) refused(t *testing.T, o *running, probe *escape.Probe) string {
	t.Helper()
	o.wait()
	came := tr.inWords(t, "", o.said(t), o.ProcessState)
	gone(t, probe, nil)
	return came
}

// says reports whether the owner prints the line.
func (o *running) says(line string) bool {
	for {
		got, err := o.stdout.ReadString('\n')
		if got == line+"\n" || err != nil {
			return err == nil
		}
	}
}

// said returns what the owner has written to its standard error, which is a file.
func (o *running) said(t *testing.T) string {
	t.Helper()
	said, err := os.ReadFile(o.Stderr.(*os.File).Name())
	if err != nil {
		t.Error(err)
	}
	return string(said[:min(len(said), 1000)]) // of a trace the beginning is enough
}

const poorRole = "poor"

func init() { escape.Register(poorRole, becomePoor) }

// becomePoor executes a program on a poor machine. Its arguments are the machine
// and the program's.
func becomePoor(args []string) {
	var m poor.Machine
	err := json.Unmarshal([]byte(args[0]), &m)
	if err == nil {
		err = m.Exec(args[1:])
	}
	fmt.Fprintln(os.Stderr, "poor:", err)
	os.Exit(1)
}

// on returns the command line that runs argv on m.
func on(m poor.Machine, argv []string) []string {
	spec, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	path, args := escape.Command(poorRole, append([]string{string(spec)}, argv...)...)
	return append([]string{path}, args...)
}

// start starts the owner, on its machine.
func (tr trial) start(t *testing.T, nest *cgroup.Dir, probe *escape.Probe) *running {
	t.Helper()
	path, args, files := probe.Command()
	argv := append([]string{path}, args...)
	if tr.script != "" {
		argv = []string{"sh", "-c", tr.script}
	}
	if tr.command {
		argv = tr.commandLine(t, argv)
	} else {
		p := program{Containment: tr.cont, Then: tr.scenario.then, Argv: argv}
		if tr.scenario.timeout {
			p.Timeout = tr.early
		}
		argv = p.argv()
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	if tr.machine.Kind != poor.Rich {
		tr.impoverish(t)
		tr.machine.Attr(attr)
		argv = on(tr.machine, argv)
	}
	if nest != nil {
		attr.UseCgroupFD, attr.CgroupFD = true, nest.FD()
	}
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stderr.Close() })
	return launchOwner(t, argv, attr, files, stderr, probe)
}

// commandLine is the command corral with the run that tr is about. What its
// members write goes nowhere, so that they do not hold what the test reads.
func (tr trial) commandLine(t *testing.T, argv []string) []string {
	t.Helper()
	path, err := builtCommand()
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	line := []string{path, "--containment", string(tr.cont), "--require", string(tr.cont), "--grace", grace.String()}
	if tr.scenario.timeout {
		line = append(line, "--timeout", tr.early.String())
	}
	return slices.Concat(line, []string{"--"}, argv)
}

// builtCommand is the path of the command corral.
var builtCommand = sync.OnceValues(func() (string, error) {
	if *corralPath != "" {
		return filepath.Abs(*corralPath)
	}
	dir, err := os.MkdirTemp("", "corral-soak")
	if err != nil {
		return "", err
	}
	removeCommand = func() { os.RemoveAll(dir) }
	path := filepath.Join(dir, "corral")
	if out, err := exec.Command("go", "build", "-o", path, "./cmd/corral").CombinedOutput(); err != nil {
		return "", fmt.Errorf("no command corral (use -corral): %w, %s", err, out)
	}
	return path, nil
})

var removeCommand = func() {}

// impoverish makes what the machine needs that the owner cannot make itself.
func (tr *trial) impoverish(t *testing.T) {
	t.Helper()
	try := exec.Command("true")
	try.SysProcAttr = new(syscall.SysProcAttr)
	if tr.machine.Attr(try.SysProcAttr); try.SysProcAttr.Cloneflags != 0 {
		if err := try.Run(); errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSPC) {
			t.Skip("SKIPPED: there is no such machine here: ", err)
		}
	}
	if tr.machine.Kind != poor.FewProcesses || os.Geteuid() != 0 {
		return
	}
	parent, err := poor.GroupParent()
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	remove, err := tr.machine.NewGroup(parent)
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	t.Cleanup(func() {
		if err := remove(); err != nil {
			t.Error(err)
		}
	})
}

// TestPoor: a machine is poor in the way that it says.
func TestPoor(t *testing.T) {
	for _, kind := range poor.Kinds {
		t.Run(string(kind), func(t *testing.T) {
			tr := trial{machine: poor.Machine{Kind: kind, Number: 15}}
			tr.impoverish(t)
			path, args := escape.Command(answersRole, string(kind))
			argv := append([]string{path}, args...)
			if poorScripts[kind] != "" {
				argv = []string{"/bin/sh", "-c", poorScripts[kind]}
			}
			argv = on(tr.machine, argv)
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.SysProcAttr = new(syscall.SysProcAttr)
			tr.machine.Attr(cmd.SysProcAttr)
			out, err := cmd.CombinedOutput()
			if bytes.HasPrefix(out, []byte("poor: ")) || errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EINVAL) {
				t.Skipf("SKIPPED: %v %s", err, out)
			}
			if got := strings.TrimSpace(string(out)); !strings.HasSuffix(got, "poor") {
				t.Errorf("%v, %s", err, got)
			}
		})
	}
}

// poorScripts print "poor" at the end where they are.
var poorScripts = map[poor.Kind]string{
	poor.FewFiles:     `[ "$(ulimit -n)$(ulimit -Hn)" = 1515 ] && echo poor`,
	poor.FewProcesses: `(i=0; while [ $i -lt 30 ]; do sleep 1 & i=$((i+1)); done) 2>/dev/null || echo poor`,
	poor.NoProc:       `[ -e /proc/self ] || echo poor`,
	poor.ForeignProc:  `[ -e /proc/uptime ] && ! [ -e /proc/self ] && echo poor`,
	poor.FullDisk:     `(echo x >"$TMPDIR/x" && echo x >x) 2>/dev/null || echo poor`,
}

const answersRole = "poor-answers"

func init() {
	escape.Register(answersRole, func(args []string) {
		_, pidfd := unix.PidfdOpen(os.Getpid(), 0)
		_, _, clone3 := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
		prctl := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		waitid := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOHANG, nil)
		_, ppoll := unix.Ppoll(nil, new(unix.Timespec), nil)
		if map[poor.Kind]bool{
			poor.NoSubreaper: prctl == unix.EPERM, poor.NoClone3: clone3 == unix.ENOSYS,
			poor.NoPidfds: pidfd == unix.ENOSYS && clone3 == unix.ENOSYS,
			poor.NoWaitid: waitid == unix.EPERM, poor.NoPoll: ppoll == unix.EPERM,
		}[poor.Kind(args[0])] {
			fmt.Println("poor")
		}
		fmt.Fprintln(os.Stdout)
	})
}

// TestPoorMachines: each kind of poverty under each containment, at both ends. The
// child is one that takes all processes that there are.
func TestPoorMachines(t *testing.T) {
	numbers := map[poor.Kind][]int{poor.FewFiles: {5, 8, 12, 20}, poor.FewProcesses: {12, 25, 50}}
	forEach(t, strong, func(t *testing.T, cont corral.Containment) {
		for _, kind := range poor.Kinds {
			for _, number := range append([]int{0}, numbers[kind]...)[min(1, len(numbers[kind])):] {
				for _, end := range []string{"stop", "owner killed"} {
					for _, command := range []bool{false, true} {
						if testing.Short() && (command != (end == "stop")) {
							continue
						}
						i := slices.IndexFunc(scenarios, func(s scenario) bool { return s.name == end })
						tr := trial{
							cont: cont, script: scripts[len(scripts)-1], scenario: scenarios[i], command: command,
							machine: poor.Machine{Kind: kind, Number: number}, early: 300 * time.Millisecond,
						}
						t.Run(fmt.Sprintf("%s,%d,%s,%s", kind, number, end, tr.owner()), func(t *testing.T) {
							came := ""
							tr.run(t, &came)
							t.Log(came)
						})
					}
				}
			}
		}
	})
	removeCommand()
}
