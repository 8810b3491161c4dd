package corral_test

import (
	"bufio"
	"context"
	"errors"
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
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/winetest"
)

var (
	ntdll  = windows.NewLazySystemDLL("ntdll.dll")
	user32 = windows.NewLazySystemDLL("user32.dll")
	k32    = windows.NewLazySystemDLL("kernel32.dll")
)

// The commands of the tests are this program in one of these roles.
func init() {
	escape.Register("exit", func(args []string) {
		status, _ := strconv.ParseUint(args[0], 10, 32)
		windows.ExitProcess(uint32(status))
	})
	escape.Register("arguments", func(args []string) {
		dir, _ := os.Getwd()
		fmt.Printf("%q %q %q\n", args, dir, os.Getenv("NON_ASCII"))
	})
	// obey ends on Ctrl-C and Ctrl-Break, which Go does not tell apart. With an
	// argument it has started another one before.
	escape.Register("obey", func(args []string) {
		asked := make(chan os.Signal, 1)
		signal.Notify(asked, os.Interrupt)
		if len(args) > 0 {
			startObedient()
		}
		fmt.Println("ready")
		<-asked
		fmt.Println("asked")
		os.Exit(7)
	})
	escape.Register("spend", func([]string) {
		memory := make([]byte, 64<<20)
		for began := time.Now(); time.Since(began) < 200*time.Millisecond; {
			for i := range memory {
				memory[i]++
			}
		}
	})
	// leave starts a process that stays, and says which.
	escape.Register("leave", func(args []string) { fmt.Println(startObedient()) })
	escape.Register("window", window)
	escape.Register("let-go", letGoOf)
	// hold leaves a process that has standard output open, which it has written to.
	escape.Register("hold", func([]string) {
		cmd := command("obey")
		cmd.Stdout = os.Stdout
		if err := cmd.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(cmd.Process.Pid)
	})
}

// startObedient returns the PID of a process that obeys, once it does.
func startObedient() int {
	cmd := command("obey")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err == nil {
		_, err = bufio.NewReader(out).ReadString('\n')
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	return cmd.Process.Pid
}

func command(role string, args ...string) *exec.Cmd {
	path, args := escape.Command(role, args...)
	return exec.Command(path, args...)
}

// inJob is a command in a job, whose members get a long time to obey: a test that
// needs it has failed.
func inJob(role string, args ...string) *corral.Cmd {
	cmd := corral.Wrap(command(role, args...))
	cmd.Require = corral.Job
	cmd.Stderr = os.Stderr
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: escape.Lifetime}}
	return cmd
}

// ready starts cmd and returns its output once it has said that it is ready.
func ready(t *testing.T, cmd *corral.Cmd) *bufio.Reader {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Signal(os.Kill) })
	said := bufio.NewReader(out)
	if line, err := said.ReadString('\n'); err != nil || strings.TrimSpace(line) != "ready" {
		t.Fatal(line, err)
	}
	return said
}

func TestExitCodeWindows(t *testing.T) {
	for _, status := range []uint32{0, 1, 255, 256, 259, 0xc0000005, 1<<32 - 1} {
		cmd := inJob("exit", fmt.Sprint(status))
		err := cmd.Run()
		var exit *corral.ExitError
		if (status == 0) != (err == nil) || err != nil && !errors.As(err, &exit) {
			t.Errorf("%d: %v", status, err)
		}
		if got := cmd.ProcessState.ExitCode(); uint32(got) != status || cmd.Report().ExitCode != got {
			t.Errorf("%d: got %d, and in the report %d", status, got, cmd.Report().ExitCode)
		}
	}
}

