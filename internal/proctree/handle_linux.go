package proctree

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Two ways to hold on to a process: pidfds, and for kernels or seccomp policies
// without them, PID and start time.

// noPidfds is nil if pidfds work here, else the reason why they do not. The calls
// that tell fail in one way if they exist and are allowed, and need no descriptor,
// so that a lack of descriptors is not mistaken for a no.
var noPidfds = sync.OnceValue(func() error {
	if _, err := unix.PidfdOpen(-1, 0); err != unix.EINVAL {
		return os.NewSyscallError("pidfd_open", err)
	}
	if err := unix.PidfdSendSignal(-1, 0, nil, 0); err != unix.EBADF {
		return os.NewSyscallError("pidfd_send_signal", err)
	}
	return nil
})

func eventDriven() bool { return noPidfds() == nil }

func openHandle(p Process) (handle, error) {
	if noPidfds() != nil {
		return openPolled(p)
	}
	return openPidfdHandle(p)
}

func newWatch() (watch, error) {
	if noPidfds() != nil {
		return &polledWatch{}, nil
	}
	return newPidfdWatch()
}

// exhausted: the process, the system or the user has as many descriptors, or
// watched descriptors, as it may.
func exhausted(err error) bool {
	return errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) ||
		errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.ENOSPC)
}

// openPidfd opens a pidfd for the process that has the PID.
func openPidfd(pid int) (int, error) {
	fd, err := unix.PidfdOpen(pid, 0)
	switch err {
	case nil:
		return fd, nil
	case unix.ESRCH, unix.EINVAL, unix.ENOENT: // the latter two: a thread's number
		return -1, ErrGone
	}
	return -1, os.NewSyscallError("pidfd_open", err)
}

// A Mark tells a process from later ones with its PID, as an ID does, but is to be
// compared with other marks only.
type Mark struct {
	pid    int
	number uint64
}

// Hold returns a handle, to signal with, for whichever process has the PID. The PID
// must not be that of a thread. Its errors are those of Identify and Open.
func Hold(pid int) (*Handle, error) {
	if noPidfds() == nil && possible(pid) {
		fd, err := openPidfd(pid)
		if err != nil {
			return nil, fmt.Errorf("process %d: %w", pid, err)
		}
		return &Handle{ID{PID: pid}, &pidfdHandle{fd: fd}}, nil
	}
	h, _, err := HoldMarked(pid)
	return h, err
}

// HoldMarked is Hold, and returns the process's mark.
func HoldMarked(pid int) (*Handle, Mark, error) {
	if noPidfds() == nil && possible(pid) {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			if number, ok := pidfdNumber(fd); ok {
				return &Handle{ID{PID: pid}, &pidfdHandle{fd: fd}}, Mark{pid, number}, nil
			}
			unix.Close(fd)
		}
	}
	id, err := Identify(pid)
	if err != nil {
		return nil, Mark{}, err
	}
	h, err := Open(id)
	return h, Mark{pid, id.Start}, err
}

// pidfdNumber returns the inode number of a pidfd: each process has one of its own
// since Linux 6.9, where pidfds have a file system of their own (pidfs in the
// kernel's fs/pidfs.c), and none has that of another before or after it. It takes a
// tenth of the time of a look into /proc.
func pidfdNumber(fd int) (number uint64, ok bool) {
	if !pidfsSeen.Load() {
		const pidfs = 0x50494446
		var fs unix.Statfs_t
		if unix.Fstatfs(fd, &fs) != nil || fs.Type != pidfs {
			return 0, false
		}
		pidfsSeen.Store(true)
	}
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return uint64(st.Ino), err == nil && unsafe.Sizeof(st.Ino) == 8
}

// pidfsSeen says that one pidfd had that file system, and so have all.
var pidfsSeen atomic.Bool

// pidfdHandle is handed to Go's poller only when somebody waits: most are for a
// signal and no more.
type pidfdHandle struct {
	fd      int
	once    sync.Once
	parkErr error
	parked
}

