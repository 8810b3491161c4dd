package corral

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/corral-run/corral/internal/files"
	"github.com/corral-run/corral/internal/pty"
)

// PTY is a terminal of the command's own, a pseudo-terminal (pty(7)), and the
// owner's end of it. Reading it returns what the command writes; writing to it
// types. It serves one Cmd; set it before Start:
//
//	cmd.PTY = &corral.PTY{Rows: 24, Cols: 80}
//	err := cmd.Start()
//	io.Copy(os.Stdout, cmd.PTY)
//	err = cmd.Wait()
//
// The command leads a session of its own, with the terminal as its controlling
// terminal and as standard input, output and error. Cmd.SysProcAttr may not ask for
// another group or another terminal (Setpgid, Foreground, Setctty, Noctty). When
// the leader ends, the kernel hangs the terminal up: the foreground process group
// gets SIGHUP, and no process that still has the terminal open can read or write
// any more, even if it is kept by KeepLeftovers.
//
// Cmd.Stdin is copied to the terminal, and its end is CloseWrite. The terminal is
// copied to Cmd.Stdout, also if that is a file. Cmd.Stderr must be nil or the same,
// as there is only one stream. Output and CombinedOutput both return it. If Stdin
// and Stdout are nil, the caller writes and reads. StdinPipe, StdoutPipe and
// StderrPipe exclude a PTY.
//
// Linux, macOS and FreeBSD have pseudo-terminals. Elsewhere, Start returns an
// errors.ErrUnsupported.
type PTY struct {
	// Rows and Cols are the size that the command finds. Zero means that of Like,
	// or 24 and 80.
	Rows, Cols uint16

	// Like, if not nil, is a terminal from which this one takes its settings
	// (termios(3)) and its size.
	Like *os.File

	// NoEcho keeps the terminal from showing what is written to it.
	NoEcho bool

	terminal atomic.Pointer[terminal]
}

var errNoPTY = errors.New("corral: the command of the PTY has not been started")

// Read reads what the command has written. At the end, when no process has the
// terminal open any more, it returns io.EOF, on every system. If the run is over
// and a process that was kept, or is not of the run, has the terminal open, Read
// returns what there is and then, as soon as Cmd.WaitDelay has passed,
// ErrWaitDelay.
//
// Closing the terminal in Wait does not lose what was written: Read returns it
// afterwards. Read returns an error if Cmd.Stdout gets the output.
func (p *PTY) Read(b []byte) (int, error) {
	t := p.terminal.Load()
	switch {
	case t == nil:
		return 0, errNoPTY
	case t.copied:
		return 0, errors.New("corral: the output of the PTY goes to Cmd.Stdout")
	}
	return t.Read(b)
}

// Write types b. It blocks while the command is not reading and the terminal can
// hold no more. While the terminal edits lines (termios(3), canonical mode), Linux
// cuts a line of more than 4095 bytes.
func (p *PTY) Write(b []byte) (int, error) {
	t := p.terminal.Load()
	if t == nil {
		return 0, errNoPTY
	}
	return t.Write(b)
}

// CloseWrite tells the command, as a terminal does, that there is no more input: it
// types the end-of-file character (VEOF of termios(3), Ctrl-D), twice if it has to
// end a line. The command may go on reading all the same.
func (p *PTY) CloseWrite() error {
	t := p.terminal.Load()
	if t == nil {
		return errNoPTY
	}
	return t.CloseWrite()
}

// Resize changes the size. If that is another size, the foreground process group
// gets SIGWINCH. Once Wait has returned, Resize returns an os.ErrClosed.
func (p *PTY) Resize(rows, cols uint16) error {
	t := p.terminal.Load()
	if t == nil {
		return errNoPTY
	}
	return pty.Resize(t.master, rows, cols)
}

// Close hangs the terminal up, as if the line had been cut: the command's
// foreground process group gets SIGHUP. Wait closes what is still open.
func (p *PTY) Close() error {
	t := p.terminal.Load()
	if t == nil {
		return errNoPTY
	}
	return t.master.Close()
}

// open opens a terminal with the settings wanted. The second file is the command's
// end.
func (p *PTY) open(copied bool) (*terminal, *os.File, error) {
	master, tty, err := pty.Open(pty.Settings{Like: p.Like, Rows: p.Rows, Cols: p.Cols, NoEcho: p.NoEcho})
	if err != nil {
		return nil, nil, fmt.Errorf("corral: PTY: %w", err)
	}
	t := &terminal{master: master, copied: copied}
	if !p.terminal.CompareAndSwap(nil, t) {
		master.Close()
		tty.Close()
		return nil, nil, errors.New("corral: the PTY is another command's")
	}
	return t, tty, nil
}

