package keeper

import (
	"sync"
	"syscall"

	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// setPIDFD gives the caller a pidfd of the leader, if it has asked for one.
func setPIDFD(attr *syscall.SysProcAttr, leader int) {
	if attr.PidFD == nil {
		return
	}
	var err error
	if *attr.PidFD, err = unix.PidfdOpen(leader, 0); err != nil {
		*attr.PidFD = -1
	}
}

// watch keeps a member from hiding the leader's end by stopping the keeper. Without
// pidfds it needs a goroutine, as it has to wait on the keeper instead.
func (k *containment) watch() {
	if proctree.EventDriven() {
		k.watchLeader()
	} else {
		pid := k.proc.Pid
		k.reading.Go(func() { k.watchByPID(pid) })
	}
}

// watchByPID is watchLeader for kernels without pidfds: it blocks a thread until
// the keeper has been stopped, or has ended.
func (k *containment) watchByPID(keeper int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, keeper, &info, unix.WSTOPPED|unix.WEXITED|unix.WNOWAIT, nil)
		const stopped = 5 // CLD_STOPPED
		switch {
		case err == unix.EINTR:
		case err != nil || info.Code != stopped:
			return
		default:
			unix.Waitid(unix.P_PID, keeper, nil, unix.WSTOPPED|unix.WNOHANG, nil) // or it would be reported again
			k.wake()
		}
	}
}

// keeperAllowed returns why there can be no keeper here, or nil if there can: a
// seccomp filter may forbid it to adopt orphans.
var keeperAllowed = sync.OnceValue(hold.CanAdopt)
