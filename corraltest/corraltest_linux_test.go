package corraltest_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/corraltest"
)

// caseVariable names, in a test binary that a test has started, what TestInner does.
const caseVariable = "CORRALTEST_CASE"

func TestMain(m *testing.M) {
	switch os.Getenv(caseVariable) {
	case "":
		os.Exit(m.Run())
	case "dying": // it does, but a busy machine takes its time
		corraltest.SetPatience(time.Minute / 2)
	}
	corraltest.NoLeaks(m)
}

// TestInner is the test that the others run and look at.
func TestInner(t *testing.T) {
	name := os.Getenv(caseVariable)
	if name == "" {
		t.Skip("runs in a test binary that other tests start")
	}
	serve := func() {
		cmd := corraltest.Command(t, "sh", "-c", "echo serving; sleep 60 & wait")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	switch name {
	case "clean":
		if err := exec.Command("true").Run(); err != nil {
			t.Fatal(err)
		}
	case "stopped":
		serve()
	case "parallel":
		inParallel(t)
	case "waits":
		waitElsewhere(t)
	case "waits-late":
		waitLate(t)
	case "order":
		cleanUpInOrder(t)
	case "dying":
		end := leaveCat(t, 100*time.Millisecond)
		t.Cleanup(func() { end.Close() }) // after t.Context is done, before Command's cleanup
	case "undying":
		end := leaveCat(t, time.Minute)
		t.Cleanup(func() { runtime.KeepAlive(end) })
	case "fails":
		failWithOutput(t)
	case "leftover":
		// It ends when both are there.
		cmd := corraltest.Command(t, "sh", "-c", "mkfifo up && { sh -c 'sleep 60 & echo >up; wait' & read line <up; }")
		cmd.Dir = t.TempDir()
		cmd.Run()
	case "unstarted":
		corraltest.Command(t, "sleep", "60")
	case "bubble-start":
		cmd := corraltest.Command(t, "true")
		synctest.Test(t, func(t *testing.T) {
			if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), "bubble") {
				t.Errorf("Start: %v", err)
			}
		})
	case "bubble":
		synctest.Test(t, func(t *testing.T) { corraltest.Command(t, "true") })
	case "output":
		corraltest.Command(t, "sh", "-c", "echo the first; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo the last").Run()
		t.Fail()
	case "hangs":
		serve()
		exec.Command("sleep", "60").Start()
		os.Stdout.WriteString("ready\n")
		select {}
	case "bare":
		exec.Command("sleep", "60").Start()
	case "cleared":
		os.Clearenv()
		exec.Command("/bin/sleep", "60").Start()
	case "panic":
		exec.Command("sleep", "60").Start()
		go panic("in a goroutine")
		select {}
	case "timeout":
		serve()
		exec.Command("sleep", "60").Start()
		os.Stdout.WriteString("ready\n")
		select {}
	case "exit":
		serve()
		exec.Command("sleep", "60").Start()
		os.Exit(3)
	case "killed":
		serve()
		exec.Command("sleep", "60").Start()
		p, _ := os.FindProcess(os.Getpid())
		p.Kill()
		select {}
	}
}

// failWithOutput fails when its command has written.
func failWithOutput(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := corraltest.Command(t, "sh", "-c", "echo serving; exec 4>&-; sleep 60 & wait")
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "held"), w}
	err = cmd.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	io.ReadAll(r)
	t.FailNow()
}

// inParallel has commands in subtests that run at the same time.
func inParallel(t *testing.T) {
	for _, name := range []string{"1", "2", "3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := corraltest.Command(t, "sh", "-c", "sleep 60 & wait")
			if err := server.Start(); err != nil {
				t.Fatal(err)
			}
			if out, err := corraltest.Command(t, "echo", name).Output(); err != nil || string(out) != name+"\n" {
				t.Errorf("%q, %v", out, err)
			}
			if server.Report() != nil {
				t.Error("the end of one command has ended another")
			}
		})
	}
}