func openPidfdHandle(p Process) (handle, error) {
	fd, err := openPidfd(p.PID)
	if err != nil {
		return nil, err
	}
	// Only now, as the PID may have been taken over before it was opened.
	if !p.unchanged() {
		var now ID
		if now, err = identify(p.PID); err == nil && now != p.ID {
			err = ErrGone
		}
		if err != nil {
			unix.Close(fd)
			return nil, err
		}
	}
	return &pidfdHandle{fd: fd}, nil
}

func (h *pidfdHandle) signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return errors.ErrUnsupported
	}
	err := unix.PidfdSendSignal(h.fd, number, nil, 0)
	if err == unix.ESRCH {
		return ErrGone
	}
	return os.NewSyscallError("pidfd_send_signal", err)
}

func (h *pidfdHandle) wait(ctx context.Context) error {
	h.once.Do(func() {
		// Not the flag of pidfd_open(2), which Linux before 5.10 does not know.
		if h.parkErr = os.NewSyscallError("fcntl", unix.SetNonblock(h.fd, true)); h.parkErr == nil {
			h.parked = park(h.fd, "pidfd")
		}
	})
	if h.parkErr != nil {
		return h.parkErr
	}
	return h.await(ctx, pidfdEnded)
}

// pidfdEnded reports whether the last thread of a pidfd's process has ended: the
// pidfd is readable then.
func pidfdEnded(fd int) (bool, error) {
	n, err := retry(func() (int, error) {
		return unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
	})
	return n > 0, os.NewSyscallError("poll", err)
}

func (h *pidfdHandle) close() error {
	if h.file == nil {
		return os.NewSyscallError("close", unix.Close(h.fd))
	}
	return h.file.Close()
}

// pidfdWatch is an epoll instance that holds pidfds.
type pidfdWatch struct {
	parked
	fds map[int]struct{}
}

func newPidfdWatch() (watch, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	return &pidfdWatch{park(fd, "epoll"), make(map[int]struct{})}, nil
}

func (w *pidfdWatch) add(id ID) error {
	fd, err := openPidfd(id.PID)
	if err != nil {
		return err
	}
	now, err := glance(id.PID)
	if err == nil && !now.stillLives(id) {
		err = ErrGone
	}
	if err != nil {
		unix.Close(fd)
		return err
	}
	if err := w.control(unix.EPOLL_CTL_ADD, fd); err != nil {
		unix.Close(fd)
		return err
	}
	w.fds[fd] = struct{}{}
	return nil
}

