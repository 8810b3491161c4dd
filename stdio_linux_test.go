package corral_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/headtail"
	"github.com/corral-run/corral/internal/proctree"
)

// heldScript leaves a process that has standard output open, says its PID and
// something else, and exits.
const heldScript = "exec 4>&1; setsid -f sh -c 'echo $$ >&4; echo; exec sleep 60' | read x; echo done"

// held checks that the process in the first line of the output is the holder,
// and ends it.
func held(t *testing.T, rep *corral.Report, out []byte) {
	t.Helper()
	lines := strings.Fields(string(out))
	if len(lines) != 2 || lines[1] != "done" {
		t.Fatalf("output %q", out)
	}
	pid := atoi(lines[0])
	id, err := proctree.Identify(pid)
	if err != nil || pid <= 1 {
		t.Fatal(err)
	}
	defer syscall.Kill(pid, syscall.SIGKILL)
	if h := rep.Holders; len(h) != 1 || h[0].PID != id.PID || h[0].Start != id.Start || len(h[0].Command) == 0 {
		t.Errorf("holders %v; want %d", h, pid)
	}
}

func TestHolders(t *testing.T) {
	forEach(t, []corral.Containment{corral.Cgroup, corral.Keeper, corral.Group}, func(t *testing.T, cont corral.Containment) {
		run := func(script string) *corral.Cmd {
			cmd := contained(cont, "sh", "-c", script)
			cmd.Leftovers = corral.KeepLeftovers // with group containment it is none of the run
			cmd.WaitDelay = 200 * time.Millisecond
			return cmd
		}
		cmd := run(heldScript)
		began := time.Now()
		out, err := cmd.Output()
		if d := time.Since(began); !errors.Is(err, corral.ErrWaitDelay) || d > 20*time.Second {
			t.Errorf("Output: %v after %v", err, d)
		}
		held(t, cmd.Report(), out)

		// The caller reads to the end before it calls Wait. The leader ends when the
		// caller has the lines: a Read that begins after the delay does not get them.
		cmd = run(heldScript + "; read end <&3")
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		cmd.ExtraFiles = []*os.File{r}
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		err = cmd.Start()
		r.Close()
		if err != nil {
			t.Fatal(err)
		}
		out = []byte(awaitLine(t, stdout) + "\n" + awaitLine(t, stdout))
		io.WriteString(w, "\n")
		if rest, err := io.ReadAll(stdout); !errors.Is(err, os.ErrDeadlineExceeded) || len(rest) > 0 {
			t.Errorf("ReadAll: %q, %v", rest, err)
		}
		if err := cmd.Wait(); !errors.Is(err, corral.ErrWaitDelay) {
			t.Errorf("Wait: %v", err)
		}
		held(t, cmd.Report(), out)
	})
}

// TestNoHolders: a slow reader of what nobody holds is not hurried, and the
// owner's own copy is not somebody's.
func TestNoHolders(t *testing.T) {
	cmd := sh("seq 10000")
	cmd.WaitDelay = time.Millisecond
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// The leader has ended, and the delay has passed twenty times.
	eventually(t, "the run does not end", func() bool {
		row, err := proctree.Lookup(cmd.Process.Pid)
		return err == nil && !row.Alive()
	})
	time.Sleep(20 * time.Millisecond) // less would only show less
	out, err := io.ReadAll(stdout)
	if err != nil || !bytes.HasSuffix(out, []byte("\n10000\n")) {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if err := cmd.Wait(); err != nil || cmd.Report().Holders != nil {
		t.Errorf("Wait: %v, holders %v", err, cmd.Report().Holders)
	}

	// The test holds the end for writing, by way of /proc.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	cmd = sh("echo ready; read x")
	cmd.Stdin = r
	cmd.WaitDelay = 100 * time.Millisecond
	if stdout, err = cmd.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, stdout)
	own, err := os.OpenFile("/proc/self/fd/"+fdOf(stdout.(*os.File)), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	io.WriteString(w, "\n")
	if _, err := io.ReadAll(stdout); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("ReadAll: %v", err)
	}
	if err := cmd.Wait(); !errors.Is(err, corral.ErrWaitDelay) || len(cmd.Report().Holders) > 0 {
		t.Errorf("Wait: %v, holders %v", err, cmd.Report().Holders)
	}
}

func fdOf(f *os.File) (number string) {
	conn, _ := f.SyscallConn()
	conn.Control(func(fd uintptr) { number = strconv.Itoa(int(fd)) })
	return number
}

