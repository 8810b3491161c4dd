//go:build darwin || freebsd

package helper

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// setName does nothing: arguments identify a helper, also while it ends.
func setName(string) {}

// distrusted returns why the kernel would not trust this process with what its
// parent hands to it: it may have rights that the parent does not have.
func distrusted() error {
	if tainted() {
		return errors.New("the program is set-user-ID or set-group-ID, or has changed its ids (issetugid)")
	}
	return mixedIDs()
}

var errMixedIDs = errors.New("the real, effective and saved user or group ids differ, so a helper would not trust this process: make them equal first")

// mixedIDs returns an error if this process can change between ids.
func mixedIDs() error {
	if os.Getuid() != os.Geteuid() || os.Getgid() != os.Getegid() {
		return errMixedIDs
	}
	return nil
}

// sameProgram is true: a parent may run any program, see verifyOwner.
func sameProgram(int) bool { return true }

// Owner is the owner as its helper sees it.
type Owner struct{ PID int }

// Gone reports whether the owner has ended: a child has another parent then.
func (o Owner) Gone() bool { return os.Getppid() != o.PID }

// verifyOwner returns the owner: the process at the other end of the line. It must
// have the same ids, and this process must be its child, or have been until the
// owner ended. It may run any program: the kernel would not trust it less.
func verifyOwner(line int, _ bool) (Owner, error) {
	pid, uid, err := peerOf(line)
	if err != nil {
		return Owner{}, err
	}
	if uid != os.Geteuid() {
		return Owner{}, fmt.Errorf("the owner has another id: user %d", uid)
	}
	o := Owner{os.Getppid()}
	if pid != 0 && pid != o.PID && unix.Kill(pid, 0) != unix.ESRCH {
		return o, fmt.Errorf("its parent is process %d, not the owner, %d", o.PID, pid)
	}
	return o, nil
}

// End returns a channel that is closed when the owner has ended, as far as the
// system tells. The end of the line does not tell: another process may hold the
// owner's end.
func (o Owner) End() <-chan struct{} {
	gone := make(chan struct{})
	go func() {
		if id, err := proctree.Identify(o.PID); err == nil {
			if h, err := proctree.Open(id); err == nil {
				err = h.Wait(context.Background())
				h.Close()
				if err != nil {
					return
				}
			}
		}
		if o.Gone() {
			close(gone)
		}
	}()
	return gone
}

// protect does nothing: here a process of the same user can trace a helper.
func protect() {}

// SetDumpable does nothing: only Linux has the attribute.
func SetDumpable(bool) {}
