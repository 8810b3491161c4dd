package procgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"

	"golang.org/x/sys/windows"

	"github.com/corral-run/corral/internal/console"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
)

func setProcessGroup() error {
	return fmt.Errorf("the console process group of a running process cannot be changed: %w", errors.ErrUnsupported)
}

func detachFromTTY() error { return console.Free() }

func setAttrProcessGroup(attr *syscall.SysProcAttr) error {
	if attr.CreationFlags&windows.CREATE_NEW_CONSOLE != 0 {
		// "This flag is ignored if specified with CREATE_NEW_CONSOLE."
		return &ConflictError{"CreationFlags (CREATE_NEW_CONSOLE)", "a process group of its own (CREATE_NEW_PROCESS_GROUP)"}
	}
	attr.CreationFlags |= windows.CREATE_NEW_PROCESS_GROUP
	return nil
}

func setAttrDetached(attr *syscall.SysProcAttr) error {
	if attr.CreationFlags&windows.CREATE_NEW_CONSOLE != 0 {
		return &ConflictError{"CreationFlags (CREATE_NEW_CONSOLE)", "no console (DETACHED_PROCESS)"}
	}
	attr.CreationFlags |= windows.DETACHED_PROCESS
	return nil
}

// A process cannot ask here for a signal when its parent ends.

func setParentDeathSignal(int) error                      { return nil }
func setAttrParentDeathSignal(*syscall.SysProcAttr) error { return nil }

// tree is a process and its descendants as a target.
//
// Windows keeps the PID of a parent that has ended, and gives it to another
// process as soon as nobody holds a handle to the one that had it. As the tree
// holds handles to all that it knows, a process is a child of one of them if
// it names it for its parent and is not older.
type tree struct {
	root  int
	known map[int]member // by PID
}

type member struct {
	id     proctree.ID
	handle *proctree.Handle // nil if the caller may not terminate it
}

func openTree(pid int) (target, error) {
	if err := checkProcess(pid); err != nil {
		return nil, err
	}
	id, err := proctree.Identify(pid)
	if err != nil {
		return nil, err
	}
	h, err := proctree.Open(id)
	if err != nil {
		return nil, err
	}
	return &tree{pid, map[int]member{pid: {id, h}}}, nil
}

func openGroup(pgid int) (target, error)  { return openTree(pgid) }
func openGroupOf(pid int) (target, error) { return openTree(pid) }

func openGroupOfCmd(cmd *exec.Cmd) (t target, err error) {
	// While the handle is held the PID is the command's.
	held := osproc.WithHandle(cmd.Process, func(uintptr) { t, err = openTree(cmd.Process.Pid) })
	if errors.Is(held, os.ErrProcessDone) || held != nil && cmd.ProcessState != nil {
		return nil, proctree.ErrGone
	}
	return t, errors.Join(held, err)
}

func (t *tree) members() ([]proctree.Process, error) {
	table, err := proctree.Snapshot()
	if err != nil {
		return nil, err
	}
	// Until no more are found: children may come before their parents.
	for before := 0; before != len(t.known); {
		before = len(t.known)
		for _, p := range table {
			t.remember(p)
		}
	}
	if self, ok := t.known[os.Getpid()]; ok {
		return nil, &RefusedError{ID: t.root, Reason: fmt.Sprintf("the calling process (%d) descends from it", self.id.PID)}
	}
	return slices.DeleteFunc(table, func(p proctree.Process) bool {
		return t.known[p.PID].id != p.ID || !p.Alive()
	}), nil
}

// remember takes p into the tree if it belongs there.
func (t *tree) remember(p proctree.Process) {
	parent, ok := t.known[p.PPID]
	if _, already := t.known[p.PID]; already || !ok || p.Start < parent.id.Start {
		return
	}
	h, err := proctree.Open(p.ID)
	if errors.Is(err, proctree.ErrGone) {
		return
	}
	t.known[p.PID] = member{p.ID, h}
}

func (t *tree) signal(sig Signal) error {
	live, err := t.members()
	if err != nil {
		return err
	}
	if len(live) == 0 {
		return proctree.ErrGone
	}
	if sig == Kill {
		return t.kill(live)
	}
	return t.ctrlBreak(live)
}

// kill terminates live, and what they have started meanwhile.
func (t *tree) kill(live []proctree.Process) error {
	return sendEach(live, t.members, func(p proctree.Process) error {
		if h := t.known[p.PID].handle; h != nil {
			return h.Signal(os.Kill)
		}
		return os.ErrPermission
	})
}

// ctrlBreak sends CTRL_BREAK to the console group that the root leads.
func (t *tree) ctrlBreak(live []proctree.Process) error {
	var pids []int
	for _, p := range live {
		pids = append(pids, p.PID)
	}
	if err := console.Break(t.root, pids); err != nil {
		return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
	}
	return nil
}

// resume does nothing: Windows has no stopped processes.
func (t *tree) resume() {}

func (t *tree) close() {
	for _, m := range t.known {
		if m.handle != nil {
			m.handle.Close()
		}
	}
}

// asksPermission reports whether sending s takes permission: CTRL_BREAK does not.
func (s Signal) asksPermission() bool { return s == Kill }

// denied returns an error that wraps os.ErrPermission if the caller may not
// terminate p.
func denied(p proctree.Process) error {
	h, err := proctree.Open(p.ID)
	if err == nil {
		h.Close()
	} else if errors.Is(err, os.ErrPermission) {
		return os.ErrPermission
	}
	return nil
}