func TestOutputLimit(t *testing.T) {
	for _, tt := range []struct {
		limit   int64
		script  string
		want    string
		dropped int64
	}{
		{0, "printf 0123456789", "0123456789", 0},
		{10, "printf 0123456789", "0123456789", 0},
		{8, "printf 0123456789", "0123\n... omitting 2 bytes ...\n6789", 2},
		{5, "printf 0123456789", "012\n... omitting 5 bytes ...\n89", 5},
		{8, "printf 01234 >&2; printf 56789 >&2; exit 3", "0123\n... omitting 2 bytes ...\n6789", 2},
	} {
		cmd := sh(tt.script)
		cmd.OutputLimit = tt.limit
		out, err := cmd.CombinedOutput()
		if strings.Contains(tt.script, "exit 3") != isExit(err, 3) || string(out) != tt.want || cmd.Report().OutputDropped != tt.dropped {
			t.Errorf("%d, %s: %q, %v, %d dropped", tt.limit, tt.script, out, err, cmd.Report().OutputDropped)
		}
	}
	// Standard error of an ExitError has its own limit, as in os/exec.
	cmd := sh("printf 0123456789; printf abcdefghij >&2; exit 3")
	cmd.OutputLimit = 2
	out, err := cmd.Output()
	var exit *corral.ExitError
	if !errors.As(err, &exit) || string(exit.Stderr) != "abcdefghij" || string(out) != "0\n... omitting 8 bytes ...\n9" {
		t.Errorf("Output: %q, %v", out, err)
	}
	cmd = sh("true")
	cmd.OutputLimit = -1
	if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), "OutputLimit") {
		t.Errorf("negative: %v", err)
	}
}

// TestOutputLimitPTY: of the terminal, what is copied to Stdout.
func TestOutputLimitPTY(t *testing.T) {
	needPTY(t)
	var out bytes.Buffer
	cmd := sh("printf 0123456789")
	cmd.PTY, cmd.Stdout, cmd.OutputLimit = new(corral.PTY), &out, 8
	if err := cmd.Run(); err != nil || out.String() != "0123\n... omitting 2 bytes ...\n6789" || cmd.Report().OutputDropped != 2 {
		t.Errorf("%q, %v, %d dropped", &out, err, cmd.Report().OutputDropped)
	}
}

// TestOutputLimitMemory: what is left out takes no memory.
func TestOutputLimitMemory(t *testing.T) {
	size := *outputSize
	if testing.Short() {
		size = min(size, 64<<20) // an emulated machine takes minutes for more
	}
	began := rss(t)
	cmd := contained(corral.Group, "head", "-c", strconv.FormatInt(size, 10), "/dev/zero")
	cmd.OutputLimit = 1 << 20
	done := make(chan struct{})
	var out []byte
	var err error
	go func() {
		defer close(done)
		out, err = cmd.Output()
	}()
	most := began
	for look := time.NewTicker(20 * time.Millisecond); ; {
		select {
		case <-look.C:
			most = max(most, rss(t))
			continue
		case <-done:
		}
		look.Stop()
		break
	}
	if err != nil || len(out) < 1<<20 || len(out) > 1<<20+100 || cmd.Report().OutputDropped != size-1<<20 {
		t.Errorf("%v, %d bytes, %d dropped", err, len(out), cmd.Report().OutputDropped)
	}
	if grown := most - began; grown > 32<<20 {
		t.Errorf("memory grew by %d bytes", grown)
	}
}

// rss is the resident memory of this process in bytes.
func rss(t *testing.T) int64 {
	t.Helper()
	row, err := proctree.Lookup(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	return proctree.Detail(row).RSS
}

// TestInputNotWanted: the command exits without having read its input.
func TestInputNotWanted(t *testing.T) {
	big := make([]byte, 10<<20)
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		cmd := contained(cont, "true")
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := stdin.Write(big); !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write: %v", err)
		}
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("Wait: %v", err)
		}
		// After Wait the pipe is closed, if it was not before.
		cmd = contained(cont, "true")
		if stdin, err = cmd.StdinPipe(); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Run(); err != nil {
			t.Error(err)
		}
		if _, err := stdin.Write(big); !errors.Is(err, os.ErrClosed) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("Write after Wait: %v", err)
		}
		// Readers: one with much, one without an end, one that has nothing and does
		// not say so.
		silent, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		defer w.Close()
		for _, tt := range []struct {
			in    io.Reader
			delay time.Duration
			want  error
		}{
			{bytes.NewReader(big), time.Minute, nil},
			{endless{}, time.Minute, nil},
			{struct{ io.Reader }{silent}, 50 * time.Millisecond, corral.ErrWaitDelay},
		} {
			cmd := contained(cont, "head", "-c", "1", "/dev/zero")
			cmd.Stdin = tt.in
			cmd.WaitDelay = tt.delay
			if out, err := cmd.Output(); err != tt.want || string(out) != "\x00" {
				t.Errorf("%T: %q, %v; want %v", tt.in, out, err, tt.want)
			}
		}
		// A lifeline is there to be silent, and so is a keyboard.
		cmd = contained(cont, "true")
		cmd.Stdin, cmd.Lifelines = struct{ io.Reader }{silent}, []corral.Lifeline{corral.LifelineStdin}
		cmd.WaitDelay = 50 * time.Millisecond
		if err := cmd.Run(); err != nil {
			t.Errorf("a lifeline: %v", err)
		}
		cmd = contained(cont, "true")
		cmd.Stdin, cmd.PTY = struct{ io.Reader }{silent}, new(corral.PTY)
		cmd.WaitDelay = 50 * time.Millisecond
		if err := cmd.Run(); err != nil {
			t.Errorf("with a PTY: %v", err)
		}
	})
}

