//go:build linux || darwin || freebsd

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/corral-run/corral/internal/disposition"
)

// liveScreen is the controlling terminal, while it is drawn on: its second screen, in
// raw mode. The file is opened anew, so that what is set of it is nobody else's; the
// modes are the terminal's, and are set by standard input.
type liveScreen struct {
	tty   *os.File
	modes *term.State // as they were
	on    bool
}

// openLiveScreen returns nil if nobody is there to look and type: input and output
// have to be the controlling terminal, and one on which the cursor can be moved.
func openLiveScreen(out io.Writer) (*liveScreen, error) {
	f := fileOf(out)
	if f == nil || !term.IsTerminal(int(f.Fd())) || !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, nil
	}
	if kind := os.Getenv("TERM"); kind == "" || kind == "dumb" || foregroundGroup(f) == 0 || foregroundGroup(os.Stdin) == 0 {
		return nil, nil
	}
	tty, err := openTerminal()
	if err != nil {
		return nil, nil // as a member of no session has none
	}
	return &liveScreen{tty: tty}, nil
}

const (
	enterSequence = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J" // the second screen, no cursor
	leaveSequence = "\x1b[0m\x1b[?25h\x1b[?1049l"
)

// writePatience bounds a write to a terminal that takes nothing, as one of a
// connection that hangs.
const writePatience = time.Second

// enter begins to draw, or begins anew: a terminal that others have had may have other
// modes. In the background it stops, as a program does that wants the terminal then.
func (s *liveScreen) enter() error {
	if err := awaitForeground(); err != nil {
		return err
	}
	modes, err := term.MakeRaw(int(os.Stdin.Fd()))
	if err != nil {
		return fmt.Errorf("cannot set the terminal: %w", err)
	}
	if !s.on { // else these are not its own
		s.modes = modes
	}
	s.on = true
	s.write(enterSequence)
	return nil
}

// errHungUp says that the terminal is gone. With SIGHUP, the kernel also sends SIGCONT.
var errHungUp = errors.New("the terminal is gone")

// awaitForeground returns when the terminal serves this process. A shell that stops
// its job has set other modes meanwhile.
func awaitForeground() error {
	for range 3 {
		switch foregroundGroup(os.Stdin) {
		case unix.Getpgrp():
			return nil
		case 0:
			return errHungUp
		}
		disposition.StopSelf() // returns at once where nobody could continue it
	}
	return errors.New("it is in the background of its terminal")
}

// leave makes the terminal what it was. One that serves somebody else by now, or is
// gone, is left alone.
func (s *liveScreen) leave() {
	if !s.on {
		return
	}
	s.on = false
	if foregroundGroup(os.Stdin) != unix.Getpgrp() {
		return
	}
	s.write(leaveSequence)
	term.Restore(int(os.Stdin.Fd()), s.modes)
}

// close ends the reading of keys.
func (s *liveScreen) close() { s.tty.Close() }

// write writes as much as the terminal takes. What it does not take is drawn the next
// time.
func (s *liveScreen) write(text string) {
	s.tty.SetWriteDeadline(time.Now().Add(writePatience)) // where that is possible: not on macOS
	io.WriteString(s.tty, text)
}

// draw draws a picture of the size of the screen.
func (s *liveScreen) draw(picture func(width, height int) []string) {
	if !s.on {
		return
	}
	width, height, err := term.GetSize(int(os.Stdin.Fd()))
	if err != nil || width <= 0 || height <= 0 {
		width, height = 80, 24
	}
	var b strings.Builder
	for i, line := range picture(width, height) {
		fmt.Fprintf(&b, "\x1b[%d;1H\x1b[K%s", i+1, line)
	}
	s.write(b.String())
}

// read passes on what is typed, until the terminal is gone or closed.
func (s *liveScreen) read(to func([]byte)) {
	for b := make([]byte, 256); ; {
		n, err := s.tty.Read(b)
		if n > 0 {
			to(append([]byte(nil), b[:n]...))
		}
		if err != nil {
			return
		}
	}
}
