//go:build linux || darwin || freebsd

package keeper

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/unix"
)

func (k *containment) Start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	failed := func(err error) (*os.Process, proctree.ID, error) {
		if errors.Is(err, hold.ErrKeeperLost) {
			return nil, k.id, err
		}
		return nil, k.id, fmt.Errorf("corral: keeper containment: %w", err)
	}
	spec, files, err := k.spec(cmd)
	defer func() {
		for _, f := range k.forLeader {
			f.Close()
		}
	}()
	if err != nil {
		return nil, k.id, err
	}
	// A kill of the owner's group must not reach the keeper. A keeper that could
	// not come back to the group stays in it until it has started the leader.
	attr := &syscall.SysProcAttr{Setpgid: !spec.LeaveSession || spec.StartGroup != 0}
	if k.pidns != nil {
		k.pidns.unshare(attr)
	}
	event, bareDone, err := k.startBare(spec, files)
	if err != nil && !bareDone {
		return failed(err)
	}
	if !bareDone {
		if k.proc, k.line, err = helper.Start(k.req.HelperPath, wire.KeeperRole, nil, attr); err != nil {
			return failed(err)
		}
		event, err = k.sendSpec(spec, files)
	}
	if err == nil && event.Kind == code.Failed {
		k.abandon(nil)
		return nil, k.id, event.Err()
	}
	if err == nil && event.Kind != code.Started {
		err = fmt.Errorf("the keeper says neither that it has started the command nor that it could not (event %d)", event.Kind)
	}
	k.id = proctree.ID{PID: event.PID, Start: event.Start}
	if err == nil && k.pidns != nil {
		k.id, err = k.pidns.translate(k.proc.Pid, k.id)
	}
	if err == nil {
		k.leader, err = osproc.FindForeign(k.id.PID)
	}
	if err != nil {
		return failed(k.abandon(err))
	}
	if cmd.SysProcAttr != nil {
		setPIDFD(cmd.SysProcAttr, k.id.PID)
	}
	k.reading.Go(k.listen)
	return k.leader, k.id, nil
}

// sendSpec sends the spec and returns the first event.
func (k *containment) sendSpec(spec *wire.Spec, files []*os.File) (event wire.Event, err error) {
	spec.IgnoredSignals = helper.IgnoredSignals()
	_, err = k.line.Write(binary.NativeEndian.AppendUint32(nil, uint32(len(files))))
	if err == nil {
		err = helper.SendFiles(k.line, files)
	}
	if err == nil {
		_, err = k.line.Write(wire.Frame(spec))
	}
	if err == nil {
		event, err = k.firstEvent()
	}
	if err != nil {
		return event, k.notStarted(err)
	}
	return event, nil
}

// notStarted says that the keeper has not told of a start.
func (k *containment) notStarted(err error) error {
	if path := k.req.HelperPath; path != "" {
		err = fmt.Errorf("%w (does HelperPath, %s, import this version of this package?)", err, path)
	}
	return fmt.Errorf("the keeper did not start: %w", err)
}

// firstEvent waits for what the keeper says first.
func (k *containment) firstEvent() (event wire.Event, err error) {
	// A start takes a millisecond on an idle machine. The leader may stop the
	// keeper before it has reported the start.
	const patience = time.Minute
	for waited := time.Duration(0); waited < patience; waited += firstRouse {
		if helper.Readable(k.line, firstRouse) {
			k.line.SetReadDeadline(time.Now().Add(patience))
			err = wire.Receive(k.line, &event, wire.MaxEvent)
			k.line.SetReadDeadline(time.Time{})
			return event, err
		}
		k.wake()
	}
	return event, os.ErrDeadlineExceeded
}

// abandon takes a start back. If there is a leader, it gets SIGKILL with the
// keeper. If somebody killed the keeper before it reported the start, the error
// says so: only the command can have done that, and it may have left others.
func (k *containment) abandon(err error) error {
	silent := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
	if silent && k.awaitKeeper(answerTime) {
		if state, werr := k.proc.Wait(); werr == nil && state.Sys().(syscall.WaitStatus).Signaled() {
			err = errKeeperLostEarly
		}
	} else if k.proc.Kill(); k.awaitKeeper(stop.KillPatience) {
		k.proc.Wait()
	}
	k.line.Close()
	return err
}

var errKeeperLostEarly = fmt.Errorf("%w; it had not reported the start yet", hold.ErrKeeperLost)

// spec describes what os/exec would do, for the keeper to do.
func (k *containment) spec(cmd *exec.Cmd) (*wire.Spec, []*os.File, error) {
	s := &wire.Spec{
		Path: cmd.Path, Dir: cmd.Dir, Args: cmd.Args, Env: cmd.Environ(),
		Plan: k.req.Plan, Keep: k.req.KeepLeftovers, Detach: k.req.Detach, Spares: k.req.Spares, IsInit: k.pidns != nil,
	}
	if len(s.Args) == 0 {
		s.Args = []string{cmd.Path}
	}
	if slices.ContainsFunc(cmd.Env, func(e string) bool { return strings.ContainsRune(e, 0) }) {
		return nil, nil, errors.New("exec: environment variable contains NUL")
	}
	s.Attr = osproc.CopyAttr(cmd.SysProcAttr)
	if !s.Detach {
		dieWithKeeper(s.Attr)
	}
	if !s.Attr.Setsid && !s.Attr.Setpgid && !s.Attr.Foreground {
		// As under os/exec, the leader is in the owner's group. The keeper starts
		// it from there and leaves the session. If its parent were in another group
		// of the session, the leader's end could make the owner's group an orphaned
		// one, which gets SIGHUP if one of its processes is stopped
		// (kill_orphaned_pgrp in the kernel's exit.c).
		s.LeaveSession = true
		if k.pidns == nil { // where the group has no number
			s.StartGroup = syscall.Getpgrp() // 0 if the group is outside the owner's own PID namespace
		}
	}
	files, err := k.files(cmd, s)
	return s, files, err
}

// files returns the files that the keeper passes to the leader, and says in s which
// ones they are.
func (k *containment) files(cmd *exec.Cmd, s *wire.Spec) (files []*os.File, err error) {
	var null *os.File
	for _, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		f, ok := stream.(*os.File)
		if !ok || f == nil { // os/exec passes the null device
			if null == nil {
				if null, err = openNull(); err != nil {
					return nil, err
				}
				k.forLeader = append(k.forLeader, null)
			}
			f = null
		}
		files, s.Open = append(files, f), append(s.Open, true)
	}
	for _, f := range cmd.ExtraFiles {
		s.Open = append(s.Open, f != nil)
		if f != nil {
			files = append(files, f)
		}
	}
	for _, field := range wire.AttrDescriptors(s.Attr) {
		fd, err := unix.FcntlInt(uintptr(*field), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("dup", err)
		}
		f := os.NewFile(uintptr(fd), "inherited")
		k.forLeader, files = append(k.forLeader, f), append(files, f)
	}
	return files, nil
}

// openNull opens the null device without asking the runtime's poller, which cannot
// poll it.
func openNull() (*os.File, error) {
	fd, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: os.DevNull, Err: err}
	}
	return os.NewFile(uintptr(fd), os.DevNull), nil
}
