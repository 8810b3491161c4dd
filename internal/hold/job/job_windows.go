package job

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/corral-run/corral/internal/errjoin"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/windows"
)

var procIsProcessInJob = windows.NewLazySystemDLL("kernel32.dll").NewProc("IsProcessInJob")

// Open makes the job object of one run.
func Open(req hold.Request) (hold.Containment, error) {
	if req.Spares {
		return nil, errors.New("no process can be kept or detached: Windows takes none out of its job object")
	}
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, os.NewSyscallError("CreateJobObject", err)
	}
	j := &containment{
		job: job, helperPath: req.HelperPath, keep: req.KeepLeftovers, detach: req.Detach, emptied: make(chan struct{}), limits: req.Limits,
	}
	j.ctx, j.stopWatch = context.WithCancel(context.Background())
	if err := j.limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE); err != nil {
		j.Close()
		return nil, err
	}
	return j, nil
}

// containment is a job object. The owner has its only handle, so the kernel kills
// the run when the owner ends.
type containment struct {
	hold.SparesNobody
	job     windows.Handle
	limited atomic.Bool // Limit has been called
	keep    bool
	detach  bool // the run outlives the owner
	process *os.Process

	helperPath string           // for the helper that attaches to a console
	leader     *proctree.Handle // pins its PID, the number of its console group
	id         proctree.ID

	watchOnce sync.Once
	port      windows.Handle // gets the job's messages, from the first call of Empty
	portErr   error
	emptied   chan struct{} // closed when no member is left and all their resources are released
	watching  sync.WaitGroup
	ctx       context.Context // of watch
	stopWatch context.CancelFunc

	limits hold.Limits
	total  hold.Usage // of the whole run
	used   hold.Amounts
}

// Prepare asks for a console group, so that the leader can be sent CTRL_BREAK. A
// leader with a console of its own needs none: the flag is ignored with
// CREATE_NEW_CONSOLE, and would turn off Ctrl-C with CREATE_NO_WINDOW.
func (j *containment) Prepare(cmd *exec.Cmd) error {
	attr := osproc.OwnAttr(cmd)
	const own = windows.CREATE_NEW_CONSOLE | windows.CREATE_NO_WINDOW | windows.DETACHED_PROCESS
	if attr.CreationFlags&own == 0 {
		attr.CreationFlags |= windows.CREATE_NEW_PROCESS_GROUP
	}
	return nil
}

func (j *containment) Start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	p, err := startInJob(cmd, j.job)
	if err != nil {
		return nil, j.id, err
	}
	defer windows.CloseHandle(p.Process)
	defer windows.CloseHandle(p.Thread)
	// The handle keeps the PID from being used again.
	j.process, err = os.FindProcess(int(p.ProcessId))
	if err == nil {
		osproc.SetHandle(j.process, p.Process)
		j.leader, j.id, err = proctree.Dup(uintptr(p.Process))
	}
	if err != nil {
		j.Kill()
		return nil, j.id, fmt.Errorf("corral: job containment: %w", err)
	}
	if j.detach {
		if err := j.LetGo(); err != nil {
			j.Kill()
			return nil, j.id, fmt.Errorf("corral: job containment: %w", err)
		}
	}
	return j.process, j.id, nil
}

// LetGo keeps the kernel from killing the run when the last handle is closed.
func (j *containment) LetGo() error { return j.limit(0) }

// Ended is Reap: the leader pins nothing.
func (j *containment) Ended() (*os.ProcessState, error) { return j.Reap() }

// Peek knows nothing: here, an os.ProcessState comes of Reap alone.
func (j *containment) Peek() *os.ProcessState { return nil }

func (j *containment) Reap() (*os.ProcessState, error) {
	state, err := j.process.Wait()
	if err == nil && !state.Success() {
		err = &exec.ExitError{ProcessState: state}
	}
	return state, err
}

func (j *containment) Exited(ctx context.Context) (pinned bool, err error) {
	return false, j.leader.Wait(ctx)
}