// terminal is the owner's end of a pseudo-terminal that has been opened.
type terminal struct {
	master *os.File
	copied bool // to Cmd.Stdout

	reading sync.Mutex // bytes stay in order
	rest    []byte     // read, but not asked for yet
	end     error      // what comes after rest, once that is known

	writing sync.Mutex
	midLine bool // what has been written ended within a line

	inputEnded atomic.Bool // the stop plan has ended the input: Cmd.Stdin is not typed any more
}

func (t *terminal) Read(b []byte) (int, error) {
	t.reading.Lock()
	defer t.reading.Unlock()
	if len(t.rest) == 0 && t.end == nil {
		n, err := t.master.Read(b)
		if err == nil {
			return n, nil
		}
		t.ended(err)
	}
	n := copy(b, t.rest)
	if t.rest = t.rest[n:]; n > 0 || len(b) == 0 {
		return n, nil
	}
	return 0, t.end
}

// ended is called with the error that reading the master has returned. A deadline
// means that nothing more is waited for.
//
// A hang-up does not mean that all has been read: Linux looks for data first, and
// then whether anybody has the other end open (n_tty_read in drivers/tty/n_tty.c).
// What is written and closed between the two is there for another read.
func (t *terminal) ended(err error) {
	open := false
	available := func() (open bool, err error) {
		data, open, err := files.ReadAvailable(t.master)
		t.rest = append(t.rest, data...)
		return open, err
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		open, err = available()
	}
	if pty.IsHangUp(err) {
		available()
	}
	switch {
	case open && err == nil:
		t.end = ErrWaitDelay
	case err == nil, err == io.EOF, pty.IsHangUp(err):
		t.end = io.EOF
	default:
		t.end = err
	}
}

// finish reads, for whoever wants it later, until nobody has the terminal open or
// the time is up, which is ErrWaitDelay.
func (t *terminal) finish(delay time.Duration) error {
	if t.master.SetReadDeadline(time.Now().Add(delay)) != nil {
		return nil // it has been closed, or it has no deadlines: what is in it is lost
	}
	const most = 1 << 20 // as of readAvailable
	buf := make([]byte, 4<<10)
	step := func() (more bool) {
		t.reading.Lock()
		defer t.reading.Unlock()
		if t.end == nil && len(t.rest) >= most {
			t.end = ErrWaitDelay
		}
		if t.end != nil {
			return false
		}
		n, err := t.master.Read(buf)
		t.rest = append(t.rest, buf[:n]...)
		if err != nil {
			t.ended(err)
		}
		return err == nil
	}
	for step() {
	}
	if t.end == ErrWaitDelay {
		return ErrWaitDelay
	}
	return nil
}

func (t *terminal) Write(b []byte) (int, error) {
	t.writing.Lock()
	defer t.writing.Unlock()
	if len(b) > 0 {
		t.midLine = b[len(b)-1] != '\n'
	}
	return t.master.Write(b)
}

func (t *terminal) CloseWrite() error {
	t.writing.Lock()
	defer t.writing.Unlock()
	char, lines, err := pty.EndOfFile(t.master)
	if err != nil {
		return err
	}
	typed := []byte{char}
	if lines && t.midLine {
		typed = append(typed, char)
	}
	t.midLine = false
	_, err = t.master.Write(typed)
	return err
}

// feed copies the input. If it cannot be written, nobody wants it.
func (t *terminal) feed(in io.Reader) error {
	var failed writeError
	_, err := io.Copy(writerFunc(func(b []byte) (int, error) {
		n, err := t.typeInput(b)
		if err != nil {
			err = writeError{err}
		}
		return n, err
	}), in)
	switch {
	case errors.As(err, &failed):
		return nil
	case err == nil:
		t.closeInput()
	}
	return err
}

// typeInput types what comes from Cmd.Stdin, and closeInput its end.
func (t *terminal) typeInput(b []byte) (int, error) {
	if t.inputEnded.Load() {
		return 0, os.ErrClosed
	}
	return t.Write(b)
}

func (t *terminal) closeInput() error {
	if t.inputEnded.Load() {
		return nil
	}
	return t.CloseWrite()
}

// endInput ends the input in Cmd.Stdin's place.
func (t *terminal) endInput() error {
	t.inputEnded.Store(true)
	return t.CloseWrite()
}

type writeError struct{ error }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
