package corral_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
)

// needPTY skips the test where there are no pseudo-terminals.
func needPTY(t *testing.T) {
	t.Helper()
	if _, err := os.Stat("/dev/pts/ptmx"); err != nil {
		t.Skip("SKIPPED: no pseudo-terminals here: ", err)
	}
}

// inPTY returns a shell script with a terminal of its own.
func inPTY(cont corral.Containment, script string) *corral.Cmd {
	cmd := contained(cont, "sh", "-c", script)
	cmd.PTY = new(corral.PTY)
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
	return cmd
}

// plain is what has been shown, without the terminal's carriage returns.
func plain(shown []byte) string { return strings.ReplaceAll(string(shown), "\r\n", "\n") }

func TestPTY(t *testing.T) {
	needPTY(t)
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		// Of proc(5), /proc/pid/stat: 1 is the process, 5 its group, 6 the session,
		// 8 the terminal's foreground group. (The shell may close what ls has found.)
		cmd := inPTY(cont, `tty; stty size; echo opens >/dev/tty; echo err >&2
			set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $1 = $6 ] && [ $1 = $8 ] && echo leads
			ls -l /proc/$$/fd 2>/dev/null | grep -c ptmx; while read flag value; do [ $flag != flags: ] || echo $value; done </proc/$$/fdinfo/0; exit 3`)
		cmd.PTY.Rows, cmd.PTY.Cols = 33, 101
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		shown, err := io.ReadAll(cmd.PTY)
		if err != nil {
			t.Errorf("ReadAll: %v; want end-of-file", err)
		}
		if err := cmd.Wait(); !isExit(err, 3) {
			t.Errorf("Wait: %v; want exit status 3", err)
		}
		lines := strings.Split(plain(shown), "\n")
		if len(lines) != 8 || !strings.HasPrefix(lines[0], "/dev/pts/") {
			t.Fatalf("shown %q", shown)
		}
		// It has not got the owner's end, and its own is blocking, as ever.
		if got := lines[1:5]; !slices.Equal(got, []string{"33 101", "opens", "err", "leads"}) || lines[5] != "0" || atoi(lines[6])/1000%10&4 != 0 {
			t.Errorf("shown %q", lines)
		}
		if n, err := cmd.PTY.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			t.Errorf("Read after Wait: %d, %v", n, err)
		}
		if err := cmd.PTY.Resize(1, 1); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Resize after Wait: %v", err)
		}
		if _, err := cmd.PTY.Write([]byte("x")); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Write after Wait: %v", err)
		}
	})
}

func TestPTYTyping(t *testing.T) {
	needPTY(t)
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		cmd := inPTY(cont, `
			trap 'resized=1; stty size' WINCH
			echo ready; until [ "$resized" ]; do sleep 1 & wait $!; done
			trap 'echo interrupted' INT
			read line; echo "<$line>"
			sleep 60
			cat`)
		cmd.PTY.NoEcho = true
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		expect := func(want string) {
			t.Helper()
			if got := strings.TrimSuffix(awaitLine(t, cmd.PTY), "\r"); got != want {
				t.Fatalf("shown %q; want %q", got, want)
			}
		}
		expect("ready")
		if err := cmd.PTY.Resize(44, 55); err != nil {
			t.Fatal(err)
		}
		expect("44 55")
		io.WriteString(cmd.PTY, "hello\n")
		expect("<hello>")
		// The foreground group has the signal: the shell, and sleep as soon as it
		// is in its place.
		members := func() []string { return names(t, cmd) }
		eventually(t, "the shell does not come to sleep", func() bool { return slices.Contains(members(), "sleep 60") })
		io.WriteString(cmd.PTY, "\x03")
		for line := ""; line != "interrupted"; {
			line = strings.TrimSuffix(awaitLine(t, cmd.PTY), "\r")
			line = strings.TrimPrefix(line, "^C")
		}
		// Input that ends within a line.
		io.WriteString(cmd.PTY, "a\nb")
		if err := cmd.PTY.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		rest, err := io.ReadAll(cmd.PTY)
		if plain(rest) != "a\nb" || err != nil {
			t.Errorf("cat: %q, %v", rest, err)
		}
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
}

