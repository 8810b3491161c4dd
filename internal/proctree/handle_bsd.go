//go:build darwin || freebsd

package proctree

import (
	"context"
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func eventDriven() bool { return true }

// idHandle is a handle made of PID and start time: the system has no better.
type idHandle struct{ id ID }

func openHandle(p Process) (handle, error) {
	if err := stillIs(p.ID); err != nil {
		return nil, err
	}
	return idHandle{p.ID}, nil
}

func (h idHandle) signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return errors.ErrUnsupported
	}
	if err := stillIs(h.id); err != nil {
		return err
	}
	if err := unix.Kill(h.id.PID, number); err != unix.ESRCH {
		return os.NewSyscallError("kill", err)
	}
	return ErrGone
}

func (h idHandle) wait(ctx context.Context) error {
	w, err := newWatch()
	if err != nil {
		return err
	}
	if err = w.add(h.id); err == nil {
		err = w.wait(ctx)
	} else if errors.Is(err, ErrGone) {
		err = nil
	}
	return errors.Join(err, w.close())
}

func (h idHandle) close() error { return nil }

// kqueueWatch is a kqueue with an EVFILT_PROC filter for each process.
type kqueueWatch struct {
	fd  int
	ids map[int]ID // by PID
}

// wakeIdent names the user event by which a done context ends a wait.
const wakeIdent = 0

func newWatch() (watch, error) {
	// Without the lock, a child that is being started could inherit fd. That
	// is harmless: kqueues are not inherited on fork, see kqueue(2).
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(fd)
	w := &kqueueWatch{fd, make(map[int]ID)}
	if err := w.change(wakeIdent, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR, 0); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return w, nil
}

// change registers, triggers or removes one event. It returns a bare ESRCH.
func (w *kqueueWatch) change(ident, filter, flags int, fflags uint32) error {
	var event unix.Kevent_t
	unix.SetKevent(&event, ident, filter, flags)
	event.Fflags = fflags
	_, err := w.kevent([]unix.Kevent_t{event}, nil, nil)
	return err
}

func (w *kqueueWatch) kevent(changes, events []unix.Kevent_t, timeout *unix.Timespec) (int, error) {
	for {
		n, err := unix.Kevent(w.fd, changes, events, timeout)
		switch err {
		case unix.EINTR: // the changes, if any, have been made: making them again does no harm
		case nil, unix.ESRCH:
			return n, err
		default:
			return n, os.NewSyscallError("kevent", err)
		}
	}
}

func (w *kqueueWatch) add(id ID) error {
	// A filter goes by its PID, and stays with the process that had it first.
	if other, ok := w.ids[id.PID]; ok && other != id {
		if err := w.forget(id.PID); err != nil {
			return err
		}
	}
	err := w.change(id.PID, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_ONESHOT, unix.NOTE_EXIT)
	if err == unix.ESRCH {
		return ErrGone
	}
	if err != nil {
		return err
	}
	w.ids[id.PID] = id
	// Only now, as the PID may have been taken over before.
	now, err := row(id.PID)
	if err == nil && (!now.stillLives(id)) {
		err = ErrGone
	}
	if err != nil {
		return errors.Join(err, w.forget(id.PID))
	}
	return nil
}

func (w *kqueueWatch) forget(pid int) error {
	delete(w.ids, pid)
	err := w.change(pid, unix.EVFILT_PROC, unix.EV_DELETE, 0)
	if err == unix.ESRCH || errors.Is(err, unix.ENOENT) { // it has gone with the process
		return nil
	}
	return err
}

func (w *kqueueWatch) len() int { return len(w.ids) }

func (w *kqueueWatch) wait(ctx context.Context) error {
	var failed error
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		failed = w.change(wakeIdent, unix.EVFILT_USER, 0, unix.NOTE_TRIGGER)
		close(woken)
	})
	err := w.drain(ctx)
	if !stop() {
		<-woken
		err = errors.Join(err, failed)
	}
	return err
}

func (w *kqueueWatch) drain(ctx context.Context) error {
	events := make([]unix.Kevent_t, 64)
	for len(w.ids) > 0 {
		// Blocking takes a thread; the user event ends it. A process that has ended
		// counts, even if the context was done before.
		var timeout *unix.Timespec
		if ctx.Err() != nil {
			timeout = new(unix.Timespec)
		}
		n, err := w.kevent(nil, events, timeout)
		if err != nil {
			return err
		}
		if n == 0 {
			return done(ctx)
		}
		for _, event := range events[:n] {
			if event.Filter == unix.EVFILT_PROC {
				delete(w.ids, int(event.Ident))
			}
		}
	}
	return nil
}

func (w *kqueueWatch) close() error { return os.NewSyscallError("close", unix.Close(w.fd)) }

// exhausted: the process, the system or the kernel's memory is out of
// descriptors or events.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) || errors.Is(err, unix.ENOMEM)
}
