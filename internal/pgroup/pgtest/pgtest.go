//go:build linux || darwin || freebsd

// Package pgtest starts process trees of a given shape for the tests of process
// groups. Each process of a tree is the test binary, started again.
//
// Every process of a tree holds one end of a pipe, so that end-of-file on it is
// the proof that none of them is left; and every process ends by itself after
// Lifetime.
package pgtest

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/leak"
	"github.com/corral-run/corral/internal/proctree"
)

// Lifetime is how long a process of a tree lives if nobody ends it.
const Lifetime = 60 * time.Second

// patience is how long a test waits for what should happen at once.
const patience = 20 * time.Second

// Mode is what a process does when it and all below it are ready.
type Mode string

const (
	Block  Mode = ""       // block, with the default action for every signal
	Ignore Mode = "ignore" // block, and ignore INT and TERM
	Count  Mode = "count"  // block, and report each INT, TERM and USR1 instead of ending
	Exit   Mode = "exit"   // exit at once
	Stop   Mode = "stop"   // stop itself with SIGSTOP
	// Headless ends the main thread while others live on: a thread-group
	// leader in state Z, in a process that is alive (Linux only).
	Headless Mode = "headless"
	// HeadlessIgnore is Headless that ignores INT and TERM.
	HeadlessIgnore Mode = "headless, ignore"
	// Leave blocks until SIGUSR1 comes, then leaves group and session.
	Leave Mode = "leave"
)

// Possible reports whether processes can do it here.
func (m Mode) Possible() bool { return m != Headless && m != HeadlessIgnore || threadsEnd }

// Spec is a process and what it starts.
type Spec struct {
	Mode     Mode
	Role     string // run this function of those given to Main, and nothing else
	Args     []string
	Group    bool // lead a group of its own
	Session  bool // lead a session of its own
	User     int  // run as this user and group, if not 0
	Children []Spec
}

func (s Spec) size() int {
	n := 1
	for _, c := range s.Children {
		n += c.size()
	}
	return n
}

const env = "CORRAL_PGTEST"

// Files of every process of a tree.
const (
	newsFD = 3 // lines for the test
	lifeFD = 4 // never written to: end-of-file when all are gone
)

func init() {
	// Keeps the main goroutine on the main thread, which Headless ends.
	if os.Getenv(env) != "" {
		runtime.LockOSThread()
	}
}

// Main is to be called by TestMain. It fails the run if goroutines, descriptors
// or children are left behind by the tests.
func Main(m *testing.M, roles map[string]func(args []string)) {
	if text := os.Getenv(env); text != "" {
		time.AfterFunc(Lifetime, func() { os.Exit(3) })
		var spec Spec
		if err := json.Unmarshal([]byte(text), &spec); err != nil {
			panic(err)
		}
		spec.run(roles)
		os.Exit(0)
	}
	goroutines, files := leak.Now(), descriptors()
	code := m.Run()
	if code == 0 {
		code = leftovers(goroutines, files)
	}
	os.Exit(code)
}

func leftovers(goroutines leak.Goroutines, before string) (code int) {
	if err := leak.Since(goroutines); err != nil {
		fmt.Fprintln(os.Stderr, "goroutines left behind:", err)
		code = 1
	}
	// Descriptors of ended tests may wait for the garbage collector.
	for range 3 {
		runtime.GC()
	}
	if after := descriptors(); strings.Count(after, "\n") > strings.Count(before, "\n") {
		fmt.Fprintf(os.Stderr, "descriptors left behind: before\n%safter\n%s", before, after)
		code = 1
	}
	if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != syscall.ECHILD {
		fmt.Fprintln(os.Stderr, "a child is left behind:", pid, err)
		code = 1
	}
	return code
}

// descriptors lists the open descriptors, one a line. The runtime's own (epoll,
// eventfd, kqueue) are left out: they come with first use and stay.
func descriptors() string {
	entries, err := os.ReadDir("/dev/fd")
	if err != nil {
		return ""
	}
	var b strings.Builder
	for _, e := range entries {
		to, err := os.Readlink("/dev/fd/" + e.Name())
		if err == nil && !strings.HasPrefix(to, "anon_inode:[event") && !strings.HasSuffix(to, "/fd") {
			fmt.Fprintln(&b, e.Name(), to)
		}
	}
	return b.String()
}

// The ends of the pipes, in a process of a tree.
var news, life *os.File

// Say tells the test a line, in a process of a tree. A role says "ready PID" for
// Start to return.
func Say(v ...any) { fmt.Fprintln(news, v...) }

// Command returns a command that makes a process of a tree start another, in a
// way of its own.
func Command(s Spec) *exec.Cmd { return s.command(news, life) }