func names(t *testing.T, cmd *corral.Cmd) (all []string) {
	t.Helper()
	members, err := cmd.Members()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		all = append(all, strings.Join(m.Command, " "))
	}
	return all
}

// TestPTYCopies: the streams of the Cmd, where they are set.
func TestPTYCopies(t *testing.T) {
	needPTY(t)
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		cmd := inPTY(cont, "cat; echo done")
		cmd.PTY.NoEcho = true
		cmd.Stdin = strings.NewReader("one\ntwo")
		if out, err := cmd.Output(); err != nil || plain(out) != "one\ntwodone\n" {
			t.Errorf("Output: %q, %v", out, err)
		}
		if _, err := cmd.PTY.Read(nil); err == nil || !strings.Contains(err.Error(), "Cmd.Stdout") {
			t.Errorf("Read: %v", err)
		}

		// Input that nobody wants, and input that does not come.
		silent, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		defer w.Close()
		for _, in := range []io.Reader{endless{}, silent} {
			cmd = inPTY(cont, "echo done")
			cmd.PTY.NoEcho = true
			cmd.Stdin, cmd.WaitDelay = in, 50*time.Millisecond
			if out, err := cmd.Output(); err != nil || plain(out) != "done\n" {
				t.Errorf("%T: %q, %v", in, out, err)
			}
		}

		// More than the terminal holds, up to the last byte.
		cmd = inPTY(cont, "echo >&2; seq 20000; exit 3")
		out, err := cmd.CombinedOutput()
		if lines := strings.Fields(string(out)); !isExit(err, 3) || len(lines) != 20000 || lines[len(lines)-1] != "20000" {
			t.Errorf("CombinedOutput: %v, %d lines, %d bytes", err, len(lines), len(out))
		}

		// To a file it is copied as well: the command has the terminal.
		file, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		cmd = inPTY(cont, "test -t 1 && echo terminal")
		cmd.Stdout, cmd.Stderr = file, file
		if err := cmd.Run(); err != nil {
			t.Error(err)
		}
		if text, _ := os.ReadFile(file.Name()); plain(text) != "terminal\n" {
			t.Errorf("file: %q", text)
		}
	})
}

// TestPTYReadLater: who reads after Wait, or at the same time, misses nothing.
func TestPTYReadLater(t *testing.T) {
	needPTY(t)
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		cmd := inPTY(cont, "seq 500")
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		var want bytes.Buffer
		for i := range 500 {
			fmt.Fprintln(&want, i+1)
		}
		if shown, err := io.ReadAll(cmd.PTY); err != nil || plain(shown) != want.String() {
			t.Errorf("after Wait: %v, %d bytes up to %q", err, len(shown), shown[max(0, len(shown)-40):])
		}

		cmd = inPTY(cont, "seq 500")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		read := make(chan string)
		go func() {
			shown, err := io.ReadAll(cmd.PTY)
			if err != nil {
				t.Error(err)
			}
			read <- plain(shown)
		}()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		if shown := <-read; shown != want.String() {
			t.Errorf("during Wait: %q", shown)
		}
	})
}

