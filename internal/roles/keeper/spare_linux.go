package keeper

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/unix"
)

// spareLength is how many bytes follow code.Spare.
const spareLength = 16

// hear reads what there is of a request to let go of a process, and the requests of that
// kind that follow: there may be many, and a sweep is due after each call. It does not
// wait for the rest of one: others than the owner may have its end of the line.
func (k *keeper) hear() {
	const atATime = 256
	for range atATime {
		var b [1 + spareLength]byte
		switch n, _, err := unix.Recvfrom(0, b[:len(b)-len(k.begun)], unix.MSG_DONTWAIT); {
		case n > 0:
			k.begun = append(k.begun, b[:n]...)
		case err == unix.EAGAIN, err == unix.EINTR:
			return
		default:
			k.orphaned()
			return
		}
		if len(k.begun) < len(b) {
			return
		}
		k.letGoOf(k.begun[1:])
		k.begun = nil
		if n, _, err := unix.Recvfrom(0, b[:1], unix.MSG_DONTWAIT|unix.MSG_PEEK); err != nil || n == 0 || b[0] != code.Spare {
			return
		}
	}
}

func (k *keeper) letGoOf(b []byte) {
	k.spared.Add(proctree.ID{PID: int(binary.NativeEndian.Uint64(b)), Start: binary.NativeEndian.Uint64(b[8:])})
}

// heed takes in what an owner that is gone has left unread.
func (k *keeper) heed(unread []byte) {
	for len(unread) > 0 {
		request := unread[0]
		unread = unread[1:]
		switch {
		case request == code.LetGo:
			k.letGo = true
		case request == code.Spare && k.spares && len(unread) >= spareLength:
			k.letGoOf(unread)
			unread = unread[spareLength:]
		}
	}
}

// sweepAround is sweep for a run that has let go of some: they are below this
// process, too, so the kernel's word that there is no child does not come.
//
// The run is empty if all children that live, apart from an ended leader, have been
// let go of, and nobody was born meanwhile or three looks in a row have said so. A look
// in which a child turned out to have ended says nothing: to be adopted is no birth. A
// member that is not a child has one above it that is, as nobody has a parent that
// has been let go of and is a member himself.
//
// A look asks about each child, which may take long, and the owner is to be answered
// meanwhile.
func (k *keeper) sweepAround() int {
	const enough = 3
	const long = 200 * time.Millisecond
	k.busy = 0
	began := time.Now()
	for pass, empty := 0, 0; pass < passesAtATime && time.Since(began) < long; pass++ {
		births := proctree.Births()
		k.bury()
		left, fresh, err := k.strangers()
		switch {
		case err != nil:
			return 1 // as far as is known
		case left == 0 && !fresh:
			if empty++; empty >= enough || births != 0 && proctree.Births() == births {
				return 0
			}
		case !fresh:
			return left
		default:
			empty = 0
		}
	}
	k.hurry()
	k.more = true
	return 1
}

// strangers counts the members among the children, and kills them if k.killing, with
// those below them. fresh says that the count is out of date: one had not been killed
// before, or nobody is left, but one had not been seen to have ended: what that one had
// started became this process's with its end, perhaps after the list was read.
func (k *keeper) strangers() (left int, fresh bool, err error) {
	pids, err := k.children.List()
	if err != nil {
		return 0, false, err
	}
	return k.strangersAmong(pids)
}

func (k *keeper) strangersAmong(pids []int) (left int, fresh bool, err error) {
	for _, pid := range pids {
		if pid == k.leader.PID && k.ended != nil {
			continue
		}
		if k.sparedChildren[pid] {
			continue
		}
		// A child keeps its PID until this process reaps it.
		row, err := proctree.Brief(pid)
		if errors.Is(err, proctree.ErrGone) || err == nil && !row.Alive() {
			if !k.endedChildren[pid] {
				k.endedChildren[pid], fresh = true, true
			}
			continue
		}
		if err == nil && len(k.spared.Members([]proctree.Process{row})) == 0 {
			k.sparedChildren[pid] = true
			continue
		}
		left++
		if k.killing && !k.killedChildren[pid] {
			unix.Kill(pid, unix.SIGKILL)
			k.killedChildren[pid], fresh = true, true
		}
	}
	if !k.killing || left == 0 {
		return left, fresh && left == 0, nil
	}
	rows, err := proctree.WalkMainThread(os.Getpid())
	if err == nil && k.killAll(k.spared.Members(rows)) {
		fresh = true
	}
	return left, fresh, nil
}
