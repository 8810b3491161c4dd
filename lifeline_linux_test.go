package corral_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
)

// A link is something that a lifeline can hang on, and how it is cut.
type link struct {
	name corral.Lifeline
	cut  func()
	file *os.File // for Stdin
}

// links makes one of each kind. They are cut at the end of the test at the latest.
func links(t *testing.T) map[string]func() link {
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ours := func(f *os.File) corral.Lifeline {
		t.Cleanup(func() { f.Close() })
		return corral.Lifeline("fd:" + strconv.Itoa(int(f.Fd())))
	}
	return map[string]func() link{
		"stdin": func() link {
			r, w, err := os.Pipe()
			must(err)
			t.Cleanup(func() { r.Close(); w.Close() })
			return link{corral.LifelineStdin, func() { w.Close() }, r}
		},
		"pipe": func() link {
			r, w, err := os.Pipe()
			must(err)
			_, err = w.WriteString("nobody reads this")
			must(err)
			t.Cleanup(func() { w.Close() })
			return link{name: ours(r), cut: func() { w.Close() }}
		},
		"writing": func() link {
			r, w, err := os.Pipe()
			must(err)
			t.Cleanup(func() { r.Close() })
			return link{name: ours(w), cut: func() { r.Close() }}
		},
		"socket": func() link {
			fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			must(err)
			far := os.NewFile(uintptr(fds[1]), "socket")
			t.Cleanup(func() { far.Close() })
			return link{name: ours(os.NewFile(uintptr(fds[0]), "socket")), cut: func() { far.Close() }}
		},
		"connection": func() link {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			must(err)
			defer l.Close()
			conn, err := net.Dial("tcp", l.Addr().String())
			if errors.Is(err, unix.ENETUNREACH) { // a machine without a network
				l, err = net.Listen("unix", filepath.Join(t.TempDir(), "socket"))
				must(err)
				defer l.Close()
				conn, err = net.Dial("unix", l.Addr().String())
			}
			must(err)
			far, err := l.Accept()
			must(err)
			f, err := conn.(interface{ File() (*os.File, error) }).File()
			must(err)
			conn.Close()
			t.Cleanup(func() { far.Close() })
			return link{name: ours(f), cut: func() { far.Close() }}
		},
		"process": func() link {
			cmd := exec.Command("sleep", "60")
			must(cmd.Start())
			cut := func() { cmd.Process.Kill(); cmd.Wait() }
			t.Cleanup(cut)
			return link{name: corral.Lifeline("pid:" + strconv.Itoa(cmd.Process.Pid)), cut: cut}
		},
	}
}

// TestLifeline: when a lifeline is lost, all members go, also one in a session of
// its own; the other lifelines do not matter.
func TestLifeline(t *testing.T) {
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		for name := range links(t) {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				all := links(t)
				lost := all[name]()
				script := `setsid sleep 60 & echo; exec sleep 61`
				if cont == corral.Group { // from which the session would escape
					script = `sleep 60 & echo; exec sleep 61`
				}
				cmd := corral.Command("sh", "-c", script)
				cmd.Containment, cmd.Require = cont, cont
				// It obeys at once, but on a busy machine at once takes its time.
				cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Minute}}
				// The keeper of a subtest beside this one holds the output, too, until
				// it has come to close what is not its own.
				cmd.WaitDelay = 20 * time.Second
				for other, make := range all {
					if l := make(); other != name && l.file == nil {
						cmd.Lifelines = append(cmd.Lifelines, l.name)
					}
				}
				cmd.Lifelines = append(cmd.Lifelines, lost.name)
				if lost.file != nil {
					cmd.Stdin = lost.file
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
					t.Fatal(err)
				}
				lost.cut()
				if _, err := io.Copy(io.Discard, out); err != nil {
					t.Errorf("what the members hold is not closed: %v", err)
				}
				err = cmd.Wait()
				var lifeline *corral.LifelineError
				if !errors.As(err, &lifeline) || lifeline.Lifeline != lost.name {
					t.Errorf("error %v, want that %s is lost", err, lost.name)
				}
				if r := cmd.Report(); r.Ending != corral.LifelineLost || r.Lifeline != lost.name || r.Forced {
					t.Errorf("ending %s, lifeline %q, forced %v", r.Ending, r.Lifeline, r.Forced)
				}
			})
		}
	})
}