func TestPTYStops(t *testing.T) {
	needPTY(t)
	forEach(t, strong, func(t *testing.T, cont corral.Containment) {
		// What has left the session holds the terminal, and is stopped.
		// What the leader has written last is not lost to the hang-up.
		cmd := inPTY(cont, "exec 4>&1; setsid -f sh -c 'echo here >&4; echo; exec sleep 60' | read x; seq 2000")
		began := time.Now()
		out, err := cmd.Output()
		if text := plain(out); err != nil || !strings.HasPrefix(text, "here\n1\n") || !strings.HasSuffix(text, "\n2000\n") || len(out) != 6+10893 || len(cmd.Report().Leftovers) != 1 {
			t.Errorf("%v, %d bytes, leftovers %v", err, len(out), cmd.Report().Leftovers)
		}
		if d := time.Since(began); d > 30*time.Second {
			t.Errorf("it took %v", d)
		}

		inTime(t, time.Second, func(timeout time.Duration) bool {
			r, w, perr := os.Pipe()
			if perr != nil {
				t.Fatal(perr)
			}
			defer r.Close()
			cmd = inPTY(cont, "trap '' TERM HUP; setsid sleep 60 & echo here; echo >&3; sleep 60")
			cmd.Timeout, cmd.ExtraFiles = timeout, []*os.File{w}
			out, err = cmd.Output()
			w.Close()
			said, _ := io.ReadAll(r)
			return len(said) > 0
		})
		if !errors.Is(err, context.DeadlineExceeded) || cmd.Report().Ending != corral.TimedOut || !cmd.Report().Forced || plain(out) != "here\n" {
			t.Errorf("timeout: %v, %q, %+v", err, out, cmd.Report())
		}
	})
}

// TestPTYHeld: a process that is kept has the terminal open, and reading ends all
// the same, with what there was.
func TestPTYHeld(t *testing.T) {
	needPTY(t)
	const script = "exec 4>&1; setsid -f sh -c 'echo $$ >&4; echo; exec sleep 60' | read x; echo done"
	kept := func(cont corral.Containment) *corral.Cmd {
		cmd := inPTY(cont, script)
		cmd.Leftovers = corral.KeepLeftovers
		cmd.WaitDelay = 200 * time.Millisecond
		return cmd
	}
	for name, run := range map[string]func(*testing.T, *corral.Cmd) ([]byte, error){
		"copied": func(_ *testing.T, cmd *corral.Cmd) ([]byte, error) { return cmd.Output() },
		"read before Wait": func(t *testing.T, cmd *corral.Cmd) ([]byte, error) {
			if err := cmd.Start(); err != nil {
				return nil, err
			}
			shown, err := io.ReadAll(cmd.PTY)
			if !errors.Is(err, corral.ErrWaitDelay) {
				t.Errorf("ReadAll: %v", err)
			}
			return shown, cmd.Wait()
		},
		"read after Wait": func(t *testing.T, cmd *corral.Cmd) ([]byte, error) {
			werr := cmd.Run()
			shown, err := io.ReadAll(cmd.PTY)
			if !errors.Is(err, corral.ErrWaitDelay) {
				t.Errorf("ReadAll: %v", err)
			}
			return shown, werr
		},
	} {
		t.Run(name, func(t *testing.T) {
			forEach(t, strong, func(t *testing.T, cont corral.Containment) {
				if cont == corral.PIDNS {
					t.Skip("the kernel keeps nothing of a PID namespace")
				}
				cmd := kept(cont)
				began := time.Now()
				shown, err := run(t, cmd)
				took := time.Since(began)
				rep := cmd.Report()
				if len(rep.Leftovers) != 1 {
					t.Fatalf("leftovers %v, %v, %q", rep.Leftovers, err, shown)
				}
				left := rep.Leftovers[0]
				defer syscall.Kill(left.PID, syscall.SIGKILL)
				if !errors.Is(err, corral.ErrWaitDelay) || took > 20*time.Second {
					t.Errorf("%v after %v", err, took)
				}
				if lines := strings.Fields(string(shown)); len(lines) != 2 || atoi(lines[0]) != left.PID || lines[1] != "done" {
					t.Errorf("shown %q", shown)
				}
				if len(rep.Holders) != 1 || rep.Holders[0].PID != left.PID || rep.Holders[0].Start != left.Start {
					t.Errorf("holders %v; want %v", rep.Holders, left.Process)
				}
			})
		})
	}
}

