package keeper

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/corral-run/corral/internal/child"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stub"
	"github.com/corral-run/corral/internal/stub/bare"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/unix"
)

// startBare starts a keeper that needs no runtime, which takes a fraction of the
// time. done is false if that is not possible, now or for this command. Then
// nothing has been started.
func (k *containment) startBare(spec *wire.Spec, files []*os.File) (event wire.Event, done bool, err error) {
	if k.pidns != nil || k.req.Spares || !stub.Suits(spec.Attr, spec.Plan) || hasZero(spec) || stub.Possible() != nil {
		return event, false, nil
	}
	moment := proctree.Now() // before the leader is born, or a tick may lie between
	if stub.Usable() == nil {
		done, err = k.fork(spec, files)
	} else {
		done, err = k.startEarly(spec, files)
	}
	if !done || err != nil {
		return event, done, err
	}
	if event, err = k.firstEvent(); err != nil {
		if k.unfit() {
			return event, false, nil
		}
		return event, true, k.notStarted(err)
	}
	switch event.Kind {
	case code.Failed:
		// It tells no more than the number.
		var failure *fs.PathError
		if errors.As(event.Err(), &failure) {
			event = *wire.NewFailure(&fs.PathError{Op: "fork/exec", Path: spec.Path, Err: failure.Err})
		}
	case code.Started:
		var id proctree.ID
		id, err = moment.Born(event.PID)
		event.Start = id.Start
	}
	return event, true, err
}

// fork forks a keeper.
func (k *containment) fork(spec *wire.Spec, files []*os.File) (done bool, err error) {
	ours, theirs, err := helper.Line(wire.KeeperRole)
	if err != nil {
		return false, err
	}
	defer theirs.Close() // its end tells of the keeper's
	osproc.Probe()
	s := bareSpec(spec, files)
	s.Identity = stub.Identity(wire.KeeperRole, int(theirs.Fd()))
	pid, err := stub.Start(s)
	runtime.KeepAlive(files)
	if err != nil { // it takes more than to execute a program
		ours.Close()
		return false, nil
	}
	if k.proc, err = os.FindProcess(pid); err != nil {
		unix.Kill(pid, unix.SIGKILL)
		ours.Close()
		return false, err
	}
	k.line = ours
	return true, nil
}

// startEarly executes the program once more, or that at HelperPath. Where it is
// another version, it says so by failing.
func (k *containment) startEarly(spec *wire.Spec, files []*os.File) (done bool, err error) {
	s := bareSpec(spec, files)
	s.StartGroup = spec.StartGroup
	s.Identity = stub.Identity(wire.KeeperRole, 0)
	head, body, err := stub.Message(s, len(files))
	if err != nil {
		return false, err
	}
	attr := &syscall.SysProcAttr{Setpgid: !spec.LeaveSession || spec.StartGroup != 0}
	if k.proc, k.line, err = helper.Start(k.req.HelperPath, wire.KeeperRole, []string{bare.EarlyArgument}, attr); err != nil {
		return false, err
	}
	if _, err = k.line.Write(head); err == nil {
		err = helper.SendFiles(k.line, files)
	}
	if err == nil {
		k.line.Write(body)
	}
	return true, nil // if it is gone, there will be no event
}

// hasZero reports whether a text has a zero byte in it, which is an error.
func hasZero(spec *wire.Spec) bool {
	has := func(text string) bool { return strings.IndexByte(text, 0) >= 0 }
	return has(spec.Path) || has(spec.Dir) || has(spec.Attr.Chroot) || slices.ContainsFunc(spec.Args, has)
}

// bareSpec describes the run.
func bareSpec(spec *wire.Spec, files []*os.File) *bare.Spec {
	s := &bare.Spec{
		Path: spec.Path, Dir: spec.Dir, Args: spec.Args, Env: spec.Env, Attr: spec.Attr,
		LeaveSession: spec.LeaveSession, Keep: spec.Keep, Detach: spec.Detach, Plan: stub.Steps(spec.Plan),
	}
	for _, open := range spec.Open {
		fd := -1
		if open {
			// As os/exec does, this makes the file blocking: the command shares
			// that property, and expects it.
			fd, files = int(files[0].Fd()), files[1:]
		}
		s.Files = append(s.Files, fd)
	}
	return s
}

// unfit reports whether the keeper was a stub that lacked something and has started
// nothing. Then it gives it up.
func (k *containment) unfit() bool {
	if !k.awaitKeeper(answerTime) {
		return false
	}
	pid, status, _, err := child.Peek(k.proc.Pid)
	if err != nil || pid != k.proc.Pid || !status.Exited() || status.ExitStatus() != bare.Unfit {
		return false
	}
	k.proc.Wait()
	k.line.Close()
	return true
}