// waitElsewhere waits in another goroutine, which gets the end of the test.
func waitElsewhere(t *testing.T) {
	waited := make(chan error, 1)
	t.Cleanup(func() { checkStopped(t, <-waited) })
	cmd := corraltest.Command(t, "sh", "-c", "sleep 60 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { waited <- cmd.Wait() }()
}

// waitLate calls Wait when the run has been ended and waited for, as a goroutine does
// that has come late: once, it gets the answer it would have got.
func waitLate(t *testing.T) {
	var cmd *corral.Cmd
	t.Cleanup(func() { // after Command's cleanup
		if cmd.Report() == nil {
			t.Error("nobody has waited")
		}
		checkStopped(t, cmd.Wait())
		if err := cmd.Wait(); err == nil || err.Error() != "exec: Wait was already called" {
			t.Errorf("the second Wait returned %v", err)
		}
	})
	cmd = corraltest.Command(t, "sh", "-c", "sleep 60 & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
}

// checkStopped checks what Wait returns of a command that the end of the test stops.
func checkStopped(t *testing.T, err error) {
	if err == nil || !errors.Is(err, context.Canceled) && !strings.Contains(err.Error(), "terminated") {
		t.Errorf("Wait returned %v", err)
	}
}

// cleanUpInOrder: what is registered before a command is called when that is over,
// what is registered later, while it runs, if its context is not the test's.
func cleanUpInOrder(t *testing.T) {
	var cmd *corral.Cmd
	t.Cleanup(func() {
		if cmd.Report() == nil {
			t.Error("the command is not over in an earlier cleanup")
		}
	})
	cmd = corraltest.CommandContext(t, context.WithoutCancel(t.Context()), "cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		io.WriteString(in, "alive\n")
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "alive\n" {
			t.Errorf("the command is over in a later cleanup: %q, %v", line, err)
		}
	})
}

// leaveCat runs a command that ends and leaves a cat, which ends when the file is
// closed. It returns when the command has been reaped, or, if that comes after the
// cat's time to end by itself (under a keeper), when it has been a zombie for so long
// that the run is likely to know.
func leaveCat(t *testing.T, zombie time.Duration) io.Closer {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := corraltest.Command(t, "sh", "-c", "cat <&4 >/dev/null 2>&1 & exit 0")
	// Of the two that hold the pipe of TestEndings, cat is one.
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "held"), r}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go cmd.Wait()
	ended := time.Time{}
	for cmd.Process.Signal(syscall.Signal(0)) == nil && (ended.IsZero() || time.Since(ended) < zombie) {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid))
		if ended.IsZero() && bytes.Contains(stat, []byte(") Z ")) {
			ended = time.Now()
		}
		time.Sleep(time.Millisecond)
	}
	return w
}

// BenchmarkInner and FuzzInner use Command as TestInner does.
func BenchmarkInner(b *testing.B) {
	for b.Loop() {
		if err := corraltest.Command(b, "true").Run(); err != nil {
			b.Fatal(err)
		}
	}
}

func FuzzInner(f *testing.F) {
	if os.Getenv(caseVariable) == "" {
		f.Skip("runs in a test binary that other tests start")
	}
	f.Add("a")
	f.Fuzz(func(t *testing.T, word string) {
		cmd := corraltest.Command(t, "sh", "-c", "sleep 60 & cat; wait")
		cmd.Stdin = strings.NewReader(word)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	})
}

// ending is how a test binary is to end that runs TestInner, or what args say.
type ending struct {
	name, state string
	says        []string
	args        []string
	signal      os.Signal     // sent to the process that the caller has started, when it says "ready"
	silent      bool          // corraltest says nothing
	timeout     time.Duration // doubled as long as it is up before the test says "ready", if not 0
	longest     int           // output in bytes, if not 0
}