// TestPTYClose hangs up.
func TestPTYClose(t *testing.T) {
	needPTY(t)
	forEach(t, containments, func(t *testing.T, cont corral.Containment) {
		cmd := inPTY(cont, "echo ready; exec sleep 60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		awaitLine(t, cmd.PTY)
		if err := cmd.PTY.Close(); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); cmd.Report().Signal != "SIGHUP" {
			t.Errorf("Wait: %v", err)
		}
		if _, err := cmd.PTY.Read(make([]byte, 1)); !errors.Is(err, os.ErrClosed) {
			t.Errorf("Read: %v", err)
		}
	})
}

// TestPTYLike: the settings come from another terminal.
func TestPTYLike(t *testing.T) {
	needPTY(t)
	outer := inPTY(corral.Group, "stty -echo -onlcr intr ^X rows 12 cols 34; echo set; read x")
	if err := outer.Start(); err != nil {
		t.Fatal(err)
	}
	awaitLine(t, outer.PTY)
	fd, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/0", outer.Process.Pid), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close()
	for _, rows := range []uint16{0, 7} {
		cmd := inPTY(corral.Group, "stty size; stty -a")
		cmd.PTY.Like, cmd.PTY.Rows = fd, rows
		out, err := cmd.Output()
		want := "12 34\n"
		if rows > 0 {
			want = "7 34\n"
		}
		if text := string(out); err != nil || !strings.HasPrefix(text, want) || !strings.Contains(text, "intr = ^X") || !strings.Contains(text, " -echo ") || !strings.Contains(text, "-onlcr") {
			t.Errorf("rows %d: %v, %s", rows, err, out)
		}
	}
	fd.Close()
	io.WriteString(outer.PTY, "\n")
	if err := outer.Wait(); err != nil {
		t.Error(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	cmd := inPTY(corral.Group, "true")
	cmd.PTY.Like = null
	if err := cmd.Start(); err == nil || !errors.Is(err, syscall.ENOTTY) {
		t.Errorf("Like what is no terminal: %v", err)
	}
}

func TestPTYErrors(t *testing.T) {
	needPTY(t)
	null := new(bytes.Buffer)
	for want, change := range map[string]func(*corral.Cmd){
		"Setpgid":      func(c *corral.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} },
		"Foreground":   func(c *corral.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Foreground: true} },
		"Setctty":      func(c *corral.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setctty: true} },
		"Noctty":       func(c *corral.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Noctty: true} },
		"Stderr and a": func(c *corral.Cmd) { c.Stderr = null },
		"StdinPipe":    func(c *corral.Cmd) { c.StdinPipe() },
		"StdoutPipe":   func(c *corral.Cmd) { c.StdoutPipe() },
		"no such file": func(c *corral.Cmd) { c.Path = "/no/such/file" },
	} {
		before := descriptors(t)
		cmd := inPTY(corral.Group, "true")
		if _, err := cmd.PTY.Read(nil); err == nil {
			t.Error("Read before Start succeeds")
		}
		for _, err := range []error{cmd.PTY.Resize(1, 1), cmd.PTY.CloseWrite(), cmd.PTY.Close()} {
			if err == nil {
				t.Error("a method succeeds before Start")
			}
		}
		change(cmd)
		if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Start: %v; want %q", err, want)
		}
		if after := descriptors(t); after > before {
			t.Errorf("%s: %d descriptors before, %d after", want, before, after)
		}
	}
	attr := &syscall.SysProcAttr{Setsid: true}
	cmd := inPTY(corral.Group, "true")
	cmd.SysProcAttr = attr
	if err := cmd.Run(); err != nil || attr.Setctty {
		t.Errorf("Run: %v; the caller's attributes are %+v", err, attr)
	}
	again := inPTY(corral.Group, "true")
	again.PTY = cmd.PTY
	if err := again.Start(); err == nil || !strings.Contains(err.Error(), "another command's") {
		t.Errorf("a PTY twice: %v", err)
	}
}
