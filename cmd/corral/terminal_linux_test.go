package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// screen is a pseudo-terminal with a program as the leader of its session.
type screen struct {
	*os.File // the keyboard, and what is shown
	t        *testing.T
	cmd      *exec.Cmd

	mu      sync.Mutex
	shown   []byte
	seen    int           // how much of it expect has passed
	more    chan struct{} // has an element if there is more
	noMore  chan struct{} // closed when nothing more will come
	failure error
}

// inTerminal starts a program in a terminal of the given width.
func inTerminal(t *testing.T, width int, env []string, args ...string) *screen {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	return startInTerminal(t, width, cmd)
}

func startInTerminal(t *testing.T, width int, cmd *exec.Cmd) *screen {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Skip("SKIPPED: no pseudo-terminals here: ", err)
	}
	ptmx := os.NewFile(uintptr(fd), "/dev/ptmx")
	t.Cleanup(func() { ptmx.Close() })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	must(err)
	pts, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skip("SKIPPED: the pseudo-terminals are not mounted here: ", err)
	}
	defer pts.Close()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pts, pts, pts
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Setsid, cmd.SysProcAttr.Setctty = true, true
	s := &screen{File: ptmx, t: t, cmd: cmd, more: make(chan struct{}, 1), noMore: make(chan struct{})}
	s.resize(24, width)
	must(cmd.Start())
	go s.watch()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return s
}

// resize sets the size of the window.
func (s *screen) resize(rows, columns int) {
	s.t.Helper()
	s.control(func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: uint16(rows), Col: uint16(columns)})
	})
}

// modes returns how the terminal is set.
func (s *screen) modes() (modes unix.Termios) {
	s.t.Helper()
	s.control(func(fd int) error {
		now, err := unix.IoctlGetTermios(fd, unix.TCGETS)
		if err == nil {
			modes = *now
		}
		return err
	})
	return modes
}

// expectRaw waits until the terminal is in raw mode.
func (s *screen) expectRaw(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(lifetime); ; time.Sleep(time.Millisecond) {
		modes := s.modes()
		if modes.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the terminal is not set to raw mode")
		}
	}
}

