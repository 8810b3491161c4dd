package proctree

import (
	"context"
	"errors"
	"fmt"
	"os"
)

// A Handle refers to one process and to no later one with the same PID.
//
// Its methods may be called at the same time, but Close only when the others
// have returned.
type Handle struct {
	id  ID
	sys handle
}

// handle is what a system provides for one process.
type handle interface {
	signal(os.Signal) error
	wait(context.Context) error
	close() error
}

// Open returns a Handle for the process id. The error wraps ErrGone if there is no
// such process, or if its PID now belongs to another one. A zombie can be opened
// where the system allows it.
//
// On Linux the handle is a pidfd: a signal cannot reach another process. Linux
// before 5.3, or under a seccomp policy that forbids pidfds, and macOS and
// FreeBSD have nothing like it: PID and start time are compared right before a
// signal is sent. On Windows it is a process handle, which keeps the PID from
// being used again; the error wraps os.ErrPermission if the caller may not
// terminate the process.
func Open(id ID) (*Handle, error) { return OpenRow(Process{ID: id}) }

// OpenRow is Open for the process whose row p is. On Linux that mostly spares
// another look at it.
func OpenRow(p Process) (*Handle, error) {
	var sys handle
	err := ErrGone
	if possible(p.PID) {
		sys, err = openHandle(p)
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", p.PID, err)
	}
	return &Handle{p.ID, sys}, nil
}

// Signal sends the signals, in this order, until one cannot be sent; signal 0
// (syscall.Signal(0)) only asks whether it could. The result is nil if all were
// delivered, as they always are to a zombie, without effect. The error wraps
// ErrGone once the process has been reaped, and os.ErrPermission if the caller may
// not signal it.
//
// Windows knows only signal 0 and os.Kill, which ends the process with exit code 1.
// The error for all others wraps errors.ErrUnsupported.
func (h *Handle) Signal(sigs ...os.Signal) error {
	for _, sig := range sigs {
		if err := h.sys.signal(sig); err != nil {
			return fmt.Errorf("send %v to process %d: %w", sig, h.id.PID, err)
		}
	}
	return nil
}

// Wait returns nil as soon as the process has ended, reaped or not, and does
// not reap it. If ctx is done first, the error wraps ctx.Err() and the cause of it.
func (h *Handle) Wait(ctx context.Context) error {
	if err := h.sys.wait(ctx); err != nil {
		return fmt.Errorf("wait for process %d: %w", h.id.PID, err)
	}
	return nil
}

// Close releases the handle. It does nothing to the process.
func (h *Handle) Close() error {
	if err := h.sys.close(); err != nil {
		return fmt.Errorf("close process %d: %w", h.id.PID, err)
	}
	return nil
}

// EventDriven reports whether the Wait of a Handle and of a Watch waits for an
// event. Where there is none (Linux without pidfds), it looks again and again.
func EventDriven() bool { return eventDriven() }

// A Watch waits until many processes have ended. Its methods must not be
// called at the same time.
type Watch struct{ sys watch }

// watch is what a system provides for many processes.
type watch interface {
	// add returns ErrGone if the process has ended, and an error that exhausted
	// knows if there is no descriptor to be had for it.
	add(ID) error
	len() int
	wait(context.Context) error
	close() error
}

// maxWatched bounds the descriptors that a Watch takes from the program.
const maxWatched = 1024

// NewWatch returns a Watch for no process.
func NewWatch() (*Watch, error) {
	sys, err := newWatch()
	if err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return &Watch{sys}, nil
}

// Add makes w wait for the process id too. The error wraps ErrGone if it has
// ended, reaped or not.
//
// The result is false, without an error, if w cannot take more now: it watches 1024
// processes, or the program is out of descriptors. The caller should wait for those
// that are watched, then look what is left. If w watches nothing, false comes with
// an error.
func (w *Watch) Add(id ID) (bool, error) {
	err := ErrGone
	if possible(id.PID) {
		if w.sys.len() >= maxWatched {
			return false, nil
		}
		err = w.sys.add(id)
	}
	switch {
	case err == nil:
		return true, nil
	case exhausted(err) && w.sys.len() > 0:
		return false, nil
	}
	return false, fmt.Errorf("watch process %d: %w", id.PID, err)
}

// Len returns how many processes w waits for. One that has ended counts until
// Wait has seen it.
func (w *Watch) Len() int { return w.sys.len() }

// Wait returns nil when all processes that were added have ended, reaped or
// not; it reaps none. If ctx is done first, the error wraps ctx.Err()
// and the cause of it; the processes that have not ended are still watched then.
func (w *Watch) Wait(ctx context.Context) error {
	if err := w.sys.wait(ctx); err != nil {
		return fmt.Errorf("watch: %w", err)
	}
	return nil
}

// Close releases w. It does nothing to the processes.
func (w *Watch) Close() error {
	if err := w.sys.close(); err != nil {
		return fmt.Errorf("close watch: %w", err)
	}
	return nil
}

// done returns the error for a wait that ends because ctx is done: its cause,
// and context.Canceled or context.DeadlineExceeded too.
func done(ctx context.Context) error {
	err, cause := ctx.Err(), context.Cause(ctx)
	if errors.Is(cause, err) {
		return cause
	}
	return fmt.Errorf("%w: %w", err, cause)
}
