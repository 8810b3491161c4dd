package corral

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/proctree"
)

// The keeper is the process between the owner and the leader of one run. It is
// a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): a member whose parent ends
// becomes its child, whatever session or group it has fled to, so that nothing
// is left when the keeper has no children. It outlives the owner, and stops the
// run then. It also holds the leader unreaped until the owner has been told how
// it ended, so that the leader's PID means the leader for as long as it does
// under os/exec.

// What the owner sends after the spec, a byte each.
const (
	keeperKill   = 'k'
	keeperReap   = 'r' // reap the leader, which has ended: the run goes on for long
	keeperFinish = 'f' // reap the leader and end as it did
)

func failureOf(err error) *keeperEvent {
	e := &keeperEvent{kind: eventFailed, text: err.Error()}
	if path, ok := err.(*fs.PathError); ok && errors.As(path.Err, &e.errno) {
		e.op, e.path = path.Op, path.Path
	}
	return e
}

func (e *keeperEvent) err() error {
	if e.errno != 0 {
		return &fs.PathError{Op: e.op, Path: e.path, Err: e.errno}
	}
	return errors.New(e.text)
}

// keeper is the process's state. Only the main goroutine uses it.
type keeper struct {
	line   *os.File
	leader proctree.ID
	ended  *keeperEvent // how the leader did, once it has
	empty  bool
	// killing: whatever turns up is killed, until nothing does.
	killing bool
	// killed are those that need no other signal.
	killed map[proctree.ID]bool
}

func keeperMain() {
	k := &keeper{line: os.NewFile(0, keeperRole), killed: make(map[proctree.ID]bool)}
	spec, err := k.prepare()
	if err == nil {
		err = k.spawn(spec)
	}
	if err != nil {
		k.tell(failureOf(err))
		syscall.Exit(1)
	}
	k.serve(spec)
}

// prepare makes the process a keeper and reads what it is to keep.
func (k *keeper) prepare() (*keeperSpec, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	var count [4]byte
	if _, err := io.ReadFull(k.line, count[:]); err != nil {
		return nil, err
	}
	files, err := receiveFiles(0, int(binary.NativeEndian.Uint32(count[:])))
	if err != nil {
		return nil, err
	}
	spec := new(keeperSpec)
	if err := receive(k.line, spec); err != nil {
		return nil, err
	}
	spec.give(files)
	return spec, nil
}

// give hands the descriptors out: to the leader's numbers, and to the fields of
// Sys that name one.
func (s *keeperSpec) give(files []*os.File) {
	next := func() *os.File {
		f := files[0]
		files = files[1:]
		return f
	}
	for _, open := range s.open {
		var f *os.File
		if open {
			f = next()
		}
		s.files = append(s.files, f)
	}
	if s.ctty {
		s.others = append(s.others, next())
		s.sys.Ctty = int(s.others[0].Fd())
	}
	if s.cgroup {
		s.others = append(s.others, next())
		s.sys.CgroupFD = int(s.others[len(s.others)-1].Fd())
	}
}

// spawn starts the leader and tells the owner.
func (k *keeper) spawn(spec *keeperSpec) error {
	if spec.init {
		if err := mountProc(); err != nil {
			return err
		}
	}
	for _, sig := range spec.ignored {
		signal.Ignore(sig)
	}
	attr := &syscall.ProcAttr{Dir: spec.dir, Env: spec.env, Sys: spec.sys}
	for _, f := range spec.files {
		fd := ^uintptr(0)
		if f != nil {
			fd = f.Fd()
		}
		attr.Files = append(attr.Files, fd)
	}
	if spec.group != 0 {
		if err := unix.Setpgid(0, spec.group); err != nil {
			return os.NewSyscallError("setpgid", err)
		}
	}
	// Not os.StartProcess, which would start another process to find out about
	// pidfds.
	pid, err := syscall.ForkExec(spec.path, spec.args, attr)
	if err != nil {
		return &fs.PathError{Op: "fork/exec", Path: spec.path, Err: err}
	}
	if k.leader, err = proctree.Identify(pid); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		return err
	}
	k.tell(&keeperEvent{kind: eventStarted, pid: k.leader.PID, start: k.leader.Start})
	if spec.leaveSession {
		unix.Setsid()
	}
	for _, f := range slices.Concat(spec.files, spec.others) {
		f.Close()
	}
	closeInherited()
	return os.Chdir("/")
}

// serve keeps the run until the owner says that it has no more use for it, or is
// gone and the run has been stopped.
func (k *keeper) serve(spec *keeperSpec) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	requests := make(chan byte)
	go func() {
		defer close(requests)
		for b := make([]byte, 1); ; {
			if n, err := k.line.Read(b); n != 1 || err != nil {
				return
			}
			requests <- b[0]
		}
	}()
	own := &brood{killing: make(chan struct{}), emptied: make(chan struct{})}
	stopper := newStopper(own, spec.plan, k.leader.PID, slog.New(slog.DiscardHandler))
	killing := own.killing
	var stopped chan struct{}
	var again <-chan time.Time
	pause := time.Millisecond
	for {
		k.look()
		if k.empty {
			own.emptyOnce.Do(func() { close(own.emptied) })
		}
		again = nil
		if k.killing && !k.empty {
			// A child of one that may not be killed is adopted without an event.
			again = time.After(pause)
			pause = min(2*pause, time.Second)
		}
		select {
		case <-died:
		case <-again:
		case <-killing:
			k.killing, killing = true, nil
		case <-stopped:
			k.end()
		case request, ok := <-requests:
			switch {
			case ok && request == keeperKill:
				k.killing = true
			case ok && request == keeperReap:
				reap(k.leader.PID)
				k.leader.PID = 0 // it may become a member's
			case ok && request == keeperFinish, !ok && k.empty, !ok && k.ended != nil && spec.keep:
				k.end()
			case !ok:
				requests, stopped = nil, stopper.done
				go stopper.run()
			}
		}
	}
}