// control is for ioctl(2). After Fd, a Close would wait for whoever is reading.
func (s *screen) control(f func(fd int) error) {
	s.t.Helper()
	conn, err := s.SyscallConn()
	if err == nil {
		cerr := conn.Control(func(fd uintptr) { err = f(int(fd)) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *screen) watch() {
	defer close(s.noMore)
	hungUp := false
	for b := make([]byte, 4096); ; {
		n, err := s.Read(b)
		if errors.Is(err, syscall.EIO) && !hungUp {
			// There may be more: see terminal.ended in the root package's pty.go.
			hungUp = true
			continue
		}
		s.mu.Lock()
		s.shown = append(s.shown, b[:n]...)
		if err != nil && err != io.EOF && !errors.Is(err, syscall.EIO) && !errors.Is(err, os.ErrClosed) {
			s.failure = err // EIO is how the end of it looks: pty(7)
		}
		s.mu.Unlock()
		if err != nil {
			return
		}
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
}

func (s *screen) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ReplaceAll(string(s.shown), "\r\n", "\n")
}

// expect waits until text is shown, after what the last call has found, and
// returns what is shown up to its end.
func (s *screen) expect(text string) string {
	s.t.Helper()
	deadline := time.After(lifetime / 2)
	for ended := false; ; {
		s.mu.Lock()
		rest := s.shown[s.seen:]
		i := bytes.Index(rest, []byte(text))
		if i >= 0 {
			s.seen += i + len(text)
		}
		s.mu.Unlock()
		switch {
		case i >= 0:
			return string(rest[:i+len(text)])
		case ended:
			s.t.Fatalf("the terminal's end (%v); want %q in %q", s.failure, text, rest)
		}
		select {
		case <-s.more:
		case <-s.noMore:
			ended = true // what was shown last may have come after the look
		case <-deadline:
			s.t.Fatalf("want %q in %q", text, rest)
		}
	}
}

// types presses keys.
func (s *screen) types(keys string) {
	s.t.Helper()
	if _, err := io.WriteString(s, keys); err != nil {
		s.t.Fatal(err)
	}
}

// end waits for the program and returns its exit status and what was shown.
func (s *screen) end(t *testing.T) (int, string) {
	t.Helper()
	timer := time.AfterFunc(lifetime, func() { s.cmd.Process.Kill() })
	defer timer.Stop()
	s.cmd.Wait()
	select {
	case <-s.noMore:
		if s.failure != nil {
			t.Error(s.failure)
		}
		return s.cmd.ProcessState.ExitCode(), s.text()
	case <-time.After(lifetime):
		t.Fatal("something holds the terminal")
		panic("unreachable")
	}
}

// fifo is where programs called child tell of their signals.
type fifo struct {
	t     *testing.T
	path  string
	lines *bufio.Reader
}

func newFIFO(t *testing.T) *fifo {
	t.Helper()
	path := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	f.SetReadDeadline(time.Now().Add(lifetime))
	return &fifo{t, path, bufio.NewReader(f)}
}

// expect waits for the next line, and returns what follows the prefix that it
// must have.
func (f *fifo) expect(prefix string) string {
	f.t.Helper()
	line, err := f.lines.ReadString('\n')
	rest, ok := strings.CutPrefix(line, prefix)
	if err != nil || !ok {
		f.t.Fatalf("event %q, %v; want %q", line, err, prefix)
	}
	return strings.TrimSpace(rest)
}

// ready waits for a child to come up, and returns its PID.
func (f *fifo) ready() int {
	f.t.Helper()
	pid, err := strconv.Atoi(f.expect("ready "))
	if err != nil {
		f.t.Fatal(err)
	}
	return pid
}

// forTerminal runs a test with each containment that leaves the command in the
// foreground; corral is the command with its flags. A PID namespace is not for
// tests that want to know a PID.
func forTerminal(t *testing.T, test func(t *testing.T, corral string), more ...string) {
	for _, cont := range append(more, "cgroup", "keeper") {
		t.Run(cont, func(t *testing.T) {
			skipWithout(t, cont)
			test(t, fmt.Sprintf("corral --containment %s --require %s --grace 10s --", cont, cont))
		})
	}
}

// What is typed reaches the command once; the second Ctrl-C stops the run.
func TestCtrlC(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		events := newFIFO(t)
		args := append(strings.Fields(corral), "child", "-log", events.path, "-echo", "INT,QUIT,WINCH,USR1,TERM", "-last", "USR2")
		term := inTerminal(t, 80, nil, args...)
		events.ready()
		term.resize(10, 50)
		events.expect("got WINCH")
		term.types("\x03")
		events.expect("got INT")
		term.cmd.Process.Signal(syscall.SIGUSR1) // nothing else came before it
		events.expect("got USR1")
		term.types("\x1c")
		got := []string{events.expect("got "), events.expect("got ")}
		slices.Sort(got) // two threads of the child may have had one each
		if diff := cmp.Diff([]string{"QUIT", "TERM"}, got); diff != "" {
			t.Error(diff)
		}
		term.cmd.Process.Signal(syscall.SIGUSR2)
		events.expect("got USR2")
		if status, shown := term.end(t); status != 7 || shown != `^C^\` {
			t.Errorf("status %d, shown %q; want 7, %q", status, shown, `^C^\`)
		}
	})
}

// bash starts an interactive shell, which has job control.
func bash(t *testing.T) *screen {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("SKIPPED: no bash")
	}
	s := inTerminal(t, 200, []string{"PS1=ready> ", "TERM=dumb", "HISTFILE="}, "bash", "--norc", "--noprofile", "-i")
	s.expect("ready> ")
	return s
}

// comesTo waits until a process is in the given state.
func comesTo(t *testing.T, pid int, want proctree.State) {
	t.Helper()
	for deadline := time.Now().Add(lifetime / 2); ; time.Sleep(time.Millisecond) {
		row, err := proctree.Lookup(pid)
		if err == nil && row.State == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("process %d: %+v, %v; want state %c", pid, row, err, want)
		}
	}
}

// A shell in corral in a shell: each has its own jobs.
func TestShellInShell(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		events := newFIFO(t)
		s := bash(t)
		s.types(corral + " env PS1='inner> ' bash --norc --noprofile -i\n")
		s.expect("\ninner> ")
		s.types("child -log " + events.path + "\n")
		pid := events.ready()
		s.types("\x1a")
		s.expect("Stopped")
		s.expect("inner> ")
		comesTo(t, pid, proctree.Stopped)
		s.types("fg\n")
		s.expect("child -log")
		comesTo(t, pid, proctree.Sleeping)
		s.types("\x03")
		s.expect("inner> ")
		s.types("exit 5\n")
		s.expect("ready> ")
		s.types("echo status $?\n")
		s.expect("status 5")
	})
}

// Ctrl-Z stops corral and the command, and fg continues both.
func TestCtrlZ(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		events := newFIFO(t)
		s := bash(t)
		s.types(corral + " sh -c 'child -log " + events.path + " -echo INT,TERM -last USR1 & wait; wait'\n")
		pid := events.ready()
		child, err := proctree.Lookup(pid)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			s.types("\x1a")
			s.expect("Stopped")
			s.expect("ready> ")
			comesTo(t, pid, proctree.Stopped)
			comesTo(t, child.PPID, proctree.Stopped)
			s.types("fg\n")
			s.expect("sh -c")
			comesTo(t, pid, proctree.Sleeping)
			comesTo(t, child.PPID, proctree.Sleeping)
		}
		s.types("\x03") // ends the shell; the child is left over and stopped
		got := []string{events.expect("got "), events.expect("got ")}
		slices.Sort(got) // two threads of the child may have had one each
		if diff := cmp.Diff([]string{"INT", "TERM"}, got); diff != "" {
			t.Error(diff)
		}
		unix.Kill(pid, unix.SIGUSR1)
		s.expect("stopped 1 leftover process")
		s.expect("ready> ")
		s.types("echo status $?\n")
		s.expect("status 130")
	})
}

func init() { programs["editor"] = editor }

// editor is a program that does not stop before it has put its things in order.
// It says so on its standard output, and waits for a line. What it gets after
// that tells it to end.
func editor() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTSTP)
	in := bufio.NewReader(os.Stdin)
	fmt.Println("editing")
	<-stop
	fmt.Println("asked to stop")
	in.ReadString('\n')
	fmt.Println("in order")
	unix.Kill(os.Getpid(), syscall.SIGSTOP)
	in.ReadString('\n')
	fmt.Println("done")
}

func init() {
	programs["waiting"] = func() {
		stopPatience = lifetime
		main()
	}
}

// The shell is not to take the terminal from a command that has not stopped yet.
// (waiting is corral that waits a minute for that, not some seconds.)
func TestCtrlZAnsweredLate(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		s := bash(t)
		s.types(strings.Replace(corral, "corral", "waiting", 1) + " editor\n")
		s.expect("editing")
		s.types("\x1a")
		s.expect("asked to stop")
		s.types("\n") // which the shell would get if it had the terminal
		s.expect("in order")
		s.expect("Stopped")
		s.expect("ready> ")
		s.types("fg\n")
		s.expect("editor")
		s.types("\n")
		s.expect("done")
		s.expect("ready> ")
	}, "pidns")
}

// A command that pays no attention to Ctrl-Z goes on, and corral with it.
func TestCtrlZIgnored(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		events := newFIFO(t)
		s := bash(t)
		s.types(corral + " child -log " + events.path + " -echo TSTP -last INT\n")
		events.ready()
		s.types("\x1a")
		events.expect("got TSTP")
		s.types("\x03")
		events.expect("got INT")
		s.expect("ready> ")
		s.types("echo status $?\n")
		s.expect("status 7")
	}, "pidns")
}

// In the background, a command that reads from the terminal is stopped.
func TestReadInBackground(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		s := bash(t)
		s.types(corral + " cat &\n")
		s.expect("ready> ")
		s.types("until jobs | grep Stopped; do :; done\n")
		s.expect("Stopped  ")
		s.expect("ready> ")
		s.types("fg\n")
		s.expect("cat")
		s.types("hello\n")
		s.expect("hello") // the echo
		s.expect("hello")
		s.types("\x04")
		s.expect("ready> ")
		s.types("echo status $?\n")
		s.expect("status 0")
	}, "pidns")
}

// What is typed reaches each command of a pipeline once.
func TestCtrlCInPipeline(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		left, right := newFIFO(t), newFIFO(t)
		s := bash(t)
		command := " child -echo INT -last USR1 -log "
		s.types(corral + command + left.path + " | " + corral + command + right.path + "\n")
		pids := []int{left.ready(), right.ready()}
		s.types("\x03")
		left.expect("got INT")
		right.expect("got INT")
		for _, pid := range pids {
			unix.Kill(pid, unix.SIGUSR1)
		}
		left.expect("got USR1")
		right.expect("got USR1")
		s.expect("ready> ")
		s.types("echo status ${PIPESTATUS[*]}\n")
		s.expect("status 7 7")
	})
}

// When the terminal is closed, the run is stopped, whatever it thinks of SIGHUP.
func TestHangUp(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		for name, start := range map[string]func(command string) *screen{
			"from a shell": func(command string) *screen {
				s := bash(t)
				s.types(command + "\n")
				return s
			},
			"without one": func(command string) *screen { return inTerminal(t, 80, nil, strings.Fields(command)...) },
		} {
			t.Run(name, func(t *testing.T) {
				events := newFIFO(t)
				s := start(corral + " child -ignore HUP -last TERM -log " + events.path)
				id, err := proctree.Identify(events.ready())
				if err != nil {
					t.Fatal(err)
				}
				s.Close()
				events.expect("got TERM")
				for deadline := time.Now().Add(lifetime / 2); ; time.Sleep(time.Millisecond) {
					if row, err := proctree.Lookup(id.PID); err != nil || row.ID != id || !row.Alive() {
						break
					}
					if time.Now().After(deadline) {
						t.Fatal("the command is still there")
					}
				}
			})
		}
	})
}

// With the terminal for a lifeline, its loss is what the run has ended of, whether
// SIGHUP comes as well or not.
func TestLifelineTTY(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		for _, ignored := range []string{"", "trap '' HUP; exec "} {
			t.Run(strings.TrimSpace(ignored), func(t *testing.T) {
				events := newFIFO(t)
				report := filepath.Join(t.TempDir(), "report")
				if err := unix.Mkfifo(report, 0o600); err != nil { // reading it waits for its end
					t.Fatal(err)
				}
				command := strings.TrimSuffix(corral, "--") + " --lifeline tty --report " + report + " -- child -ignore HUP -last TERM -log " + events.path
				s := inTerminal(t, 80, nil, "sh", "-c", ignored+command)
				written := make(chan []byte, 1)
				go func() {
					b, _ := os.ReadFile(report)
					written <- b
				}()
				events.ready()
				s.Close()
				events.expect("got TERM")
				if b := <-written; !bytes.Contains(b, []byte(`"ending": "lifeline_lost"`)) || !bytes.Contains(b, []byte(`"lifeline": "tty"`)) {
					t.Errorf("report %s", b)
				}
			})
		}
	})
}

// SIGHUP says nothing if the terminal is there, or there is none.
func TestHangUpSignal(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		events := newFIFO(t)
		s := inTerminal(t, 80, nil, append(strings.Fields(corral), "child", "-echo", "HUP", "-last", "USR1", "-log", events.path)...)
		events.ready()
		for _, sig := range []string{"HUP", "HUP", "USR1"} {
			s.cmd.Process.Signal(unix.SignalNum("SIG" + sig))
			events.expect("got " + sig)
		}
		if status, shown := s.end(t); status != 7 || shown != "" {
			t.Errorf("status %d, shown %q", status, shown)
		}
	})
}

// What is sent to corral alone is for all of the run, Ctrl-Z's signal too.
func TestSignalsToCorral(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		events := newFIFO(t)
		s := bash(t)
		s.types(corral + " child -echo WINCH -last USR1 -log " + events.path + " &\n")
		pid := events.ready()
		s.types("kill -WINCH $!\n")
		events.expect("got WINCH")
		for range 2 {
			s.types("kill -TSTP $!\n")
			comesTo(t, pid, proctree.Stopped)
			s.types("until jobs | grep Stopped; do :; done\n")
			s.expect("Stopped  ")
			s.types("kill -CONT $!\n")
			comesTo(t, pid, proctree.Sleeping)
		}
		s.types("kill -USR1 $!; wait $!; echo status $?\n")
		events.expect("got USR1")
		s.expect("status 7")
	})
}

// A job that has the terminal when a command in the background fails keeps its
// modes.
func TestModesOfAnotherJob(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		events := newFIFO(t)
		s := bash(t)
		s.types(corral + " child -log " + events.path + "\n")
		pid := events.ready()
		s.types("\x1a")
		s.expect("Stopped")
		s.types("bg\n")
		comesTo(t, pid, proctree.Sleeping)
		script := fmt.Sprintf(`stty -echo; kill -KILL %d; while kill -0 $0 2>/dev/null; do :; done; stty -a | grep -o -e "-echo "; stty echo`, pid)
		s.types("sh -c '" + script + "' $(jobs -p)\n")
		s.expect("\n-echo ")
		s.expect("ready> ")
	})
}

// A command that fails, or is stopped, leaves the terminal as it was; one that
// succeeds may have been there to change it. The shells are such that do not look
// after their terminal.
func TestModesRestored(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		for _, tt := range []struct{ name, command, want string }{
			{"killed", `sh -c 'stty raw -echo; kill -KILL $$'`, "as before"},
			{"failed", `sh -c 'stty raw -echo; exit 3'`, "as before"},
			{"timed out", `sh -c 'stty raw -echo; exec sleep 60'`, "as before"},
			{"succeeded", `stty -echo`, "changed"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				command := corral
				if tt.name == "timed out" {
					command = strings.Replace(corral, "--grace", "--timeout 100ms --grace", 1)
				}
				script := `before=$(stty -g); ` + command + ` ` + tt.command + `; if [ "$before" = "$(stty -g)" ]; then echo as before; else echo changed; fi`
				if _, shown := inTerminal(t, 80, nil, "sh", "-c", script).end(t); !strings.HasSuffix(shown, tt.want+"\n") {
					t.Errorf("shown %q; want %q", shown, tt.want)
				}
			})
		}
	}, "pidns")
}

// A shell that is killed leaves the terminal to a process group that is no more.
func TestForegroundRestored(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		if _, err := exec.LookPath("bash"); err != nil {
			t.Skip("SKIPPED: no bash")
		}
		s := inTerminal(t, 80, nil, "sh", "-c", corral+" env PS1='ready> ' bash --norc --noprofile -i; echo over; read line; echo read $line; read end")
		s.expect("ready> ")
		s.types("kill -KILL $$\n")
		s.expect("over")
		s.types("something\n")
		s.expect("read something")
		s.types("\n") // what has not been read when the session's leader ends may be lost (pty_flush_buffer in drivers/tty/pty.c)
		if status, _ := s.end(t); status != 0 {
			t.Errorf("status %d", status)
		}
	}, "pidns")
}

// The real thing, where there is one.
func TestVim(t *testing.T) {
	forTerminal(t, func(t *testing.T, corral string) {
		if _, err := exec.LookPath("vim"); err != nil {
			t.Skip("SKIPPED: no vim")
		}
		file := filepath.Join(t.TempDir(), "file")
		s := bash(t)
		s.types(corral + " env TERM=xterm vim -u NONE -i NONE -n " + file + "\n")
		s.expect("[New")
		s.types("isome words\x1b\x1a")
		s.expect("Stopped")
		s.expect("ready> ")
		s.types("fg\n")
		s.expect("some words") // drawn again
		s.types(":wq\n")
		s.expect("ready> ")
		s.types("echo status $?\n")
		s.expect("status 0")
		if text, err := os.ReadFile(file); string(text) != "some words\n" {
			t.Errorf("the file has %q, %v", text, err)
		}
	}, "pidns")
}

// With --pty, corral's own terminal is in raw mode as long as the command has the
// other one, and as it was afterwards, however it ends.
func TestPTYInTerminal(t *testing.T) {
	typing := func(keys string) func(*screen, int) {
		return func(term *screen, _ int) { term.types(keys) }
	}
	for _, tt := range []struct {
		name, script string
		end          func(term *screen, corral int)
		status       int
		shown        string
	}{
		{"command ends", "stty size; stty -a | grep -o 'intr = ^[A-Z]'; echo ready; read x; echo \"<$x>\"; exit 3",
			typing("key\r"), 3, "24 77\nintr = ^X\nready\nkey\n<key>\n"},
		{"interrupt", "trap 'echo got; exit 4' INT; echo ready; while :; do sleep 1 & wait $!; done", typing("\x18"), 4, "ready\n^Xgot\n"},
		{"resize", "trap 'stty size; exit 6' WINCH; echo ready; while :; do sleep 1 & wait $!; done",
			func(term *screen, _ int) {
				term.resize(10, 50)
			}, 6, "ready\n10 50\n"},
		// The shell says "Terminated" when it hears of its child before its own
		// signal.
		{"signal", "exec 2>/dev/null; trap 'exit 5' TERM; echo ready; while :; do sleep 1 & wait $!; done",
			func(_ *screen, corral int) { syscall.Kill(corral, syscall.SIGTERM) }, 5, "ready\n"},
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
			term.expect("\n")
			corral, err := strconv.Atoi(strings.TrimSpace(term.expect("\n")))
			if err != nil || corral <= 1 {
				t.Fatalf("PID %d, %v", corral, err)
			}
			if tt.end != nil {
				term.expect("ready")
				term.expectRaw(t)
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

// The kernel sends SIGHUP to a process group with a stopped process in it when
// the last tie to the rest of its session goes. A run is not to be that tie.
func TestStoppedRunNotHungUp(t *testing.T) {
	const script = `trap 'echo hung up' HUP
sleep 60 & kill -STOP $!
until grep -q State:.T /proc/$!/status; do :; done
"$@"
kill -KILL $!
wait`
	for _, cont := range []string{"pidns", "cgroup", "keeper", "group"} {
		t.Run(cont, func(t *testing.T) {
			skipWithout(t, cont)
			cmd := exec.Command("sh", "-c", script, "sh", "corral", "--require", cont, "--containment", cont, "--", "echo", "done")
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			if out, err := cmd.CombinedOutput(); string(out) != "done\n" {
				t.Errorf("%q, %v; want %q", out, err, "done\n")
			}
		})
	}
}

// skipWithout skips the test if a containment does not work here.
func skipWithout(t *testing.T, cont string) {
	t.Helper()
	if out, err := exec.Command("corral", "--require", cont, "--containment", cont, "--", "true").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: %s", out)
	}
}
