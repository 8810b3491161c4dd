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
	"strconv"
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
	pieces   chan []byte // of what is shown, as it comes; closed at the end
	seen     strings.Builder
	awaited  int // so much of what has been seen
}

// inTerminal starts a program in a terminal of the given width.
func inTerminal(t *testing.T, width int, env []string, args ...string) *terminal {
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
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pts, pts, pts
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	must(cmd.Start())
	term := &terminal{File: ptmx, cmd: cmd, pieces: make(chan []byte, 1000)}
	go func() {
		defer close(term.pieces)
		for {
			b := make([]byte, 4096)
			n, err := ptmx.Read(b)
			if err != nil && err != io.EOF && !errors.Is(err, syscall.EIO) { // EIO is how the end of it looks: pty(7)
				b = fmt.Append(b[:n], err)
				n = len(b)
			}
			term.pieces <- b[:n]
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { cmd.Process.Kill() })
	return term
}

// look waits for more to be shown, and reports whether there is any.
func (term *terminal) look(t *testing.T) bool {
	t.Helper()
	select {
	case b, ok := <-term.pieces:
		term.seen.Write(b)
		return ok
	case <-time.After(lifetime):
		t.Fatalf("something holds the terminal; shown %q", term.seen.String())
		panic("unreachable")
	}
}

// await returns what is shown up to the given text, after what has been awaited
// before.
func (term *terminal) await(t *testing.T, text string) string {
	t.Helper()
	for {
		fresh := term.seen.String()[term.awaited:]
		if i := strings.Index(fresh, text); i >= 0 {
			term.awaited += i + len(text)
			return fresh[:i+len(text)]
		}
		if !term.look(t) {
			t.Fatalf("shown %q; want %q", fresh, text)
		}
	}
}

// end waits for the program and returns its exit status and what was shown.
func (term *terminal) end(t *testing.T) (int, string) {
	t.Helper()
	timer := time.AfterFunc(lifetime, func() { term.cmd.Process.Kill() })
	defer timer.Stop()
	term.cmd.Wait()
	for term.look(t) {
	}
	return term.cmd.ProcessState.ExitCode(), strings.ReplaceAll(term.seen.String(), "\r\n", "\n")
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

// With --pty, corral's own terminal is in raw mode as long as the command has the
// other one, and as it was afterwards, however it ends.
func TestPTYInTerminal(t *testing.T) {
	typing := func(keys string) func(*terminal, int) {
		return func(term *terminal, _ int) { io.WriteString(term, keys) }
	}
	for _, tt := range []struct {
		name, script string
		end          func(term *terminal, corral int)
		status       int
		shown        string
	}{
		{"command ends", "stty size; stty -a | grep -o 'intr = ^[A-Z]'; echo ready; read x; echo \"<$x>\"; exit 3",
			typing("key\r"), 3, "24 77\nintr = ^X\nready\nkey\n<key>\n"},
		{"interrupt", "trap 'echo got; exit 4' INT; echo ready; read x; read x", typing("\x18"), 4, "ready\n^Xgot\n"},
		{"resize", "trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 1 & wait $!; done",
			func(term *terminal, _ int) {
				unix.IoctlSetWinsize(int(term.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 10, Col: 50})
			}, 6, "ready\n10 50\n"},
		{"signal", "trap 'exit 5' TERM; echo ready; read x; read x",
			func(_ *terminal, corral int) { syscall.Kill(corral, syscall.SIGTERM) }, 5, "ready\n"},
		{"killed command", "echo ready; read x; kill -KILL $$", typing("\r"), 128 + 9, "ready\n\n"},
		{"no command", "", nil, 127, "corral: /no/such/file: no such file or directory\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			args := []string{"sh", "-c", tt.script}
			if tt.script == "" {
				args = []string{"/no/such/file"}
			}
			// The shell stays, as the terminal's session would end with it.
			const around = `stty intr ^X; stty -g; sh -c 'echo $$; exec "$@"' sh "$@"; s=$?; stty -g; exit $s`
			term := inTerminal(t, 77, nil, append([]string{"sh", "-c", around, "sh", "corral", "-q", "--pty", "--"}, args...)...)
			term.await(t, "\n")
			corral, err := strconv.Atoi(strings.TrimSpace(term.await(t, "\n")))
			if err != nil || corral <= 1 {
				t.Fatalf("PID %d, %v", corral, err)
			}
			if tt.end != nil {
				term.await(t, "ready")
				for deadline := time.Now().Add(lifetime); ; time.Sleep(time.Millisecond) {
					modes, err := unix.IoctlGetTermios(int(term.Fd()), unix.TCGETS)
					if err == nil && modes.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == 0 {
						break
					}
					if time.Now().After(deadline) {
						t.Fatal("the terminal is not set to raw mode")
					}
				}
				tt.end(term, corral)
			}
			status, shown := term.end(t)
			lines := strings.SplitN(shown, "\n", 3)
			before, rest := lines[0], lines[2]
			if len(before) < 20 || !strings.HasSuffix(rest, before+"\n") {
				t.Fatalf("the terminal was set to %q; shown then %q", before, rest)
			}
			if got := strings.TrimSuffix(rest, before+"\n"); status != tt.status || got != tt.shown {
				t.Errorf("status %d, shown %q; want %d, %q", status, got, tt.status, tt.shown)
			}
		})
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