// TestEndings: nothing is left, however the tests end, and what is wrong is said.
func TestEndings(t *testing.T) {
	fuzz := []string{"-test.run=^$", "-test.fuzz=^FuzzInner$", "-test.fuzztime=3x", "-test.parallel=1", "-test.fuzzcachedir=" + t.TempDir()}
	rows := []ending{
		{name: "clean", state: "exit status 0", says: []string{"PASS"}, silent: true},
		{name: "stopped", state: "exit status 0", says: []string{"PASS"}, silent: true},
		{name: "unstarted", state: "exit status 0", says: []string{"PASS"}, silent: true},
		{name: "parallel", state: "exit status 0", says: []string{"PASS: TestInner/2"}, silent: true},
		{name: "waits", state: "exit status 0", says: []string{"PASS"}, silent: true},
		{name: "waits-late", state: "exit status 0", says: []string{"PASS"}, silent: true},
		{name: "order", state: "exit status 0", says: []string{"PASS"}, silent: true},
		{name: "dying", state: "exit status 0", says: []string{"PASS"}, silent: true},
		{name: "benchmark", state: "exit status 0", says: []string{"ns/op", "PASS"}, silent: true,
			args: []string{"-test.run=^$", "-test.bench=Inner", "-test.benchtime=3x"}},
		{name: "fuzz", state: "exit status 0", says: []string{"PASS"}, silent: true, args: fuzz},
		{name: "fails", state: "exit status 1", says: []string{"output:", "serving", "ended by SIGTERM"}},
		{name: "output", state: "exit status 1", says: []string{"the first\n", "omitting", "the last\n", "exit status 0"}, longest: 80 << 10},
		{name: "leftover", state: "exit status 1", says: []string{"2 processes behind", "sh -c sleep 60 & echo", "      ", "stopped by SIGTERM"}},
		{name: "undying", state: "exit status 1", says: []string{"has left a process behind", "cat", "stopped by SIGTERM"}},
		{name: "bubble-start", state: "exit status 0"},
		{name: "bubble", state: "exit status 1", says: []string{"a command cannot run in a synctest bubble"}},
		{name: "bare", state: "exit status 1", says: []string{"PASS", "the test binary has left a process behind", "sleep 60"}},
		{name: "cleared", state: "exit status 1", says: []string{"PASS", "the test binary has left a process behind"}},
		{name: "panic", state: "exit status 2", says: []string{"panic: in a goroutine", "has left a process behind"}},
		{name: "timeout", state: "exit status 2", says: []string{"panic: test timed out", "sleep 60"}, timeout: time.Second},
		{name: "exit", state: "exit status 3", says: []string{"sleep 60"}},
		{name: "killed", state: "signal: killed", says: []string{"sleep 60"}},
		{name: "hangs", signal: syscall.SIGKILL, state: "signal: killed"},
		{name: "hangs", signal: syscall.SIGTERM, state: "signal: terminated", says: []string{"sleep 60"}},
		{name: "hangs", signal: syscall.SIGINT, state: "signal: interrupt", says: []string{"sleep 60"}},
		{name: "hangs", signal: syscall.SIGQUIT, state: "exit status 2", says: []string{"goroutine 1 ", "sleep 60"}},
	}
	// They wait more than they compute, so more run at a time than t.Parallel allows.
	slots := make(chan bool, 8)
	results := make([]chan func(*testing.T), len(rows))
	for i, e := range rows {
		results[i] = make(chan func(*testing.T), 1)
		go func() {
			slots <- true
			results[i] <- e.run()
			<-slots
		}()
	}
	for i, e := range rows {
		judge := <-results[i]
		name := e.name
		if e.signal != nil {
			name += "-" + e.signal.String()
		}
		t.Run(name, judge)
	}
}

// run runs the test binary and returns what judges how it has ended.
func (e ending) run() func(*testing.T) {
	args := e.args
	for limit := e.timeout; ; limit *= 2 {
		if limit > 0 {
			args = append(slices.Clone(e.args), "-test.timeout="+limit.String())
		}
		ready, judge := e.runOnce(args)
		if ready || limit == 0 || limit > time.Minute/4 {
			return judge
		}
	}
}

// runOnce also says whether the test has said "ready".
func (e ending) runOnce(more []string) (ready bool, judge func(*testing.T)) {
	r, w, err := os.Pipe()
	if err != nil {
		return false, func(t *testing.T) { t.Fatal(err) }
	}
	defer r.Close()
	args := append([]string{"-test.run=^TestInner$", "-test.v", "-test.timeout=50s"}, more...)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), caseVariable+"="+e.name)
	cmd.ExtraFiles = []*os.File{w}                       // all that is started holds it
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // no terminal has sent the signals
	out := &readiness{ready: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = time.Minute / 2
	err = cmd.Start()
	w.Close()
	if err != nil {
		return false, func(t *testing.T) { t.Fatal(err) }
	}
	over := make(chan struct{})
	if e.signal != nil {
		go func() {
			select {
			case <-out.ready:
				cmd.Process.Signal(e.signal)
			case <-over:
			}
		}()
	}
	waitErr := cmd.Wait()
	close(over)
	r.SetReadDeadline(time.Now().Add(time.Minute / 2)) // sleep has 60 seconds
	_, leftErr := io.ReadAll(r)
	return isClosed(out.ready), func(t *testing.T) {
		if leftErr != nil {
			t.Errorf("something is left: %v", leftErr)
		}
		if errors.Is(waitErr, exec.ErrWaitDelay) {
			t.Error("something has its output open")
		}
		e.judge(t, cmd.ProcessState.String(), out.text.String())
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (e ending) judge(t *testing.T, state, out string) {
	if state != e.state {
		t.Errorf("%s, want %s", state, e.state)
	}
	for _, want := range e.says {
		if !strings.Contains(out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if e.silent && strings.Contains(out, "corraltest:") {
		t.Error("corraltest has said something")
	}
	if e.longest > 0 && len(out) > e.longest {
		t.Errorf("it says %d bytes, want at most %d", len(out), e.longest)
	}
	if t.Failed() {
		t.Logf("%.20000s", out)
	}
}

// readiness keeps an output, and notices when it says "ready".
type readiness struct {
	text  bytes.Buffer
	once  sync.Once
	ready chan struct{}
}

func (r *readiness) Write(p []byte) (int, error) {
	n, err := r.text.Write(p)
	if bytes.Contains(r.text.Bytes(), []byte("ready\n")) {
		r.once.Do(func() { close(r.ready) })
	}
	return n, err
}