// end ends the keeper as the leader has ended, which is reaped by that.
func (k *keeper) end() {
	if k.ended != nil {
		disposition.EndLike(k.ended.status)
	}
	syscall.Exit(1)
}

func (k *keeper) tell(e *keeperEvent) {
	k.line.Write(frame(e)) // if the owner is gone, the next read says so
}

// look sees to the children: reaps those that have ended, kills those that are
// to be killed, and tells the owner what is news.
func (k *keeper) look() {
	if k.empty {
		return
	}
	known := k.ended != nil
	if !known {
		k.reapUpToLeader()
	}
	if k.ended != nil || k.killing {
		k.empty = k.rest() == 0 && k.ended != nil
	}
	switch {
	case k.ended != nil && !known:
		k.ended.empty = k.empty
		k.tell(k.ended)
	case k.empty:
		k.tell(&keeperEvent{kind: eventEmpty})
	}
}

// reapUpToLeader reaps children until none has ended, or the leader has, which
// stays: from then on the kernel would name it again and again.
func (k *keeper) reapUpToLeader() {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
		pid, _ := childOf(&info)
		switch {
		case err == unix.EINTR:
		case err != nil || pid == 0:
			return
		case pid == k.leader.PID:
			k.ended = &keeperEvent{kind: eventEnded}
			var usage unix.Rusage
			unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, &usage)
			_, k.ended.status = childOf(&info)
			k.ended.rusage = *(*syscall.Rusage)(unsafe.Pointer(&usage))
			return
		default:
			reap(pid)
		}
	}
}

// reap reaps a child if it has ended.
func reap(pid int) bool {
	for {
		got, err := unix.Wait4(pid, nil, unix.WNOHANG|unix.WALL, nil)
		if err != unix.EINTR {
			return got == pid || err != nil
		}
	}
}

// childOf reads the fields of siginfo_t that waitid(2) fills, which are in a
// union, after three ints and what aligns it.
func childOf(info *unix.Siginfo) (pid int, status syscall.WaitStatus) {
	const union = (12 + unsafe.Sizeof(uintptr(0)) - 1) &^ (unsafe.Sizeof(uintptr(0)) - 1)
	field := func(n uintptr) int32 {
		return *(*int32)(unsafe.Add(unsafe.Pointer(info), union+4*n))
	}
	const exited, dumped = 1, 3 // CLD_EXITED, CLD_DUMPED
	status = syscall.WaitStatus(field(2))
	switch info.Code {
	case exited:
		status <<= 8
	case dumped:
		status |= 0x80
	}
	return int(field(0)), status
}

// rest returns how many members are left, the leader aside if it has ended, and
// kills them if that is what is to be done.
//
// A child that ends all the time after it has forked is gone when its identity
// has been looked up. Children of this process can do without: their PIDs are
// theirs until they are reaped, here.
func (k *keeper) rest() int {
	for {
		// Asked for what is no end, the kernel says ECHILD if there are only zombies
		// (wait_consider_task in its kernel/exit.c).
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WSTOPPED|unix.WNOHANG|unix.WNOWAIT|unix.WALL, nil)
		if err == unix.ECHILD {
			return 0
		}
		pids, err := proctree.ChildPIDs(os.Getpid())
		if err != nil {
			return 1 // as far as we know
		}
		left, reaped := 0, false
		for _, pid := range pids {
			switch {
			case pid == k.leader.PID && k.ended != nil:
				continue
			case k.killing && pid > 1:
				unix.Kill(pid, unix.SIGKILL)
			}
			left++
		}
		if left == 0 {
			return 0
		}
		for _, pid := range pids {
			if pid != k.leader.PID && reap(pid) {
				reaped = true
			}
		}
		if reaped {
			continue // its children are this process's by now, and not in the list
		}
		rows, err := proctree.Below(os.Getpid())
		if err != nil {
			return 1
		}
		// A look through /proc may come up empty while all is in motion. It is the
		// kernel that has said that somebody is left.
		if !k.killing || !k.killAll(rows) {
			return max(1, len(rows))
		}
	}
}

// killAll kills those that have not been killed, and reports whether there was
// one.
func (k *keeper) killAll(rows []proctree.Process) (fresh bool) {
	for _, row := range rows {
		if !k.killed[row.ID] {
			k.killed[row.ID], fresh = true, true
			signalProcess(row.ID, syscall.SIGKILL) // if it is gone or not ours to kill, so be it
		}
	}
	return fresh
}

// brood is the run as a stopper in the keeper's process sees it.
type brood struct {
	killOnce, emptyOnce sync.Once
	killing, emptied    chan struct{}
}

func (b *brood) signal(sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return errors.ErrUnsupported
	}
	return signalEach(number, below)
}

func (b *brood) kill() error {
	b.killOnce.Do(func() { close(b.killing) })
	return nil
}

func (b *brood) members() ([]Process, error) {
	return seen(func() ([]proctree.Process, bool, error) {
		rows, err := below()
		return rows, isClosed(b.emptied), err
	})
}

func below() ([]proctree.Process, error) { return proctree.Below(os.Getpid()) }

func (b *brood) empty(ctx context.Context) error {
	select {
	case <-b.emptied:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
