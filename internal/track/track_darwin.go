package track

import (
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// System is the process table of macOS, with a kqueue(2) for its news. It stays
// until the calling process ends.
type System struct {
	fd    int
	child proctree.ID
	news  chan struct{}

	mu       sync.Mutex
	followed map[int]proctree.ID  // by PID
	ending   map[proctree.ID]bool // NOTE_EXIT comes before a process is a zombie
	status   *uint32
}

// Open returns the process table.
func Open() (*System, error) {
	fd, err := unix.Kqueue()
	if err != nil {
		return nil, os.NewSyscallError("kqueue", err)
	}
	unix.CloseOnExec(fd)
	s := &System{
		fd: fd, news: make(chan struct{}, 1),
		followed: make(map[int]proctree.ID), ending: make(map[proctree.ID]bool),
	}
	go s.listen()
	return s, nil
}

// FollowChild is Follow for the one child of the calling process that Ended is
// about.
func (s *System) FollowChild(child proctree.ID) error {
	s.mu.Lock()
	s.child = child
	s.mu.Unlock()
	return s.Follow(child)
}

// News returns a channel that receives a value when a followed process has forked,
// executed a program or ended.
func (s *System) News() <-chan struct{} { return s.news }

// Ended returns the status of the child as wait4(2) has it, if the child has ended.
func (s *System) Ended() (status uint32, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.status == nil {
		return 0, false
	}
	return *s.status, true
}

// Rows returns all processes but launchd and the kernel.
func (s *System) Rows() ([]proctree.Process, error) {
	rows, err := proctree.Below(orphanage)
	s.mu.Lock()
	defer s.mu.Unlock()
	ending := make(map[proctree.ID]bool)
	for i := range rows {
		if s.ending[rows[i].ID] {
			ending[rows[i].ID] = true
			rows[i].State = proctree.Zombie
		}
	}
	s.ending = ending
	return rows, err
}

func (s *System) Follow(id proctree.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var event unix.Kevent_t
	unix.SetKevent(&event, id.PID, unix.EVFILT_PROC, unix.EV_ADD|unix.EV_CLEAR)
	event.Fflags = unix.NOTE_FORK | unix.NOTE_EXEC | unix.NOTE_EXIT
	if id == s.child {
		event.Fflags |= unix.NOTE_EXITSTATUS // of a child only (kqueue(2))
	}
	_, err := unix.Kevent(s.fd, []unix.Kevent_t{event}, nil, nil)
	switch {
	case err == unix.ESRCH:
		return proctree.ErrGone
	case err != nil && err != unix.EINTR: // with EINTR the change is made
		return os.NewSyscallError("kevent", err)
	}
	// Only now: before, another process may have taken over the PID.
	if now, err := proctree.Identify(id.PID); err != nil || now != id {
		return proctree.ErrGone
	}
	s.followed[id.PID] = id
	return nil
}

// Birth is libproc's proc_pidinfo, by its system call.
func (s *System) Birth(pid int) (own, parent uint64) {
	const (
		pidInfo    = 2  // PROC_INFO_CALL_PIDINFO
		birth      = 17 // PROC_PIDUNIQIDENTIFIERINFO
		alsoZombie = 1
	)
	b := make([]byte, sizeofBirth)
	//lint:ignore SA1019 without cgo, libproc is out of reach
	n, _, errno := unix.Syscall6(unix.SYS_PROC_INFO, pidInfo, uintptr(pid), birth, alsoZombie,
		uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, 0
	}
	return parseBirth(b[:min(int(n), len(b))])
}

func (s *System) listen() {
	events := make([]unix.Kevent_t, 64)
	for {
		n, err := unix.Kevent(s.fd, nil, events, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return
		}
		s.take(events[:n])
		select {
		case s.news <- struct{}{}:
		default: // there will be a look anyway
		}
	}
}

func (s *System) take(events []unix.Kevent_t) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, event := range events {
		if event.Fflags&unix.NOTE_EXIT == 0 {
			continue
		}
		id := s.followed[int(event.Ident)]
		delete(s.followed, id.PID)
		s.ending[id] = true
		if id == s.child {
			// The low 16 bits are what wait4(2) has (filt_procevent in xnu's
			// kern_event.c).
			status := uint32(event.Data) & 0xffff
			s.status = &status
		}
	}
}