func (s Spec) run(roles map[string]func([]string)) {
	news, life = os.NewFile(newsFD, "news"), os.NewFile(lifeFD, "life")
	if s.Role != "" {
		role := roles[s.Role]
		if role == nil {
			panic("unknown role " + s.Role)
		}
		role(s.Args)
		return
	}
	signals := make(chan os.Signal, 100)
	switch s.Mode {
	case Ignore, HeadlessIgnore:
		signal.Ignore(syscall.SIGTERM, syscall.SIGINT)
	case Count:
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	case Leave:
		signal.Notify(signals, syscall.SIGUSR1)
	}
	for _, child := range s.Children {
		cmd := Command(child)
		if err := cmd.Start(); err != nil {
			panic(err)
		}
		go child.reap(cmd)
	}
	if s.Mode != Stop { // whoever waits for it tells
		Say("ready", os.Getpid())
	}
	switch s.Mode {
	case Exit:
		return
	case Stop:
		syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case Headless, HeadlessIgnore:
		exitThread()
	case Leave:
		<-signals
		if _, err := syscall.Setsid(); err != nil {
			panic(err)
		}
		Say("left", os.Getpid())
	}
	for sig := range signals {
		Say("got", os.Getpid(), sig)
	}
}

// command returns the command that will be the process.
func (s Spec) command(news, life *os.File) *exec.Cmd {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), env+"="+string(text), "GOTRACEBACK=none", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{news, life}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: s.Group, Setsid: s.Session}
	if s.User != 0 {
		id := uint32(s.User)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: id, Gid: id}
	}
	return cmd
}

// reap waits for a child to end, and tells if it has stopped.
func (s Spec) reap(cmd *exec.Cmd) {
	if s.Mode == Stop {
		awaitStop(cmd.Process.Pid)
		Say("ready", cmd.Process.Pid)
	}
	cmd.Wait()
}

func awaitStop(pid int) {
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, syscall.WUNTRACED, nil); err != nil || !status.Stopped() {
		panic(fmt.Sprint("not stopped: ", status, err))
	}
}

// Tree is a running process tree. The test that started it ends it, at the
// latest when it ends itself.
type Tree struct {
	PID int // the topmost process
	// IDs are all processes, the topmost first and the others as they became
	// ready.
	IDs    []proctree.ID
	cmd    *exec.Cmd
	news   *os.File
	life   *os.File
	lines  *bufio.Scanner
	early  []string // lines that have been read, for Line
	reaped bool
	ended  bool
}

// Start starts a tree and returns when all of its processes are ready.
func Start(t testing.TB, spec Spec) *Tree {
	t.Helper()
	news, newsEnd := pipe(t)
	life, lifeEnd := pipe(t)
	tree := &Tree{news: news, life: life, lines: bufio.NewScanner(news), cmd: spec.command(newsEnd, lifeEnd)}
	err := tree.cmd.Start()
	lifeEnd.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.End(t) })
	tree.PID = tree.cmd.Process.Pid
	tree.remember(t, tree.PID)
	if spec.Mode == Stop {
		awaitStop(tree.PID)
		fmt.Fprintln(newsEnd, "ready", tree.PID)
	}
	newsEnd.Close()
	tree.awaitReady(t, spec.size())
	return tree
}

// awaitReady returns when n processes have said that they are ready. What those that
// are first go on to say meanwhile is for Line.
func (tree *Tree) awaitReady(t testing.TB, n int) {
	t.Helper()
	var early []string
	for ready := 0; ready < n; {
		var pid int
		line := tree.Line(t)
		switch _, err := fmt.Sscanf(line, "ready %d", &pid); {
		case line == "":
			t.Fatalf("%d of %d processes are ready, and all have ended; they said %q", ready, n, early)
		case err != nil:
			early = append(early, line)
			continue
		case pid != tree.PID:
			tree.remember(t, pid)
		}
		ready++
	}
	tree.early = early
}

// remember notes the identity of a process of the tree, unless it has ended and is
// no one's to kill.
func (tree *Tree) remember(t testing.TB, pid int) {
	t.Helper()
	p, err := proctree.Lookup(pid)
	if err != nil {
		t.Fatal(err)
	}
	tree.IDs = append(tree.IDs, p.ID)
}

// Cmd returns the started command of the topmost process. Call Reap, not its
// Wait.
func (tree *Tree) Cmd() *exec.Cmd { return tree.cmd }

// Line returns the next line that a process of the tree said, and "" when none
// is left to say any.
func (tree *Tree) Line(t testing.TB) string {
	t.Helper()
	if len(tree.early) > 0 {
		line := tree.early[0]
		tree.early = tree.early[1:]
		return line
	}
	tree.news.SetReadDeadline(time.Now().Add(patience))
	if !tree.lines.Scan() && tree.lines.Err() != nil {
		t.Fatal("waiting for a word of a process:", tree.lines.Err())
	}
	return tree.lines.Text()
}