// limit sets the job's limits to flags, and those of the Request that have been put
// into force. If the flags limit the number of processes, it is to 1: there will be
// no new ones.
func (j *containment) limit(flags uint32) error {
	var info windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	basic := &info.BasicLimitInformation
	basic.LimitFlags = flags
	if j.limited.Load() {
		if j.limits.Memory > 0 {
			basic.LimitFlags |= windows.JOB_OBJECT_LIMIT_JOB_MEMORY
			info.JobMemoryLimit = uintptr(min(uint64(j.limits.Memory), math.MaxUint))
		}
		if j.limits.PIDs > 0 {
			basic.LimitFlags |= windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS
			basic.ActiveProcessLimit = uint32(min(uint64(j.limits.PIDs), math.MaxUint32))
		}
	}
	if flags&windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS != 0 {
		basic.ActiveProcessLimit = 1
	}
	_, err := windows.SetInformationJobObject(j.job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	return os.NewSyscallError("SetInformationJobObject", err)
}

// list returns the PIDs of the members.
func (j *containment) list() ([]int, error) {
	// JOBOBJECT_BASIC_PROCESS_ID_LIST
	type header struct{ assigned, listed uint32 }
	for room := 64; ; room *= 2 {
		buf := make([]uintptr, int(unsafe.Sizeof(header{})/unsafe.Sizeof(uintptr(0)))+room)
		err := windows.QueryInformationJobObject(j.job, windows.JobObjectBasicProcessIdList,
			uintptr(unsafe.Pointer(&buf[0])), uint32(len(buf))*uint32(unsafe.Sizeof(buf[0])), nil)
		if err == windows.ERROR_MORE_DATA {
			continue
		}
		if err != nil {
			return nil, os.NewSyscallError("QueryInformationJobObject", err)
		}
		h := (*header)(unsafe.Pointer(&buf[0]))
		pids := make([]int, h.listed)
		for i, pid := range buf[len(buf)-room:][:h.listed] {
			pids[i] = int(pid)
		}
		return pids, nil
	}
}

func (j *containment) Members() ([]proctree.Process, error) {
	pids, err := j.list()
	if err != nil || len(pids) == 0 {
		return nil, err
	}
	rows, err := proctree.Select(pids)
	return slices.DeleteFunc(rows, func(p proctree.Process) bool { return !j.has(p.ID) || isConsoleHost(p) }), err
}

// isConsoleHost reports whether p is the system's host of a console of the run's
// own. It is a child of the console's first process and ends with the last one.
func isConsoleHost(p proctree.Process) bool {
	const name = "conhost.exe"
	if !strings.EqualFold(p.Name, name) {
		return false
	}
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(p.PID))
	if err != nil {
		return false
	}
	defer windows.CloseHandle(h)
	var buf [windows.MAX_PATH]uint16
	n := uint32(len(buf))
	if windows.QueryFullProcessImageName(h, 0, &buf[0], &n) != nil {
		return false
	}
	dir, err := windows.GetSystemDirectory()
	return err == nil && strings.EqualFold(windows.UTF16ToString(buf[:n]), filepath.Join(dir, name))
}

// has reports whether a process whose PID was in the list is in the job: PIDs are
// soon used again. For a process that cannot be opened, the list's word counts.
func (j *containment) has(id proctree.ID) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(id.PID))
	if err != nil {
		return errors.Is(err, os.ErrPermission)
	}
	defer windows.CloseHandle(h)
	var in int32
	ok, _, _ := procIsProcessInJob.Call(uintptr(h), uintptr(j.job), uintptr(unsafe.Pointer(&in)))
	return ok == 0 || in != 0
}

func (j *containment) Signal(sigs ...os.Signal) error { return hold.InTurn(sigs, j.signalOne) }

func (j *containment) signalOne(sig os.Signal) error {
	if sig == os.Kill {
		return j.Kill()
	}
	pids, err := j.list()
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return os.ErrProcessDone
	}
	return ask(j.helperPath, sig, j.id.PID, pids)
}

// Kill ends every member. The limit on the number of processes keeps out those that
// are being made.
func (j *containment) Kill() error {
	limit := j.limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE | windows.JOB_OBJECT_LIMIT_ACTIVE_PROCESS)
	err := os.NewSyscallError("TerminateJobObject", windows.TerminateJobObject(j.job, killedStatus))
	return errjoin.Join(limit, err)
}

// killedStatus is the exit code of a killed member, the same as with
// os.Process.Kill.
const killedStatus = 1

