package cgroup

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/wakepoll"
)

// Populated reports whether there is a live member. A process counts until its
// last thread has ended, and not as a zombie.
func (d *Dir) Populated() (bool, error) {
	now, err := d.status()
	if err != nil {
		return false, fmt.Errorf("cgroup: %w", err)
	}
	return now.populated, nil
}

// AwaitEmpty returns nil when there is no live member, and the cause of ctx if that
// is done first. Once Kill has been called, it kills whoever does not go away,
// again and again: see KillRest.
//
// It blocks a thread. It may return some milliseconds late: see eventDelay.
func (d *Dir) AwaitEmpty(ctx context.Context) error {
	err := d.await(ctx, status.empty, d.killAgain())
	if err != nil && !errors.Is(err, context.Cause(ctx)) {
		return fmt.Errorf("cgroup: %w", err)
	}
	return err
}

// Pause returns after ms milliseconds, or sooner if d gets its first member or
// loses its last.
func (d *Dir) Pause(ms int) {
	d.mu.Lock()
	fd := d.held[eventsFile]
	d.mu.Unlock()
	wakepoll.Poll(context.Background(), []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}, ms) // a negative fd is passed over
}

func (s status) empty() bool { return !s.populated }

// status reads cgroup.events. It is zero for a cgroup that has been removed.
func (d *Dir) status() (status, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	fd, err := d.heldFD(eventsFile)
	if err != nil {
		return status{}, d.withoutEvents(err)
	}
	return d.readEvents(fd)
}

// withoutEvents says what it means that cgroup.events cannot be opened: nothing, if
// d has been removed.
func (d *Dir) withoutEvents(err error) error {
	switch {
	case !errors.Is(err, unix.ENOENT):
		return err
	case d.removed():
		return nil
	}
	return fmt.Errorf("%s: %w for the root of the hierarchy", d.path, errors.ErrUnsupported)
}

func (d *Dir) readEvents(fd int) (status, error) {
	var b [256]byte
	n, err := unix.Pread(fd, b[:], 0)
	if err == unix.ENODEV {
		return status{}, nil
	}
	if err != nil {
		return status{}, d.failed("read", "cgroup.events", err)
	}
	now, err := parseEvents(b[:n])
	if err != nil {
		return status{}, fmt.Errorf("%s: %w", d.path, err)
	}
	return now, nil
}

// removed reports whether the directory is gone: it has no files then, while
// every cgroup has cgroup.procs.
func (d *Dir) removed() bool {
	return unix.Faccessat(d.fd, "cgroup.procs", unix.F_OK, 0) == unix.ENOENT
}

// await returns nil when cgroup.events says what is wanted. If late is not nil, it
// is called each time that a while has passed without an event.
func (d *Dir) await(ctx context.Context, reached func(status) bool, late func()) error {
	if now, err := d.status(); err != nil || reached(now) {
		return err
	}
	events, own, err := d.ownEvents()
	if err != nil {
		return d.withoutEvents(err)
	}
	if own {
		defer unix.Close(events)
	}
	const atOnce = 8    // looks
	const closely = 100 // and no more, should one that has ended go on to be listed
	for looks, polls, timeout := 0, 0, 1; ; looks++ {
		now, err := d.readEvents(events)
		switch {
		case err != nil || reached(now):
			return err
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case looks < atOnce:
			runtime.Gosched()
			continue
		}
		polls++
		n, err := d.poll(ctx, events, timeout, timeout > 0 && polls <= closely)
		switch {
		case err != nil:
			return err
		case n > 0: // what comes next is delayed
			looks, timeout = 0, 1
			continue
		}
		if late != nil {
			late()
		}
		switch {
		case timeout >= 0 && timeout < eventDelay:
			timeout *= 2
		case !own || late != nil && d.killed.Load():
			timeout = eventDelay
		default:
			timeout = -1
		}
	}
}

// eventDelay is more than the time, in milliseconds, that the kernel holds back an
// event after the one before: 10 ms, in whole ticks (cgroup_file_notify in
// kernel/cgroup/cgroup.c). It forgets the event if the cgroup is removed meanwhile.
// During this time await looks without an event: a few times at once, as a process
// that has just been reaped may still count, then at intervals that double, and
// when one of a few members ends.
const eventDelay = 100

// poll waits for an event or for timeout, in milliseconds, and if closely is set
// for the end of one of a few members too. It returns how many of these have come.
func (d *Dir) poll(ctx context.Context, events, timeout int, closely bool) (n int, err error) {
	fds := []unix.PollFd{{Fd: int32(events), Events: unix.POLLPRI}}
	if closely {
		members := d.pidfds()
		defer func() {
			for _, m := range members {
				unix.Close(int(m.Fd))
			}
		}()
		fds = append(fds, members...)
	}
	return wakepoll.Poll(ctx, fds, timeout)
}

// ownEvents returns a descriptor of cgroup.events for one that waits: the event
// goes to the descriptor, and whoever reads from it next takes it from all others.
// If there is none to be had, it is that of d, and the event may be missed.
func (d *Dir) ownEvents() (fd int, own bool, err error) {
	fd, err = unix.Openat(d.fd, eventsFile.name(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if exhausted(err) {
		d.mu.Lock()
		defer d.mu.Unlock()
		fd, err = d.heldFD(eventsFile)
		return fd, false, err
	}
	if err != nil {
		return -1, false, d.failed("open", eventsFile.name(), err)
	}
	return fd, true, nil
}

// pidfds returns a pidfd for each member, for the caller to close, if the members
// are few and in d itself. A member for which there is none to be had is left out.
func (d *Dir) pidfds() (fds []unix.PollFd) {
	const few = 8
	pids, err := d.listed()
	if err != nil || len(pids) > few {
		return nil
	}
	for _, pid := range pids {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			fds = append(fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
		}
	}
	return fds
}
