//go:build unix

package procgroup

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"github.com/corral-run/corral/internal/pgroup"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"golang.org/x/sys/unix"
)

const noSignal = syscall.Signal(0)

func (s Signal) number() syscall.Signal {
	switch s {
	case Int:
		return syscall.SIGINT
	case Term:
		return syscall.SIGTERM
	}
	return syscall.SIGKILL
}

// asksPermission reports whether sending s takes permission: every signal does.
func (s Signal) asksPermission() bool { return true }

func setProcessGroup() error {
	if err := supported(); err != nil {
		return err
	}
	// Not left to setpgid(2), which fails for the leader of a session.
	if own, err := unix.Getpgid(0); err == nil && own == syscall.Getpid() {
		return nil
	}
	return os.NewSyscallError("setpgid", syscall.Setpgid(0, 0))
}

func detachFromTTY() error {
	if err := supported(); err != nil {
		return err
	}
	_, err := unix.Setsid()
	if err == syscall.EPERM {
		return setProcessGroup()
	}
	return os.NewSyscallError("setsid", err)
}

func setAttrProcessGroup(attr *syscall.SysProcAttr) error {
	switch {
	case attr.Setsid:
	case attr.Pgid != 0:
		return &ConflictError{"Pgid", "a process group of its own"}
	default:
		attr.Setpgid = true
	}
	return supported()
}

func setAttrDetached(attr *syscall.SysProcAttr) error {
	const want = "a session of its own without a terminal"
	switch {
	case attr.Setctty:
		return &ConflictError{"Setctty", want}
	case attr.Foreground:
		return &ConflictError{"Foreground", want}
	case attr.Setpgid && attr.Pgid != 0:
		return &ConflictError{"Pgid", want}
	}
	attr.Setsid, attr.Setpgid = true, false
	return supported()
}

// group is a process group as a target.
type group struct{ *pgroup.Group }

func newGroup(pgid int) (*group, error) {
	g, err := pgroup.Open(pgid)
	if err != nil {
		return nil, err
	}
	return &group{g}, nil
}

func openGroup(pgid int) (target, error) { return asTarget(newGroup(pgid)) }

func openGroupOf(pid int) (target, error) { return asTarget(groupOf(pid)) }

// asTarget keeps a nil *group from becoming a target that is not nil.
func asTarget(g *group, err error) (target, error) {
	if err != nil {
		return nil, err
	}
	return g, nil
}

// groupOf returns the group that the process pid is in, or that of the number
// if there is no such process.
func groupOf(pid int) (*group, error) {
	if err := checkProcess(pid); err != nil {
		return nil, err
	}
	for {
		p, err := proctree.Lookup(pid)
		if errors.Is(err, proctree.ErrGone) {
			return newGroup(pid)
		}
		if err != nil {
			return nil, err
		}
		g, err := newGroup(p.PGID)
		if err != nil && !errors.Is(err, proctree.ErrGone) {
			return nil, err
		}
		// It was that group's number when it was opened if it still is.
		now, again := proctree.Lookup(pid)
		if again == nil && now.ID == p.ID && now.PGID == p.PGID {
			return g, err
		}
		if err == nil {
			g.close()
		}
	}
}

// openGroupOfCmd returns the group that a command leads or, if it has been
// reaped, the one it has left. It does not look at cmd.ProcessState, which a Wait
// may be about to set; cmd.Process knows whether it has been reaped.
func openGroupOfCmd(cmd *exec.Cmd) (target, error) {
	pid := cmd.Process.Pid
	if err := checkProcess(pid); err != nil { // after cmd.Process.Release
		return nil, err
	}
	for {
		before := reaped(cmd)
		p, err := proctree.Lookup(pid)
		if before && err == nil {
			return nil, proctree.ErrGone // the PID is another process's by now
		}
		if err != nil && !errors.Is(err, proctree.ErrGone) {
			return nil, err
		}
		if err == nil && p.PGID != pid {
			return nil, &RefusedError{ID: p.PGID, Reason: "the command is not the leader of its process group"}
		}
		g, err := newGroup(pid)
		if reaped(cmd) == before {
			if errors.Is(err, proctree.ErrGone) && !startsGroup(cmd.SysProcAttr) {
				err = &RefusedError{ID: pid, Reason: "the command was not started as the leader of a process group"}
			}
			return asTarget(g, err)
		}
		if err == nil {
			g.close()
		}
	}
}

