package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// terminal is a pseudo-terminal with a program as the leader of its session.
type terminal struct {
	*os.File // the keyboard, and what is shown
	cmd      *exec.Cmd
	shown    chan string // all of it, once the program has ended
}

// inTerminal starts a program in a terminal of the given width.
func inTerminal(t *testing.T, width int, env []string, args ...string) *terminal {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	return startInTerminal(t, width, cmd)
}

func startInTerminal(t *testing.T, width int, cmd *exec.Cmd) *terminal {
	t.Helper()
	ptmx, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { ptmx.Close() })
	fd := int(ptmx.Fd())
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(err)
	must(unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(width)}))
	pts, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("the pseudo-terminals are not mounted here: ", err)
	}
	defer pts.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pts, pts, pts
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	must(cmd.Start())
	term := &terminal{ptmx, cmd, make(chan string, 1)}
	go func() {
		b, err := io.ReadAll(ptmx) // EIO is how the end of it looks: pty(7)
		if err != nil && !errors.Is(err, syscall.EIO) {
			b = fmt.Append(b, err)
		}
		term.shown <- string(b)
	}()
	t.Cleanup(func() { cmd.Process.Kill() })
	return term
}

// end waits for the program and returns its exit status and what was shown.
func (term *terminal) end(t *testing.T) (int, string) {
	t.Helper()
	timer := time.AfterFunc(lifetime, func() { term.cmd.Process.Kill() })
	defer timer.Stop()
	term.cmd.Wait()
	select {
	case shown := <-term.shown:
		return term.cmd.ProcessState.ExitCode(), strings.ReplaceAll(shown, "\r\n", "\n")
	case <-time.After(lifetime):
		t.Fatal("something holds the terminal")
		panic("unreachable")
	}
}

// What is typed reaches the command once; the second Ctrl-C stops the run.
func TestCtrlC(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(fifo, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	f.SetReadDeadline(time.Now().Add(lifetime))
	lines := bufio.NewReader(f)
	expect := func(prefix string) {
		t.Helper()
		if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, prefix) {
			t.Fatalf("event %q, %v; want %q", line, err, prefix)
		}
	}
	term := inTerminal(t, 80, nil, "corral", "--", "child", "-log", fifo, "-echo", "INT,QUIT,WINCH,USR1", "-last", "TERM")
	expect("ready")
	if err := unix.IoctlSetWinsize(int(term.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 50}); err != nil {
		t.Fatal(err)
	}
	expect("got WINCH")
	io.WriteString(term, "\x03")
	expect("got INT")
	term.cmd.Process.Signal(syscall.SIGUSR1) // nothing else came before it
	expect("got USR1")
	io.WriteString(term, "\x1c")
	expect("got QUIT")
	expect("got TERM")
	if status, shown := term.end(t); status != 7 || shown != `^C^\` {
		t.Errorf("status %d, shown %q; want 7, %q", status, shown, `^C^\`)
	}
}

func TestTreeInTerminal(t *testing.T) {
	const width = 40
	status, shown := inTerminal(t, width, []string{"LC_ALL=C.UTF-8", "TERM=xterm", "NO_COLOR="}, "corral", "tree").end(t)
	if status != 0 || !strings.HasPrefix(shown, "\x1b[1m") {
		t.Errorf("status %d, shown %q; want colour", status, shown)
	}
	longest := 0
	for line := range strings.Lines(escapes.ReplaceAllString(shown, "")) {
		longest = max(longest, columns(strings.TrimSuffix(line, "\n")))
	}
	if longest != width {
		t.Errorf("the longest line takes %d columns; want the terminal's %d:\n%s", longest, width, shown)
	}
	for _, env := range []string{"NO_COLOR=1", "TERM=dumb"} {
		_, shown := inTerminal(t, width, []string{"TERM=xterm", env}, "corral", "tree").end(t)
		if strings.Contains(shown, "\x1b") || !strings.Contains(shown, "PID") {
			t.Errorf("%s: %q; want no colour", env, shown)
		}
	}
}

func init() { programs["delivery"] = delivery }

// delivery says whether the terminal serves a child in this process's group,
// and one in a group of its own.
func delivery() {
	for _, group := range []bool{false, true} {
		cmd := exec.Command("cat")
		stdin, err := cmd.StdinPipe()
		if err == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: group}
			err = cmd.Start()
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Print(delivered(cmd.Process.Pid), " ")
		stdin.Close()
		cmd.Wait()
	}
}

func TestDelivered(t *testing.T) {
	if status, shown := inTerminal(t, 80, nil, "delivery").end(t); status != 0 || shown != "true false " {
		t.Errorf("in a terminal: status %d, %q; want %q", status, shown, "true false ")
	}
	// In a session without a terminal.
	cmd := exec.Command("delivery")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if out, err := cmd.Output(); err != nil || !bytes.Equal(out, []byte("false false ")) {
		t.Errorf("without a terminal: %v, %q; want %q", err, out, "false false ")
	}
	// In a terminal, but not in its foreground: another job has that.
	job := `set -m; delivery & wait $!`
	if status, shown := inTerminal(t, 80, nil, "bash", "-c", job).end(t); status != 0 || !strings.HasPrefix(shown, "false false ") {
		if _, err := exec.LookPath("bash"); err != nil {
			t.Skip("no bash")
		}
		t.Errorf("in the background: status %d, %q; want %q", status, shown, "false false ")
	}
}