// TestLifelineWindows: a process is a lifeline, and the parent; the others are
// unsupported.
func TestLifelineWindows(t *testing.T) {
	far := command("obey")
	if err := far.Start(); err != nil {
		t.Fatal(err)
	}
	defer far.Wait()
	defer far.Process.Kill()
	cmd := inJob("obey", "another")
	cmd.StopPlan = corral.StopPlan{}
	lost := corral.Lifeline("pid:" + strconv.Itoa(far.Process.Pid))
	cmd.Lifelines = []corral.Lifeline{lost}
	if os.Getppid() > 0 { // a program that has been started from outside of Wine has none
		cmd.Lifelines = append(cmd.Lifelines, corral.LifelineParent)
	}
	out := ready(t, cmd)
	far.Process.Kill()
	if _, err := io.Copy(io.Discard, out); err != nil {
		t.Error(err)
	}
	var lifeline *corral.LifelineError
	if err := cmd.Wait(); !errors.As(err, &lifeline) || lifeline.Lifeline != lost || cmd.Report().Ending != corral.LifelineLost {
		t.Errorf("%v, %+v", err, cmd.Report())
	}
	for _, line := range []corral.Lifeline{corral.LifelineTTY, "fd:0"} {
		cmd := inJob("exit", "0")
		cmd.Stdin, cmd.Lifelines = os.Stdin, []corral.Lifeline{line}
		if err := cmd.Start(); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestNamesWindows: what is not ASCII, has spaces or quotes gets through, in the
// path, the directory, the arguments, the environment and the output.
func TestNamesWindows(t *testing.T) {
	dir := filepath.Join(winetest.TempDir(t), "Kön igs 狼")
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "prüf ung.exe")
	if err := os.WriteFile(path, program, 0o777); err != nil {
		t.Fatal(err)
	}
	args := []string{"Übung", "two words", `a "quoted" \`, "", "狼\\"}
	_, roleArgs := escape.Command("arguments", args...)
	cmd := corral.Command(path, roleArgs...)
	cmd.Require, cmd.Dir = corral.Job, dir
	cmd.Env = append(os.Environ(), "NON_ASCII=ß 狼")
	out, err := cmd.Output()
	if want := fmt.Sprintf("%q %q %q\n", args, dir, "ß 狼"); err != nil || string(out) != want {
		t.Errorf("%v\ngot  %swant %s", err, out, want)
	}
	if diff := diff.Of(append([]string{path}, roleArgs...), cmd.Report().Command); diff != "" {
		t.Error(diff)
	}
}

// TestAttributesWindows: the attributes are the caller's, with what a job needs.
func TestAttributesWindows(t *testing.T) {
	cmd := inJob("exit", "3")
	attr := &syscall.SysProcAttr{HideWindow: true, CreationFlags: windows.CREATE_SUSPENDED | windows.BELOW_NORMAL_PRIORITY_CLASS}
	want := *attr
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Signal(os.Kill)
	if diff := diff.Of(&want, attr); diff != "" {
		t.Error("the caller's attributes were changed:", diff)
	}
	// The caller wanted it to be suspended, and it is.
	err := osproc.WithHandle(cmd.Process, func(h uintptr) {
		if class, err := windows.GetPriorityClass(windows.Handle(h)); err != nil || class != windows.BELOW_NORMAL_PRIORITY_CLASS && !winetest.Detected() {
			t.Errorf("the priority class is %#x, %v", class, err)
		}
		if event, err := windows.WaitForSingleObject(windows.Handle(h), 300); event != uint32(windows.WAIT_TIMEOUT) {
			t.Errorf("a process that was to be suspended has ended: %d, %v", event, err)
		}
		ntdll.NewProc("NtResumeProcess").Call(h)
	})
	if err != nil {
		t.Error(err)
	}
	var exit *corral.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Error("resumed:", err)
	}
}

// TestParentWindows: a leader that has another parent is in the job all the same.
func TestParentWindows(t *testing.T) {
	parent := escape.StartBystander(t)
	h, err := windows.OpenProcess(windows.PROCESS_CREATE_PROCESS|windows.PROCESS_DUP_HANDLE, false, uint32(parent.Pid))
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h)
	cmd := inJob("obey")
	cmd.SysProcAttr = &syscall.SysProcAttr{ParentProcess: syscall.Handle(h)}
	ready(t, cmd)
	row, err := proctree.Lookup(cmd.Process.Pid)
	if err != nil || row.PPID != parent.Pid {
		t.Errorf("the parent is %d, not %d; %v", row.PPID, parent.Pid, err)
	}
	members, err := cmd.Members()
	if len(members) != 1 || members[0].PID != cmd.Process.Pid || err != nil {
		t.Errorf("members %v, %v", members, err)
	}
	cmd.Signal(os.Kill)
	cmd.Wait()
}

// TestCommandLineWindows: a command line of the caller's is the one there is.
func TestCommandLineWindows(t *testing.T) {
	cmd := inJob("exit", "6")
	var line []string
	for _, arg := range append(slices.Clone(cmd.Args[:len(cmd.Args)-1]), "5") {
		line = append(line, syscall.EscapeArg(arg))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{CmdLine: strings.Join(line, " ")}
	cmd.Run()
	if code := cmd.Report().ExitCode; code != 5 {
		t.Errorf("exit code %d, not that of the command line", code)
	}
}

// TestTokenWindows: a leader with a token of its own is in the job, too.
func TestTokenWindows(t *testing.T) {
	var own, token windows.Token
	err := windows.OpenProcessToken(windows.CurrentProcess(), windows.TOKEN_ALL_ACCESS, &own)
	if err == nil {
		defer own.Close()
		err = windows.DuplicateTokenEx(own, windows.MAXIMUM_ALLOWED, nil, windows.SecurityImpersonation, windows.TokenPrimary, &token)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer token.Close()
	cmd := inJob("obey")
	cmd.SysProcAttr = &syscall.SysProcAttr{Token: syscall.Token(token)}
	ready(t, cmd)
	members, err := cmd.Members()
	if len(members) != 1 || members[0].PID != cmd.Process.Pid || err != nil {
		t.Errorf("members %v, %v", members, err)
	}
	cmd.Signal(os.Kill)
	cmd.Wait()
}

// TestStartFailsWindows: what cannot be started leaves nothing.
func TestStartFailsWindows(t *testing.T) {
	before := handles(t)
	for range 20 {
		cmd := corral.Command(filepath.Join(winetest.TempDir(t), "none.exe"))
		if err := cmd.Start(); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		cmd = inJob("exit", "0")
		cmd.Dir = filepath.Join(winetest.TempDir(t), "none")
		if err := cmd.Start(); !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	if after := handles(t); after > before+5 {
		t.Errorf("%d handles, and %d afterwards", before, after)
	}
}

func handles(t *testing.T) int {
	t.Helper()
	runtime.GC() // os.File and os.Process close theirs then
	var n uint32
	if ok, _, err := k32.NewProc("GetProcessHandleCount").Call(uintptr(windows.CurrentProcess()), uintptr(unsafe.Pointer(&n))); ok == 0 {
		t.Fatal(err)
	}
	return int(n)
}

// TestNothingStaysWindows: after many runs there are as many handles and
// goroutines as before.
func TestNothingStaysWindows(t *testing.T) {
	round := func() {
		for range 10 {
			cmd := inJob("leave")
			cmd.StopPlan = corral.StopPlan{}
			if out, err := cmd.Output(); err != nil || len(cmd.Report().Leftovers) != 1 {
				t.Fatalf("%s, %v, %v", out, err, cmd.Report())
			}
		}
	}
	round()
	handlesBefore, goroutines := handles(t), runtime.NumGoroutine()
	round()
	round()
	if after := handles(t); after > handlesBefore+5 {
		t.Errorf("%d handles, and %d after 20 runs", handlesBefore, after)
	}
	// One that copies may end just after Wait.
	deadline := time.Now().Add(10 * time.Second)
	for runtime.NumGoroutine() > goroutines && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if after := runtime.NumGoroutine(); after > goroutines {
		t.Errorf("%d goroutines, and %d after 20 runs", goroutines, after)
	}
}

// TestLeftoversWindows: each policy does what it says.
func TestLeftoversWindows(t *testing.T) {
	for _, tt := range []struct {
		policy corral.LeftoverPolicy
		fate   corral.Fate
	}{
		{corral.KillLeftovers, corral.Forced},
		{corral.FailOnLeftovers, corral.Forced},
		{corral.KeepLeftovers, corral.Kept},
		{corral.DetachLeftovers, corral.Kept},
	} {
		t.Run(fmt.Sprint(tt.policy), func(t *testing.T) {
			cmd := inJob("leave")
			cmd.StopPlan = corral.StopPlan{} // so that it is the same whether they have a console or not
			cmd.Leftovers = tt.policy
			out, err := cmd.Output()
			var left *corral.LeftoverError
			if errors.As(err, &left) != (tt.policy == corral.FailOnLeftovers) || left == nil && err != nil {
				t.Error(err)
			}
			pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
			if err != nil {
				t.Fatal(err)
			}
			l := cmd.Report().Leftovers
			if len(l) != 1 || l[0].PID != pid || l[0].Fate != tt.fate || len(l[0].Command) < 2 && !winetest.Detected() {
				t.Fatalf("leftovers %v, want %d", l, pid)
			}
			h, err := proctree.Open(proctree.ID{PID: pid, Start: l[0].Start})
			if alive := err == nil && h.Signal(syscall.Signal(0)) == nil; alive != (tt.fate == corral.Kept) {
				t.Errorf("alive: %v", alive)
			}
			if err == nil {
				h.Signal(os.Kill)
				h.Close()
			}
		})
	}
}

// TestHeldWindows: a process that is kept has the output open, and Wait returns all
// the same, with what there was.
func TestHeldWindows(t *testing.T) {
	cmd := inJob("hold")
	cmd.Leftovers = corral.KeepLeftovers
	cmd.WaitDelay = 300 * time.Millisecond
	began := time.Now()
	out, err := cmd.Output()
	if took := time.Since(began); !errors.Is(err, corral.ErrWaitDelay) || took > escape.Lifetime/2 {
		t.Errorf("%v after %v", err, took)
	}
	l := cmd.Report().Leftovers
	if len(l) != 1 || l[0].Fate != corral.Kept {
		t.Fatalf("leftovers %v", l)
	}
	if !slices.Contains(strings.Fields(string(out)), strconv.Itoa(l[0].PID)) {
		t.Errorf("output %q; want it to have %d", out, l[0].PID)
	}
	h, err := proctree.Open(proctree.ID{PID: l[0].PID, Start: l[0].Start})
	if err != nil {
		t.Fatal(err)
	}
	h.Signal(os.Kill)
	h.Close()
}

// TestWaitForLeftoversWindows: the run lasts until the last of it has ended.
func TestWaitForLeftoversWindows(t *testing.T) {
	cmd := inJob("leave")
	cmd.Leftovers = corral.WaitForLeftovers
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	over := make(chan error, 1)
	go func() { over <- cmd.Wait() }()
	select {
	case err := <-over:
		t.Fatal("Wait returned while a leftover was alive:", err)
	case <-time.After(200 * time.Millisecond):
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	members, err := cmd.Members()
	// The leader has printed, which does not say that it has ended.
	leads := func(m corral.Process) bool { return m.PID == cmd.Process.Pid }
	for deadline := time.Now().Add(10 * time.Second); err == nil && slices.ContainsFunc(members, leads) && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
		members, err = cmd.Members()
	}
	if err != nil || len(members) != 1 || members[0].PID != pid {
		t.Fatalf("members %v, %v; want %d", members, err, pid)
	}
	h, err := proctree.Open(proctree.ID{PID: pid, Start: members[0].Start})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	h.Signal(os.Kill)
	if err := <-over; err != nil || len(cmd.Report().Leftovers) != 0 {
		t.Error(err, cmd.Report().Leftovers)
	}
}

// TestContextWindows and timeouts end the whole run.
func TestContextWindows(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	path, args := escape.Command("obey")
	cmd := corral.CommandContext(ctx, path, args...)
	cmd.StopPlan = corral.StopPlan{}
	ready(t, cmd)
	cause := errors.New("enough")
	cancel(cause)
	err := cmd.Wait()
	if _, ok := err.(*corral.ExitError); !ok || cmd.Report().Ending != corral.Cancelled || cmd.Report().Cause != cause.Error() {
		t.Error(err, cmd.Report().Ending, cmd.Report().Cause)
	}
	cmd = inJob("obey")
	cmd.StopPlan = corral.StopPlan{}
	cmd.Timeout = 50 * time.Millisecond
	if err := cmd.Run(); !errors.Is(err, context.DeadlineExceeded) || cmd.Report().Ending != corral.TimedOut {
		t.Error(err, cmd.Report().Ending)
	}
}

// TestCtrlCWindows: a run that has a console of its own is sent Ctrl-C there,
// though the owner has another one, or none.
func TestCtrlCWindows(t *testing.T) {
	cmd := inJob("obey", "and another")
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
	cmd.StopPlan = corral.StopPlan{{Signal: os.Interrupt, Wait: escape.Lifetime}}
	said := ready(t, cmd)
	began := time.Now()
	if err := cmd.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	rest, _ := io.ReadAll(said)
	cmd.Wait()
	r := cmd.Report()
	if r.ExitCode != 7 || r.Forced || r.SignalError != "" || strings.TrimSpace(string(rest)) != "asked" {
		t.Errorf("%+v, said %q", r, rest)
	}
	if l := r.Leftovers; len(l) != 1 || l[0].Fate != corral.Signalled || l[0].Signal != "SIGINT" {
		t.Errorf("leftovers %v", l)
	}
	if took := time.Since(began); took > escape.Lifetime/2 {
		t.Errorf("it took %v", took)
	}
}

// TestCtrlBreakWindows: so is one that has the owner's console CTRL_BREAK, in its
// own group: the bystander gets none.
func TestCtrlBreakWindows(t *testing.T) {
	winetest.Need(t, "GenerateConsoleCtrlEvent knows CTRL_C only (server/console.c, propagate_console_signal)")
	escape.StartBystander(t)
	cmd := inJob("obey")
	said := ready(t, cmd)
	if err := cmd.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	rest, _ := io.ReadAll(said)
	cmd.Wait()
	if r := cmd.Report(); r.ExitCode != 7 || r.Forced || r.SignalError != "" || strings.TrimSpace(string(rest)) != "asked" {
		t.Errorf("%+v, said %q", r, rest)
	}
}

// TestNobodyAskedWindows: a run without a console is killed at once, and the
// report says that it was not asked.
func TestNobodyAskedWindows(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt, syscall.SIGHUP, syscall.SIGQUIT} {
		cmd := inJob("obey")
		cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS}
		cmd.StopPlan = corral.StopPlan{{Signal: sig, Wait: escape.Lifetime}}
		ready(t, cmd)
		if err := cmd.Signal(sig); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("Signal %v: %v", sig, err)
		}
		began := time.Now()
		if err := cmd.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		cmd.Wait()
		if r := cmd.Report(); r.ExitCode != 1 || !r.Forced || r.SignalError == "" {
			t.Errorf("%v: %+v", sig, r)
		}
		if took := time.Since(began); took > escape.Lifetime/2 {
			t.Errorf("%v: it took %v", sig, took)
		}
	}
}

// TestCloseWindowWindows: SIGHUP closes the windows of the run.
func TestCloseWindowWindows(t *testing.T) {
	cmd := inJob("window")
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGHUP, Wait: escape.Lifetime}}
	ready(t, cmd)
	if err := cmd.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	if r := cmd.Report(); r.ExitCode != 8 || r.Forced || r.SignalError != "" {
		t.Errorf("%+v", r)
	}
}

// window has a window, and ends when that is closed.
func window([]string) {
	runtime.LockOSThread()
	const (
		wsVisible    = 0x10000000
		wmDestroy    = 2
		wsOverlapped = 0x00CF0000
	)
	type class struct {
		size, style             uint32
		proc                    uintptr
		classExtra, windowExtra int32
		instance                windows.Handle
		icon, cursor, brush     windows.Handle
		menu, name              *uint16
		smallIcon               windows.Handle
	}
	name, _ := windows.UTF16PtrFromString("corral")
	c := class{name: name, proc: syscall.NewCallback(func(w, message, a, b uintptr) uintptr {
		if message == wmDestroy {
			user32.NewProc("PostQuitMessage").Call(8)
			return 0
		}
		result, _, _ := user32.NewProc("DefWindowProcW").Call(w, message, a, b)
		return result
	})}
	c.size = uint32(unsafe.Sizeof(c))
	if ok, _, err := user32.NewProc("RegisterClassExW").Call(uintptr(unsafe.Pointer(&c))); ok == 0 {
		fmt.Println("RegisterClassEx:", err)
		os.Exit(1)
	}
	w, _, err := user32.NewProc("CreateWindowExW").Call(0, uintptr(unsafe.Pointer(name)), uintptr(unsafe.Pointer(name)),
		wsVisible|wsOverlapped, 0, 0, 100, 100, 0, 0, 0, 0)
	if w == 0 {
		fmt.Println("CreateWindowEx:", err)
		os.Exit(1)
	}
	fmt.Println("ready")
	var message struct {
		window       uintptr
		message      uint32
		wparam       uintptr
		lparam       uintptr
		time         uint32
		x, y, unused int32
	}
	for {
		more, _, _ := user32.NewProc("GetMessageW").Call(uintptr(unsafe.Pointer(&message)), 0, 0, 0)
		if int32(more) <= 0 {
			os.Exit(int(message.wparam))
		}
		user32.NewProc("DispatchMessageW").Call(uintptr(unsafe.Pointer(&message)))
	}
}

// TestUsageWindows: the report has what the run used.
func TestUsageWindows(t *testing.T) {
	cmd := inJob("spend")
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	r := cmd.Report()
	if used := time.Duration(r.UserTime + r.SystemTime); used < 50*time.Millisecond {
		t.Errorf("CPU time %v", used)
	}
	winetest.Need(t, "jobs do not know their memory")
	if r.PeakMemory < 64<<20 {
		t.Errorf("memory %d", r.PeakMemory)
	}
}

// TestNestedWindows: a run inside a run belongs to both.
func TestNestedWindows(t *testing.T) {
	probe := escape.NewProbe(t, plain(t))
	path, args, files := probe.Command()
	self, ownerArgs := escape.Command("owner", append([]string{string(corral.Job), path}, args...)...)
	inner := exec.Command(self, ownerArgs...)
	escape.Attach(inner, files)
	cmd := corral.Wrap(inner)
	cmd.StopPlan = corral.StopPlan{}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	probe.Started()
	members := probe.Ready(t.Context())
	seen, err := cmd.Members()
	if err != nil {
		t.Error(err)
	}
	for _, m := range members {
		if !slices.ContainsFunc(seen, func(p corral.Process) bool { return p.PID == m.PID }) {
			t.Errorf("%v is none of the outer run's members: %v", m, seen)
		}
	}
	cmd.Stop(t.Context())
	cmd.Wait()
	gone(t, probe, nil)
}

func plain(t *testing.T) escape.Child {
	all := escape.All()
	i := slices.IndexFunc(all, func(c escape.Child) bool { return c.Name == "plain" })
	if i < 0 {
		t.Fatal("there is no plain child")
	}
	return all[i]
}

// TestOwnerKilledWindows: at whatever moment the owner is killed, nothing is left.
func TestOwnerKilledWindows(t *testing.T) {
	trials := 60
	if testing.Short() {
		trials = 10
	}
	var longest time.Duration
	for i := range trials {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			probe := escape.NewProbe(t, plain(t))
			probe.Interrupt()
			path, args, files := probe.Command()
			self, ownerArgs := escape.Command("owner", append([]string{string(corral.Job), path}, args...)...)
			var owner *exec.Cmd
			var start time.Time
			err := winetest.Start(func() error {
				owner = exec.Command(self, ownerArgs...)
				escape.Attach(owner, files)
				start = time.Now()
				return owner.Start()
			})
			if err != nil {
				t.Fatal(err)
			}
			probe.Started()
			if i == 0 { // this one shows how long it takes
				probe.Ready(t.Context())
				longest = time.Since(start)
			} else {
				time.Sleep(longest * time.Duration(i) / time.Duration(trials)) // this is the trial, not how it is judged
			}
			owner.Process.Kill()
			owner.Wait()
			gone(t, probe, nil)
		})
	}
}

// letGoOf is an owner that ends, and says before whose PID it has started.
func letGoOf(args []string) {
	cmd := inJob("obey")
	cmd.Stdout = os.Stdout
	if args[0] == "detach" {
		cmd.Leftovers = corral.DetachLeftovers
	}
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
	if args[0] == "release" {
		cmd.Process.Release()
		for cmd.Report() == nil {
			time.Sleep(time.Millisecond)
		}
		if err := cmd.Wait(); err != syscall.EINVAL || cmd.Report().Ending != corral.Released || len(cmd.Report().Leftovers) != 1 {
			fmt.Println(err, cmd.Report())
		}
	}
	os.Exit(0)
}

// TestLetGoWindows: who is let go of outlives the owner.
func TestLetGoWindows(t *testing.T) {
	for how, outlives := range map[string]bool{"release": true, "detach": true, "neither": false} {
		t.Run(how, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			owner := command("let-go", how)
			owner.Stdout, owner.Stderr = w, os.Stderr
			err = owner.Start()
			w.Close()
			if err != nil {
				t.Fatal(err)
			}
			said := bufio.NewReader(r)
			line, _ := said.ReadString('\n')
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			id, err := proctree.Identify(pid)
			var h *proctree.Handle
			if err == nil {
				h, err = proctree.Open(id)
			}
			if !outlives && errors.Is(err, proctree.ErrGone) {
				return // it has ended with its owner by now
			}
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			defer h.Signal(os.Kill)
			if outlives {
				if line, err := said.ReadString('\n'); strings.TrimSpace(line) != "ready" {
					t.Errorf("%q, %v", line, err)
				}
			}
			owner.Wait()
			if outlives {
				if err := h.Signal(syscall.Signal(0)); err != nil {
					t.Errorf("it has not outlived its owner: %v", err)
				}
				return
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if err := h.Wait(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}