func (j *containment) AwaitEmpty(ctx context.Context) error {
	j.watchOnce.Do(func() {
		if j.portErr = j.listen(); j.portErr == nil {
			j.watching.Go(j.watch)
		}
	})
	if j.portErr != nil {
		return j.portErr
	}
	select {
	case <-j.emptied:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// listen has the job send a message when members end.
func (j *containment) listen() (err error) {
	j.port, err = windows.CreateIoCompletionPort(windows.InvalidHandle, 0, 0, 1)
	if err != nil {
		return os.NewSyscallError("CreateIoCompletionPort", err)
	}
	// JOBOBJECT_ASSOCIATE_COMPLETION_PORT
	associate := struct {
		key  uintptr
		port windows.Handle
	}{keyJob, j.port}
	_, err = windows.SetInformationJobObject(j.job, windows.JobObjectAssociateCompletionPortInformation,
		uintptr(unsafe.Pointer(&associate)), uint32(unsafe.Sizeof(associate)))
	return os.NewSyscallError("SetInformationJobObject", err)
}

// What comes over the completion port.
const (
	keyJob   = 1 // from the job
	keyClose = 2 // from Close

	msgActiveProcessZero = 4 // JOB_OBJECT_MSG_ACTIVE_PROCESS_ZERO
)

// watch closes emptied when no member is left. It asks the job when a message says
// so. Windows does not promise to send one, so watch also asks after pauses that
// double each time.
//
// A member leaves the job's list before its ports, files and all else are released.
// Its handle is signalled last. So watch waits for the handles of the members that
// it has seen.
func (j *containment) watch() {
	ending, err := proctree.NewWatch()
	if err != nil {
		return
	}
	defer ending.Close()
	for pause := time.Second; ; pause *= 2 {
		live, err := j.Members()
		for _, p := range live {
			ending.Add(p.ID) // a process that may not be opened is not waited for
		}
		if err == nil && len(live) == 0 {
			break
		}
		if !j.hear(pause) {
			return
		}
	}
	if ending.Wait(j.ctx) == nil {
		close(j.emptied)
	}
}

// hear returns true when the job says that nothing is left, or when the pause has
// passed, and false at the end of the run.
func (j *containment) hear(pause time.Duration) bool {
	for deadline := time.Now().Add(pause); ; {
		var (
			message uint32
			key     uintptr
			about   *windows.Overlapped
		)
		left := max(0, time.Until(deadline))
		err := windows.GetQueuedCompletionStatus(j.port, &message, &key, &about, uint32(min(left.Milliseconds(), math.MaxInt32)))
		switch {
		case err == windows.WAIT_TIMEOUT:
			return true
		case err != nil || key == keyClose:
			return false
		case message == msgActiveProcessZero:
			return true
		}
	}
}

// Tend is AwaitEmpty: the kernel stops the run when the owner is gone.
func (j *containment) Tend(ctx context.Context) error { return j.AwaitEmpty(ctx) }

func (j *containment) Facts() hold.Facts {
	return hold.Facts{Used: j.total, Run: j.used, OwnersDeath: hold.DeathKills}
}

// account returns what the whole run has used.
func (j *containment) account() (total hold.Usage) {
	// JOBOBJECT_BASIC_ACCOUNTING_INFORMATION
	var times struct {
		user, kernel, thisPeriodUser, thisPeriodKernel        int64 // in units of 100 ns
		faults, processes, activeProcesses, terminatedByLimit uint32
	}
	if windows.QueryInformationJobObject(j.job, windows.JobObjectBasicAccountingInformation,
		uintptr(unsafe.Pointer(&times)), uint32(unsafe.Sizeof(times)), nil) == nil {
		total.User, total.System = time.Duration(times.user)*100, time.Duration(times.kernel)*100
	}
	var limits windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION
	if windows.QueryInformationJobObject(j.job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)), nil) == nil {
		total.PeakMemory = int64(limits.PeakProcessMemoryUsed)
	}
	return total
}

// Close lets leftovers live on that are to be kept. There are no others, except for
// members that could not be killed.
func (j *containment) Close() error {
	j.stopWatch()
	if j.port != 0 {
		windows.PostQueuedCompletionStatus(j.port, 0, keyClose, nil)
		j.watching.Wait()
		windows.CloseHandle(j.port)
	}
	if j.leader != nil {
		j.leader.Close()
	}
	j.total = j.account()
	j.used = j.amounts(j.total)
	var err error
	if j.keep {
		err = j.limit(0)
	}
	return errjoin.Join(err, os.NewSyscallError("CloseHandle", windows.CloseHandle(j.job)))
}