// TestLifelineInput: what is read before the end is the command's, unchanged, and
// the end too.
func TestLifelineInput(t *testing.T) {
	input := make([]byte, 1<<20)
	for i := range input {
		input[i] = byte(rand.N(256))
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	go func() {
		w.Write(input)
		w.Close()
	}()
	for name, in := range map[string]io.Reader{"file": r, "reader": bytes.NewReader(input)} {
		t.Run(name, func(t *testing.T) {
			cmd := corral.Command("cat")
			cmd.Stdin, cmd.Lifelines = in, []corral.Lifeline{corral.LifelineStdin}
			out, err := cmd.Output()
			if !bytes.Equal(out, input) {
				t.Errorf("%d bytes have come, which are not those %d that were sent", len(out), len(input))
			}
			if err != nil || cmd.Report().Ending != corral.Exited {
				t.Error(err, cmd.Report())
			}
		})
	}
}

// TestLifelineUnread: that the other end is gone is noticed also if the command
// does not read, and so never gets to the end.
func TestLifelineUnread(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := corral.Command("sleep", "60")
	cmd.Stdin, cmd.Lifelines = r, []corral.Lifeline{corral.LifelineStdin}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	// More than the command's pipe, and what is on the way there, can hold.
	if _, err := w.Write(make([]byte, 150_000)); err != nil {
		t.Fatal(err)
	}
	w.Close()
	cmd.Wait()
	if r := cmd.Report(); r.Ending != corral.LifelineLost || r.Elapsed > 20*time.Second {
		t.Errorf("ending %s after %v", r.Ending, r.Elapsed)
	}
}

// TestLifelineNotLost: a run that ends before its lifelines leaves nothing of
// them, reads no more of its input than has come, and does not wait for more.
func TestLifelineNotLost(t *testing.T) {
	all := links(t)
	var lines []link
	for _, make := range all {
		lines = append(lines, make())
	}
	run := func() {
		cmd := corral.Command("true")
		for _, l := range lines {
			cmd.Lifelines = append(cmd.Lifelines, l.name)
			if l.file != nil {
				cmd.Stdin = l.file
			}
		}
		if err := cmd.Run(); err != nil || cmd.Report().Ending != corral.Exited {
			t.Fatal(cmd.Report(), err)
		}
	}
	fds := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	run()
	goroutines, descriptors := runtime.NumGoroutine(), fds()
	for range 20 {
		run()
	}
	eventually(t, "goroutines are left", func() bool { return runtime.NumGoroutine() <= goroutines })
	if now := fds(); now > descriptors {
		t.Errorf("%d descriptors, there were %d", now, descriptors)
	}
}

// TestLifelineNotInherited: the command does not hold the lifeline, which it would
// keep from being lost in whoever has the other end.
func TestLifelineNotInherited(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	fd, err := unix.Dup(int(r.Fd())) // without close-on-exec, as it comes from a shell
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cmd := corral.Command("sh", "-c", fmt.Sprintf("test ! -e /proc/self/fd/%d", fd))
	cmd.Lifelines = []corral.Lifeline{corral.Lifeline("fd:" + strconv.Itoa(fd))}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestLifelineErrors: one that cannot be watched, or is lost already, is an error
// before anything is started.
func TestLifelineErrors(t *testing.T) {
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	w.Close()
	file, err := os.Open(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	listener, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(listener)
	for _, tt := range []struct {
		name  string
		line  corral.Lifeline
		stdin io.Reader
		want  string
	}{
		{"word", "foo", nil, "want stdin, tty, parent, fd:N or pid:N"},
		{"empty", "", nil, "want stdin"},
		{"negative", "fd:-1", nil, "want stdin"},
		{"number", "pid:x", nil, "want stdin"},
		{"closed", "fd:1048576", nil, "no such descriptor is open"},
		{"file", corral.Lifeline("fd:" + strconv.Itoa(int(file.Fd()))), nil, "a file, which cannot tell"},
		{"device", corral.Lifeline("fd:" + strconv.Itoa(int(null.Fd()))), nil, "the null device, which cannot tell"},
		{"unconnected", corral.Lifeline("fd:" + strconv.Itoa(listener)), nil, "a socket without a connection"},
		{"lost", corral.Lifeline("fd:" + strconv.Itoa(int(r.Fd()))), nil, "lifeline lost: fd:"},
		{"gone", corral.Lifeline("pid:" + strconv.Itoa(gone.Process.Pid)), nil, "there is no such process"},
		{"self", corral.Lifeline("pid:" + strconv.Itoa(os.Getpid())), nil, "the owner itself"},
		{"no input", corral.LifelineStdin, nil, "no Stdin"},
		{"file input", corral.LifelineStdin, file, "a file, which cannot tell"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cmd := corral.Command("sleep", "60")
			cmd.Stdin, cmd.Lifelines = tt.stdin, []corral.Lifeline{tt.line}
			err := cmd.Start()
			if err == nil {
				cmd.Process.Signal(syscall.SIGKILL)
				cmd.Wait()
				t.Fatal("it has been started")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %q; want %q", err, tt.want)
			}
			var lost *corral.LifelineError
			if errors.As(err, &lost) != (tt.name == "lost") {
				t.Errorf("error %v is of the wrong type", err)
			}
		})
	}
}
