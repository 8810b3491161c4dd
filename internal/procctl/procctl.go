//go:build unix

// Package procctl is what FreeBSD has in procctl(2): reapers, which get the
// orphans of their descendants, and parent-death signals.
//
// Numbers and structures are those of FreeBSD's sys/procctl.h, on amd64 and arm64.
// The code that reads them is compiled and tested on every Unix.
package procctl

import (
	"errors"
	"slices"
	"syscall"
	"unsafe"
)

// status is struct procctl_reaper_status.
type status struct {
	flags       uint32
	children    uint32
	descendants uint32
	reaper      int32
	pid         int32
	_           [15]uint32
}

// statusOwned is REAPER_STATUS_OWNED: the process asked about is a reaper itself.
const statusOwned = 1

// pidInfo is struct procctl_reaper_pidinfo.
type pidInfo struct {
	pid     int32
	subtree int32
	flags   uint32
	_       [15]uint32
}

// REAPER_PIDINFO_VALID, _CHILD, _REAPER
const (
	infoValid  = 1 // the kernel has filled it in
	infoChild  = 2 // of the reaper asked about
	infoReaper = 4 // a reaper itself: its descendants are not in the list
)

// killing is struct procctl_reaper_kill.
type killing struct {
	signal  int32
	flags   uint32
	subtree int32
	killed  uint32
	failed  int32
	_       [15]uint32
}

// The kernel copies this many bytes from and to the structures.
const (
	_ = uint(unsafe.Sizeof(status{})) - 80
	_ = 80 - uint(unsafe.Sizeof(status{}))
	_ = uint(unsafe.Sizeof(pidInfo{})) - 72
	_ = 72 - uint(unsafe.Sizeof(pidInfo{}))
	_ = uint(unsafe.Sizeof(killing{})) - 80
	_ = 80 - uint(unsafe.Sizeof(killing{}))
	_ = uint(unsafe.Offsetof(status{}.descendants)) - 8
	_ = 8 - uint(unsafe.Offsetof(status{}.descendants))
	_ = uint(unsafe.Offsetof(pidInfo{}.flags)) - 8
	_ = 8 - uint(unsafe.Offsetof(pidInfo{}.flags))
	_ = uint(unsafe.Offsetof(killing{}.killed)) - 12
	_ = 12 - uint(unsafe.Offsetof(killing{}.killed))
)

// kernel is what the system tells of the reaper id: the process itself if it is
// one, else the reaper that it has.
type kernel interface {
	status(id int) (status, error)
	// pids fills list as far as it goes.
	pids(id int, list []pidInfo) error
}

// listed returns what the kernel lists for the reaper id.
func listed(k kernel, id int) ([]pidInfo, error) {
	s, err := k.status(id)
	for err == nil {
		if s.flags&statusOwned == 0 {
			return nil, syscall.ESRCH // the list would be that of another reaper
		}
		list := make([]pidInfo, 2*s.descendants+16)
		if err = k.pids(id, list); err != nil {
			break
		}
		// A full list may be cut off: there may have been forks since.
		if got := filled(list); len(got) < len(list) {
			return got, nil
		}
		s, err = k.status(id)
	}
	return nil, err
}

// filled returns the entries before the first that the kernel has not filled in.
func filled(list []pidInfo) []pidInfo {
	end := slices.IndexFunc(list, func(p pidInfo) bool { return p.flags&infoValid == 0 })
	if end < 0 {
		return list
	}
	return list[:end]
}

// descendants returns the PIDs of those below the reaper id, zombies included,
// and of those below the reapers among them.
func descendants(k kernel, id int) ([]int, error) {
	found := map[int]bool{id: true}
	var pids []int
	for queue := []int{id}; len(queue) > 0; queue = queue[1:] {
		list, err := listed(k, queue[0])
		if queue[0] != id && errors.Is(err, syscall.ESRCH) {
			// It has ended, or is no reaper any more: its descendants are in the
			// lists of those above it by now.
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, p := range list {
			pid := int(p.pid)
			if found[pid] {
				continue
			}
			found[pid] = true
			pids = append(pids, pid)
			if p.flags&infoReaper != 0 {
				queue = append(queue, pid)
			}
		}
	}
	return pids, nil
}

// sweep is Sweep for the reaper id.
func sweep(k kernel, id, spare int, reap func(pid int) bool) (left int, err error) {
	list, err := listed(k, id)
	if err != nil {
		return 0, err
	}
	for _, p := range list {
		if p.flags&infoChild != 0 && int(p.pid) != spare {
			reap(int(p.pid)) // if it has ended
		}
	}
	s, err := k.status(id)
	return int(s.descendants), err
}
