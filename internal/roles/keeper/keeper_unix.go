//go:build linux || darwin || freebsd

package keeper

import (
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/unix"
)

// How the keeper knows the members depends on the system. On Linux and FreeBSD it
// is a reaper: a member whose parent ends becomes its child. On macOS it has to
// follow them. A system's file has
//
//	becomeReaper  makes the process ready to be the leader's parent
//	follow        is told the leader
//	serve         keeps the run until the owner has no more use for it, or is
//	              gone and the run has been stopped
//	observe       takes in what has happened, and sets k.ended once the leader
//	              has ended
//	sweep         reaps, kills if k.killing, and returns 0 if no member is left
//	              besides an ended leader
//	members       lists the live members, for any goroutine
//	reapLeader    reaps an ended leader

// keeperState is what the process knows. keeper adds what the system's file needs.
// Only the main goroutine uses it.
type keeperState struct {
	line   *os.File
	owner  helper.Owner
	leader proctree.ID
	ended  *wire.Event // how the leader ended, once it has
	empty  bool
	// killing: whatever turns up is killed, until nothing does. stalled: nothing
	// has happened for a while, though somebody is left.
	killing, stalled bool
	keep, finishing  bool // leftovers are to be kept; the owner needs the run no more
	detach, letGo    bool // the run is to outlive the owner; it goes on alone from now on
	// more: the last sweep was cut short, as the owner may have said something, and
	// another one is due at once.
	more bool

	spares bool // the run may let go of single processes
}

func init() { helper.Role(wire.KeeperRole, run) }

func run(owner helper.Owner) {
	k := new(keeper)
	k.line, k.owner = os.NewFile(0, wire.KeeperRole), owner
	spec, err := k.prepare()
	if err == nil {
		err = k.spawn(spec)
	}
	if err != nil {
		k.tell(wire.NewFailure(err))
		syscall.Exit(1)
	}
	k.serve(spec)
}

// prepare reads the spec and makes this process a reaper.
func (k *keeper) prepare() (*wire.Spec, error) {
	var count [4]byte
	if _, err := io.ReadFull(k.line, count[:]); err != nil {
		return nil, err
	}
	files, err := helper.ReceiveFiles(0, int(binary.NativeEndian.Uint32(count[:])))
	if err != nil {
		return nil, err
	}
	spec := new(wire.Spec)
	if err := wire.Receive(k.line, spec, wire.MaxSpec); err != nil {
		return nil, err
	}
	spec.Distribute(files)
	k.keep, k.detach, k.spares = spec.Keep, spec.Detach, spec.Spares
	helper.PrepareRuntime()
	return spec, k.becomeReaper(spec)
}

// spawn starts the leader and tells the owner.
func (k *keeper) spawn(spec *wire.Spec) error {
	for _, sig := range spec.IgnoredSignals {
		signal.Ignore(sig)
	}
	attr := &syscall.ProcAttr{Dir: spec.Dir, Env: spec.Env, Sys: spec.Attr}
	for _, f := range spec.LeaderFiles {
		fd := ^uintptr(0)
		if f != nil {
			fd = f.Fd()
		}
		attr.Files = append(attr.Files, fd)
	}
	if spec.StartGroup != 0 {
		if err := unix.Setpgid(0, spec.StartGroup); err != nil {
			return os.NewSyscallError("setpgid", err)
		}
	}
	// os.StartProcess would start another process to find out about pidfds.
	if mapped(spec.Attr) {
		// The maps of ids are files in the child's /proc directory, which belong to
		// root if the parent is not dumpable.
		helper.SetDumpable(true)
	}
	pid, err := syscall.ForkExec(spec.Path, spec.Args, attr)
	helper.SetDumpable(false)
	if err != nil {
		return &fs.PathError{Op: "fork/exec", Path: spec.Path, Err: err}
	}
	if k.leader, err = proctree.Identify(pid); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		return err
	}
	if err := k.follow(); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		return err
	}
	k.tell(&wire.Event{Kind: code.Started, PID: k.leader.PID, Start: k.leader.Start})
	if spec.LeaveSession {
		unix.Setsid()
	}
	for _, f := range slices.Concat(spec.LeaderFiles, spec.AttrFiles) {
		f.Close()
	}
	helper.CloseInherited()
	return os.Chdir("/")
}

// obey does what the owner asks for.
func (k *keeper) obey(request byte) {
	switch request {
	case code.Kill:
		k.killing = true
	case code.Reap:
		k.reapLeader()
	case code.LetGo:
		k.letGo = true
	case code.AskMembers:
		k.answer()
	case code.Ping:
		k.tell(&wire.Event{Kind: code.Pong})
	case code.Finish:
		if k.finishing {
			return // it is at that already
		}
		if k.finishing = true; !k.empty && !k.keep {
			k.lastKill()
		}
		k.end()
	default:
		if request > code.SignalBase {
			reach.Signal(k.members, syscall.Signal(request-code.SignalBase))
		}
	}
}

// mayLeave reports whether a keeper without an owner may end and leave the members
// alone. After LetGo it may have to stay first: the leader dies with the keeper,
// unless it was started to outlive the owner, and so does everybody in a PID
// namespace whose init the keeper is.
func (k *keeper) mayLeave(init bool) bool {
	return k.empty || k.detach || k.ended != nil && (k.keep || k.letGo && !init)
}

// end ends the keeper as the leader has ended.
func (k *keeper) end() {
	if k.ended != nil {
		k.reapLeader()
		disposition.EndLike(k.ended.Status)
	}
	syscall.Exit(1)
}

// answer tells the owner who the members are.
func (k *keeper) answer() {
	rows, _ := k.members()
	e := &wire.Event{Kind: code.MemberList}
	for _, row := range rows {
		e.Members = append(e.Members, row.ID)
	}
	k.tell(e)
}

// tell sends the owner an event.
func (k *keeper) tell(e *wire.Event) {
	k.line.Write(wire.Frame(e)) // if the owner is gone, the next read says so
}

// tend looks after the run: it takes in who has ended, kills if k.killing, and
// tells the owner what is new. It decides whether the run is empty: it is, once the
// leader has ended and sweep has found nobody else.
func (k *keeper) tend() {
	if k.empty {
		return
	}
	k.more = false
	known := k.ended != nil
	if !known {
		k.observe()
	}
	if k.ended != nil || k.killing {
		k.empty = k.sweep() == 0 && k.ended != nil
	}
	switch {
	case k.ended != nil && !known:
		k.ended.Empty = k.empty
		k.tell(k.ended)
	case k.empty:
		k.tell(&wire.Event{Kind: code.NowEmpty})
	}
}