// pieces keeps what it is given by each Write.
type pieces struct{ all [][]byte }

func (p *pieces) Write(b []byte) (int, error) {
	p.all = append(p.all, bytes.Clone(b))
	return len(b), nil
}

// TestNoEmptyWrite: a Writer is not called for nothing, as it may take its time for
// that too.
func TestNoEmptyWrite(t *testing.T) {
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		for _, script := range []string{
			"true", "printf x",
			"exec 4>&1; sleep 60 & printf x", // which is kept, so that the pipe has no end
		} {
			for _, limit := range []int64{0, 1, 10} {
				var got pieces
				cmd := contained(cont, "sh", "-c", script)
				cmd.Stdout = &got
				if limit > 0 {
					cmd.Stdout = &headtail.Writer{To: &got, Limit: limit}
				}
				cmd.WaitDelay = 50 * time.Millisecond
				cmd.Leftovers = corral.KeepLeftovers
				if cont == corral.PIDNS {
					cmd.Leftovers = corral.KillLeftovers // the kernel does so anyway
				}
				cmd.Run()
				for _, l := range cmd.Report().Leftovers {
					if l.Fate == corral.Kept {
						defer syscall.Kill(l.PID, syscall.SIGKILL)
					}
				}
				for _, b := range got.all {
					if len(b) == 0 {
						t.Errorf("%s, limit %d: %q", script, limit, got.all)
					}
				}
			}
		}
	})
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

// TestOutputSuddenEnd: a run that is stopped ends the reading, with what there
// was.
func TestOutputSuddenEnd(t *testing.T) {
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		fifo := t.TempDir() + "/fifo"
		if err := unix.Mkfifo(fifo, 0o600); err != nil {
			t.Fatal(err)
		}
		cmd := contained(cont, "sh", "-c", "trap '' TERM; echo here; (trap '' TERM; sleep 60) & echo >"+fifo+"; sleep 60")
		cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
		var out bytes.Buffer
		cmd.Stdout = &out
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadFile(fifo); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || errors.Is(err, corral.ErrWaitDelay) || out.String() != "here\n" {
			t.Errorf("Wait: %v, %q", err, out.String())
		}
	})
}

// TestNullDevice: a stream that is not set is what os/exec would give the command.
func TestNullDevice(t *testing.T) {
	streams := func(t *testing.T, pid int) (all string) {
		for fd := range 3 {
			file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
			if err != nil {
				t.Fatal(err)
			}
			info := string(readFile(t, fmt.Sprintf("/proc/%d/fdinfo/%d", pid, fd)))
			_, flags, _ := strings.Cut(info, "flags:")
			flags, _, _ = strings.Cut(flags, "\n")
			all += file + flags + "\n"
		}
		return all
	}
	theirs := exec.Command("sleep", "60")
	if err := theirs.Start(); err != nil {
		t.Fatal(err)
	}
	want := streams(t, theirs.Process.Pid)
	theirs.Process.Kill()
	theirs.Wait()
	if strings.Count(want, os.DevNull) != 3 {
		t.Fatalf("os/exec gives %q", want)
	}
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		ours := command(cont, "sleep", "60")
		if err := ours.Start(); err != nil {
			t.Fatal(err)
		}
		// A child in a user namespace hides its descriptors until it has executed, and
		// Start may return a little before that: see cgroups.stillborn.
		eventually(t, "the command is not executed", func() bool {
			row, err := proctree.Lookup(ours.Process.Pid)
			return err == nil && row.Name == "sleep"
		})
		got := streams(t, ours.Process.Pid)
		ours.Kill()
		ours.Wait()
		if got != want {
			t.Errorf("got %q, os/exec gives %q", got, want)
		}
	})
}