// Lines returns all that is still said, when the last process is gone.
func (tree *Tree) Lines(t testing.TB) []string {
	t.Helper()
	var lines []string
	for line := tree.Line(t); line != ""; line = tree.Line(t) {
		lines = append(lines, line)
	}
	return lines
}

// Gone returns when no process of the tree is left, and fails the test if that
// does not happen soon.
func (tree *Tree) Gone(t testing.TB) {
	t.Helper()
	tree.life.SetReadDeadline(time.Now().Add(patience))
	if _, err := tree.life.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal("processes are left:", err)
	}
	// A process closes its files before it has ended.
	for i := range tree.IDs {
		tree.Ended(t, i)
	}
}

// Ended returns when process i of the tree has ended, reaped or not.
func (tree *Tree) Ended(t testing.TB, i int) {
	t.Helper()
	h, err := proctree.Open(tree.IDs[i])
	if errors.Is(err, proctree.ErrGone) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// Left reports whether any process of the tree is left at this moment.
func (tree *Tree) Left() bool {
	tree.life.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := tree.life.Read(make([]byte, 1))
	return err != io.EOF
}

// Kill kills process i of the tree, which stays a zombie if it is the topmost.
func (tree *Tree) Kill(t testing.TB, i int) { t.Helper(); tree.Send(t, i, syscall.SIGKILL) }

// Send sends a signal to process i of the tree.
func (tree *Tree) Send(t testing.TB, i int, sig syscall.Signal) {
	t.Helper()
	h, err := proctree.Open(tree.IDs[i])
	if errors.Is(err, proctree.ErrGone) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(sig); err != nil && !errors.Is(err, proctree.ErrGone) {
		t.Fatal(err)
	}
}

// AwaitState returns when process i of the tree is in the state.
func (tree *Tree) AwaitState(t testing.TB, i int, want proctree.State) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) { // nothing tells
		p, err := proctree.Lookup(tree.IDs[i].PID)
		if err != nil || p.ID != tree.IDs[i] || time.Now().After(deadline) {
			t.Fatalf("process %d does not get into state %c: %+v, %v", tree.IDs[i].PID, want, p, err)
		}
		if p.State == want {
			return
		}
	}
}

// Death returns a channel that has the time at which the last process of the
// tree closed its files, which it does right before it is gone. Nothing else may
// wait for the tree until then.
func (tree *Tree) Death() <-chan time.Time {
	death := make(chan time.Time, 1)
	tree.life.SetReadDeadline(time.Now().Add(patience))
	go func() {
		tree.life.Read(make([]byte, 1))
		death <- time.Now()
	}()
	return death
}

// ReportMedian has a benchmark report the median of what it has measured.
func ReportMedian(b *testing.B, measured []time.Duration) {
	slices.Sort(measured)
	b.ReportMetric(float64(measured[len(measured)/2].Nanoseconds()), "median-ns")
	b.ReportMetric(float64(measured[len(measured)*9/10].Nanoseconds()), "p90-ns")
}

// Reap waits for the topmost process and returns how it ended.
func (tree *Tree) Reap() *os.ProcessState {
	tree.reaped = true
	tree.cmd.Wait()
	return tree.cmd.ProcessState
}

// End kills what is left of the tree. It is called when the test ends, at the
// latest.
func (tree *Tree) End(t testing.TB) {
	t.Helper()
	if tree.ended {
		return
	}
	tree.ended = true
	for i := range tree.IDs {
		if i > 0 || !tree.reaped {
			tree.Kill(t, i)
		}
	}
	if !tree.reaped {
		tree.Reap()
	}
	tree.Gone(t)
	tree.news.Close()
	tree.life.Close()
}

// Bystander is a process in a group of its own that no one means.
type Bystander struct{ *Tree }

// StartBystander starts a bystander.
func StartBystander(t testing.TB) Bystander {
	t.Helper()
	return Bystander{Start(t, Spec{Mode: Count, Group: true})}
}

// Unharmed fails the test if the bystander has got any signal.
func (b Bystander) Unharmed(t testing.TB) {
	t.Helper()
	// Twice: what came before the first question is known before the answer to
	// the second.
	for range 2 {
		b.Send(t, 0, syscall.SIGUSR1)
		want := fmt.Sprint("got ", b.PID, " ", syscall.SIGUSR1)
		if got := b.Line(t); got != want {
			t.Fatalf("the bystander said %q, want %q", got, want)
		}
	}
}

func pipe(t testing.TB) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	return r, w
}