func (w *pidfdWatch) control(op, fd int) error {
	var err error
	if failed := w.raw.Control(func(epoll uintptr) {
		err = unix.EpollCtl(int(epoll), op, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
	}); failed != nil {
		return failed
	}
	return os.NewSyscallError("epoll_ctl", err)
}

// drop takes fd out of the epoll instance before it closes it: a child that the
// program is just starting has a copy until its exec, which would keep it in.
func (w *pidfdWatch) drop(fd int) error {
	delete(w.fds, fd)
	return errors.Join(w.control(unix.EPOLL_CTL_DEL, fd), unix.Close(fd))
}

func (w *pidfdWatch) len() int { return len(w.fds) }

func (w *pidfdWatch) wait(ctx context.Context) error {
	events := make([]unix.EpollEvent, 64)
	return w.await(ctx, func(epoll int) (bool, error) { return w.dropEnded(epoll, events) })
}

// dropEnded drops those that have ended, and reports whether none is left.
func (w *pidfdWatch) dropEnded(epoll int, events []unix.EpollEvent) (bool, error) {
	for len(w.fds) > 0 {
		n, err := retry(func() (int, error) { return unix.EpollWait(epoll, events, 0) })
		if n <= 0 || err != nil {
			return false, os.NewSyscallError("epoll_wait", err)
		}
		for _, event := range events[:n] {
			if err := w.drop(int(event.Fd)); err != nil {
				return false, err
			}
		}
	}
	return true, nil
}

func (w *pidfdWatch) close() error {
	var errs []error
	for fd := range w.fds {
		errs = append(errs, w.drop(fd))
	}
	return errors.Join(append(errs, w.file.Close())...)
}

// parked is a pollable descriptor in the care of Go's poller, so that waiting
// for it blocks a goroutine and not a thread.
type parked struct {
	file *os.File
	raw  syscall.RawConn
	turn chan struct{} // holds a token while nobody waits
}

// park takes over fd, which must be non-blocking.
func park(fd int, name string) parked {
	p := parked{file: os.NewFile(uintptr(fd), name), turn: make(chan struct{}, 1)}
	p.raw, _ = p.file.SyscallConn() // fails for a nil file alone
	p.turn <- struct{}{}
	return p
}

// await returns when ready does not return false any more. It asks at once,
// and again whenever the descriptor becomes ready.
func (p *parked) await(ctx context.Context, ready func(fd int) (bool, error)) error {
	// The file has a single read deadline, by which the context of the one who
	// waits ends the wait; another one waits for its turn.
	select {
	case <-p.turn:
	default:
		select {
		case <-p.turn:
		case <-ctx.Done():
			return done(ctx)
		}
	}
	defer func() { p.turn <- struct{}{} }()
	var ok bool
	var failed error
	ask := func(fd uintptr) bool {
		ok, failed = ready(int(fd))
		return ok || failed != nil
	}
	cut := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() { cut <- p.file.SetReadDeadline(time.Unix(1, 0)) })
	err := p.raw.Read(ask)
	if !stop() {
		// The function is running, or has run: only when it has returned can the
		// deadline be taken back for whoever waits next.
		if err := errors.Join(<-cut, p.file.SetReadDeadline(time.Time{})); err != nil {
			return err
		}
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		// The end counts if it has come, no matter what came first.
		if err = p.raw.Control(func(fd uintptr) { ask(fd) }); err == nil && !ok && failed == nil {
			return done(ctx)
		}
	}
	return errors.Join(failed, err)
}

func retry[T any](call func() (T, error)) (T, error) {
	for {
		v, err := call()
		if err != unix.EINTR {
			return v, err
		}
	}
}

// polledHandle is what is left without pidfds: PID and start time.
type polledHandle struct{ id ID }

func openPolled(p Process) (handle, error) {
	// With a look at all fields, which tells a process from a thread.
	if now, err := brief(p.PID); err != nil {
		return nil, err
	} else if now.ID != p.ID {
		return nil, ErrGone
	}
	return &polledHandle{p.ID}, nil
}

func (h *polledHandle) signal(sig os.Signal) error {
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

func (h *polledHandle) wait(ctx context.Context) error {
	w := polledWatch{[]ID{h.id}}
	return w.wait(ctx)
}

func (h *polledHandle) close() error { return nil }

type polledWatch struct{ ids []ID }

func (w *polledWatch) add(id ID) error {
	p, err := brief(id.PID)
	if err != nil {
		return err
	}
	if !p.stillLives(id) {
		return ErrGone
	}
	w.ids = append(w.ids, id)
	return nil
}

func (w *polledWatch) len() int     { return len(w.ids) }
func (w *polledWatch) close() error { return nil }

// wait looks again and again, the only place in this package that does: without
// pidfds there is no event for the end of a process that is not the caller's child.
func (w *polledWatch) wait(ctx context.Context) error {
	const shortest, longest = time.Millisecond, 50 * time.Millisecond
	pause := time.NewTimer(shortest)
	defer pause.Stop()
	for interval := shortest; ; interval = min(2*interval, longest) {
		var errs []error
		w.ids = slices.DeleteFunc(w.ids, func(id ID) bool {
			p, err := stat(id.PID)
			if err != nil && !errors.Is(err, ErrGone) {
				errs = append(errs, fmt.Errorf("process %d: %w", id.PID, err))
				return false
			}
			return err != nil || !p.stillLives(id)
		})
		if len(errs) > 0 || len(w.ids) == 0 {
			return errors.Join(errs...)
		}
		pause.Reset(interval)
		select {
		case <-pause.C:
		case <-ctx.Done():
			return done(ctx)
		}
	}
}