func reaped(cmd *exec.Cmd) bool {
	return errors.Is(cmd.Process.Signal(noSignal), os.ErrProcessDone)
}

func startsGroup(attr *syscall.SysProcAttr) bool {
	return attr != nil && (attr.Setsid || (attr.Setpgid || attr.Foreground) && attr.Pgid == 0)
}

func (g *group) members() ([]proctree.Process, error) { return g.Members() }
func (g *group) signal(sig Signal) error              { return g.Signal(sig.number()) }
func (g *group) resume()                              { g.Signal(syscall.SIGCONT) }
func (g *group) close()                               { g.Close() }

// denied returns an error that wraps os.ErrPermission if the caller may not
// signal p.
func denied(p proctree.Process) error {
	h, err := proctree.Open(p.ID)
	if err != nil {
		return nil // it is gone
	}
	defer h.Close()
	if errors.Is(h.Signal(noSignal), os.ErrPermission) {
		return os.ErrPermission
	}
	return nil
}

// tree is a group and the descendants of its members as a target.
type tree struct {
	group *group
	pid   int // as the caller has it
	known map[proctree.ID]bool
}

func openTree(pid int) (target, error) {
	g, err := groupOf(pid)
	if err != nil {
		return nil, err
	}
	return &tree{g, pid, make(map[proctree.ID]bool)}, nil
}

// members looks once. Whoever was seen stays known, so that a descendant whose
// parent ends after that is not lost.
func (t *tree) members() ([]proctree.Process, error) {
	inGroup, err := t.group.members()
	if err != nil {
		return nil, err
	}
	table, err := proctree.Snapshot()
	if err != nil {
		return nil, err
	}
	for _, p := range inGroup {
		t.known[p.ID] = true
	}
	var roots []int
	for _, p := range table {
		if t.known[p.ID] {
			roots = append(roots, p.PID)
		}
	}
	for _, p := range proctree.Descendants(table, roots...) {
		t.known[p.ID] = true
	}
	var live []proctree.Process
	for _, p := range table {
		if !t.known[p.ID] || !p.Alive() {
			continue
		}
		if p.PID == os.Getpid() {
			return nil, &RefusedError{ID: t.pid, Reason: "the calling process descends from it"}
		}
		live = append(live, p)
	}
	return live, nil
}

// allMembers looks until a look finds no one new.
func (t *tree) allMembers() ([]proctree.Process, error) {
	for range maxLooks {
		before := len(t.known)
		live, err := t.members()
		if err != nil || len(t.known) == before {
			return live, err
		}
	}
	return t.members()
}

func (t *tree) signal(sig Signal) error {
	// Before the first signal, since parents that end hide their children.
	live, err := t.allMembers()
	if err != nil {
		return err
	}
	if len(live) == 0 {
		return proctree.ErrGone
	}
	if sig == Kill {
		// None of them forks any more when they are killed.
		if err := t.send(live, syscall.SIGSTOP); err != nil {
			return err
		}
	}
	return t.send(live, sig.number())
}

// send sends sig once to each of live and to those that come in meanwhile.
func (t *tree) send(live []proctree.Process, sig syscall.Signal) error {
	return sendEach(live, t.members, func(p proctree.Process) error { return reach.SignalProcess(p.ID, sig) })
}

func (t *tree) resume() {
	if live, err := t.members(); err == nil {
		t.send(live, syscall.SIGCONT)
	}
}

func (t *tree) close() { t.group.close() }
