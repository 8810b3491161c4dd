package procgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/corral-run/corral/internal/proctree"
)

var (
	kernel32                  = windows.NewLazySystemDLL("kernel32.dll")
	procFreeConsole           = kernel32.NewProc("FreeConsole")
	procGetConsoleProcessList = kernel32.NewProc("GetConsoleProcessList")
)

func setProcessGroup() error {
	return fmt.Errorf("the console process group of a running process cannot be changed: %w", errors.ErrUnsupported)
}

func detachFromTTY() error {
	if ok, _, err := procFreeConsole.Call(); ok == 0 {
		if shared, _ := consoleProcesses(); shared == nil {
			return nil // there was no console
		}
		return os.NewSyscallError("FreeConsole", err)
	}
	return nil
}

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

// tree is a process and its descendants as a target.
//
// Windows keeps the PID of a parent that has ended, and gives it to another
// process as soon as nobody holds a handle to the one that had it. As the tree
// holds handles to all that it has seen, a process is a child of one of them if
// it names it for its parent and is not older.
type tree struct {
	root int
	seen map[int]member // by PID
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
	held := cmd.Process.WithHandle(func(uintptr) { t, err = openTree(cmd.Process.Pid) })
	if errors.Is(held, os.ErrProcessDone) {
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
	for before := 0; before != len(t.seen); {
		before = len(t.seen)
		for _, p := range table {
			t.see(p)
		}
	}
	if self, ok := t.seen[os.Getpid()]; ok {
		return nil, &RefusedError{ID: t.root, Reason: fmt.Sprintf("the calling process (%d) descends from it", self.id.PID)}
	}
	return slices.DeleteFunc(table, func(p proctree.Process) bool {
		return t.seen[p.PID].id != p.ID || !p.Alive()
	}), nil
}

// see takes p into the tree if it belongs there.
func (t *tree) see(p proctree.Process) {
	parent, ok := t.seen[p.PPID]
	if _, known := t.seen[p.PID]; known || !ok || p.Start < parent.id.Start {
		return
	}
	h, err := proctree.Open(p.ID)
	if errors.Is(err, proctree.ErrGone) {
		return
	}
	t.seen[p.PID] = member{p.ID, h}
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
	killed := make(map[int]bool)
	delivered, refused := false, false
	for range maxLooks {
		fresh := false
		for _, p := range live {
			if killed[p.PID] {
				continue
			}
			killed[p.PID], fresh = true, true
			err := os.ErrPermission
			if h := t.seen[p.PID].handle; h != nil {
				err = h.Signal(os.Kill)
			}
			switch {
			case err == nil:
				delivered = true
			case errors.Is(err, os.ErrPermission):
				refused = true
			case !errors.Is(err, proctree.ErrGone):
				return err
			}
		}
		if !fresh {
			break
		}
		var err error
		if live, err = t.members(); err != nil {
			return err
		}
	}
	if refused && !delivered {
		return os.ErrPermission
	}
	return nil
}

// ctrlBreak sends CTRL_BREAK to the console group that the root leads.
//
// GenerateConsoleCtrlEvent does not say whether there is such a group: for a
// process that shares the console but leads no group, it sends the event to all
// processes of the console, the caller among them. So it is called only if a
// live process is known to be in that group and to share the console.
func (t *tree) ctrlBreak(live []proctree.Process) error {
	console, err := consoleProcesses()
	if err != nil {
		return fmt.Errorf("the caller has no console to send CTRL_BREAK by (%v): %w", err, errors.ErrUnsupported)
	}
	for _, p := range live {
		if slices.Contains(console, uint32(p.PID)) && consoleGroup(p.PID, t.root) {
			return os.NewSyscallError("GenerateConsoleCtrlEvent",
				windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(t.root)))
		}
	}
	return fmt.Errorf("process %d leads no console group that shares the caller's console: %w", t.root, errors.ErrUnsupported)
}

// consoleProcesses returns the PIDs of the processes that share the caller's
// console.
func consoleProcesses() ([]uint32, error) {
	pids := make([]uint32, 64)
	for {
		n, _, err := procGetConsoleProcessList.Call(uintptr(unsafe.Pointer(&pids[0])), uintptr(len(pids)))
		if n == 0 {
			return nil, os.NewSyscallError("GetConsoleProcessList", err)
		}
		if int(n) <= len(pids) {
			return pids[:n], nil
		}
		pids = make([]uint32, 2*n)
	}
}

// consoleGroup reports whether process pid is in the console group. A process
// keeps the number in its own memory, which is where consoles have it from. Wine
// before version 8.3 does not set it: then the leader is taken for what the caller
// says it is, which is safe there, as an event for no group goes nowhere.
func consoleGroup(pid, group int) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_INFORMATION|windows.PROCESS_VM_READ, false, uint32(pid))
	if err != nil {
		return false
	}
	defer windows.CloseHandle(h)
	var info windows.PROCESS_BASIC_INFORMATION
	err = windows.NtQueryInformationProcess(h, windows.ProcessBasicInformation,
		unsafe.Pointer(&info), uint32(unsafe.Sizeof(info)), nil)
	if err != nil {
		return false
	}
	var parameters uintptr
	var number uint32
	peb := uintptr(unsafe.Pointer(info.PebBaseAddress)) // in the memory of pid
	if read(h, peb+unsafe.Offsetof(windows.PEB{}.ProcessParameters), &parameters) != nil ||
		read(h, parameters+unsafe.Offsetof(windows.RTL_USER_PROCESS_PARAMETERS{}.ProcessGroupId), &number) != nil {
		return false
	}
	return number == uint32(group) || number == 0 && pid == group
}

// read reads a value from the memory of another process.
func read[T any](h windows.Handle, at uintptr, v *T) error {
	return windows.ReadProcessMemory(h, at, (*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v), nil)
}

// resume: Windows has no stopped processes.
func (t *tree) resume() {}

func (t *tree) close() {
	for _, m := range t.seen {
		if m.handle != nil {
			m.handle.Close()
		}
	}
}

// asksPermission: CTRL_BREAK does not.
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
