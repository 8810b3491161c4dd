//go:build linux || darwin || freebsd

package corral

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/proctree"
)

// The keeper is the process between the owner and the leader of one run. It
// knows the members, outlives the owner, and stops the run then. It also holds
// the leader unreaped until the owner has been told how it ended, so that the
// leader's PID means the leader for as long as it does under os/exec.
//
// How it knows the members is the system's: on Linux and FreeBSD it is the
// reaper of what it starts, to which a member comes whose parent ends; on macOS
// it has to follow them. A system's file has
//
//	settle   makes the process ready to be the leader's parent
//	follow   is told the leader
//	serve    keeps the run until the owner says that it has no more use for it, or
//	         is gone and the run has been stopped
//	observe  takes in what has happened: k.ended is set once the leader has ended
//	rest     counts who is left but for an ended leader, and kills if k.killing
//	members  lists the live members, for any goroutine
//	release  reaps an ended leader

// keeperState is what the process knows; keeper is that, and what the system's
// file needs. Only the main goroutine uses it.
type keeperState struct {
	line   *os.File
	owner  ownerProcess
	leader proctree.ID
	ended  *keeperEvent // how the leader did, once it has
	empty  bool
	// killing: whatever turns up is killed, until nothing does. stalled: nothing has
	// happened for a while though somebody is left.
	killing, stalled bool
	keep, finishing  bool // leftovers are to be kept; the owner has no more use for the run
	detach, letGo    bool // the run goes on when the owner is gone; it does so from now on
	// more: the last look was cut short, as the owner may have something to say, and
	// another one is due at once.
	more bool
}

func init() { Role(keeperRole, keeperMain) }

func keeperMain(owner ownerProcess) {
	k := new(keeper)
	k.line, k.owner = os.NewFile(0, keeperRole), owner
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

// prepare reads what the process is to keep, and makes it a keeper.
func (k *keeper) prepare() (*keeperSpec, error) {
	var count [4]byte
	if _, err := io.ReadFull(k.line, count[:]); err != nil {
		return nil, err
	}
	files, err := receiveFiles(0, int(binary.NativeEndian.Uint32(count[:])))
	if err != nil {
		return nil, err
	}
	spec := new(keeperSpec)
	if err := receive(k.line, spec, maxSpec); err != nil {
		return nil, err
	}
	spec.give(files)
	k.keep, k.detach = spec.keep, spec.detach
	readyToStop()
	return spec, k.settle(spec)
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
	for _, field := range descriptorsOf(s.sys) {
		f := next()
		s.others = append(s.others, f)
		*field = int(f.Fd())
	}
}

// spawn starts the leader and tells the owner.
func (k *keeper) spawn(spec *keeperSpec) error {
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
	if mapped(spec.sys) {
		// What a child of a process that is not dumpable has in /proc is root's, and
		// the child's maps of ids are to be written there.
		setDumpable(true)
	}
	pid, err := syscall.ForkExec(spec.path, spec.args, attr)
	setDumpable(false)
	if err != nil {
		return &fs.PathError{Op: "fork/exec", Path: spec.path, Err: err}
	}
	if k.leader, err = proctree.Identify(pid); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		return err
	}
	if err := k.follow(); err != nil {
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

func (k *keeper) obey(request byte) {
	switch request {
	case keeperKill:
		k.killing = true
	case keeperReap:
		k.release()
	case keeperLetGo:
		k.letGo = true
	case keeperMembers:
		k.answer()
	case keeperPing:
		k.tell(&keeperEvent{kind: eventHere})
	case keeperFinish:
		if k.finishing {
			return // it is at it
		}
		if k.finishing = true; !k.empty && !k.keep {
			k.lastKill()
		}
		k.end()
	default:
		if request > keeperSignal {
			signalEach(k.members, syscall.Signal(request-keeperSignal))
		}
	}
}

// mayLeave reports whether the keeper, without an owner, may end and leave alone who is
// there. If the run was let go, that may be so later: the leader dies with the keeper, unless it
// was started to outlive the owner, and so do all in a PID namespace whose init this is.
func (k *keeper) mayLeave(init bool) bool {
	return k.empty || k.detach || k.ended != nil && (k.keep || k.letGo && !init)
}

// end ends the keeper as the leader has ended.
func (k *keeper) end() {
	if k.ended != nil {
		k.release()
		disposition.EndLike(k.ended.status)
	}
	syscall.Exit(1)
}

func (k *keeper) answer() {
	rows, _ := k.members()
	e := &keeperEvent{kind: eventMembers}
	for _, row := range rows {
		e.members = append(e.members, row.ID)
	}
	k.tell(e)
}

func (k *keeper) tell(e *keeperEvent) {
	k.line.Write(frame(e)) // if the owner is gone, the next read says so
}

// look sees to the run: takes in who has ended, kills those that are to be
// killed, and tells the owner what is news.
func (k *keeper) look() {
	if k.empty {
		return
	}
	k.more = false
	known := k.ended != nil
	if !known {
		k.observe()
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
