//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/term"

	"github.com/corral-run/corral"
)

// newPTY returns a terminal for the command, like corral's own if standard input is
// one. Otherwise it is for a script, which does not want back what it writes.
func newPTY() *corral.PTY {
	p := new(corral.PTY)
	p.Rows, p.Cols = ownSize()
	if isTerminal(os.Stdin) {
		p.Like = os.Stdin
	} else {
		p.NoEcho = true
	}
	return p
}

func isTerminal(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }

// ownSize is the size of corral's own terminal, 0 if it has none.
func ownSize() (rows, cols uint16) {
	for _, f := range []*os.File{os.Stdin, os.Stdout, os.Stderr} {
		if width, height, err := term.GetSize(int(f.Fd())); err == nil {
			return uint16(height), uint16(width)
		}
	}
	return 0, 0
}

// resize gives p the size of corral's own terminal.
func resize(p *corral.PTY) {
	if rows, cols := ownSize(); rows > 0 && cols > 0 {
		p.Resize(rows, cols)
	}
}

// keyboard is standard input, typed on the command's terminal.
type keyboard struct {
	raw     bool                    // it is corral's own terminal
	signals map[byte]syscall.Signal // that its keys stand for
	sent    atomic.Uint64           // a bit for each of those that have been typed
	failed  error
}

// typeOn types standard input on p, up to end-of-file. If it is corral's own
// terminal, that is set to raw mode, so that p sees every key; restore sets it
// back. An error of reading goes to tell, and ends the input.
func (k *keyboard) typeOn(p *corral.PTY, tell func(error)) (restore func()) {
	restore = func() {}
	if isTerminal(os.Stdin) {
		k.signals = signalKeys(os.Stdin)
		if state, err := term.MakeRaw(int(os.Stdin.Fd())); err == nil {
			k.raw = true
			restore = sync.OnceFunc(func() { term.Restore(int(os.Stdin.Fd()), state) })
		}
	}
	go func() {
		_, err := io.Copy(p, k)
		if k.failed != nil {
			tell(k.failed)
		}
		if err == nil || k.failed != nil {
			p.CloseWrite()
		}
	}()
	return restore
}

func (k *keyboard) Read(b []byte) (int, error) {
	n, err := os.Stdin.Read(b)
	if k.raw {
		for key, sig := range k.signals {
			if bytes.IndexByte(b[:n], key) >= 0 {
				k.sent.Or(1 << sig)
			}
		}
	}
	if err != nil && err != io.EOF && !k.raw { // other signs tell that a terminal is gone
		k.failed = err
	}
	return n, err
}

// typed reports whether the key for the signal has been pressed on corral's own
// terminal, which sends no signal for it in raw mode.
func (k *keyboard) typed(sig syscall.Signal) bool { return k.sent.Load()>>sig&1 != 0 }

// heldWriter writes nothing until a channel is closed. The command is heard only
// when corral's terminal is in raw mode, and that has to wait for Start, which
// makes the command's terminal like it.
type heldWriter struct {
	io.Writer
	until <-chan struct{}
}

func (w heldWriter) Write(b []byte) (int, error) {
	<-w.until
	return w.Writer.Write(b)
}

// rawLines ends lines with CR and LF, as a terminal in raw mode needs it.
type rawLines struct{ io.Writer }

func (w rawLines) Write(b []byte) (int, error) {
	if _, err := w.Writer.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(b), nil
}
