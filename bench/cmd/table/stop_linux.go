package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/proctree"
)

// stopped returns how long Stop takes for that many members.
func stopped(cont corral.Containment, members int) (time.Duration, error) {
	argv, lines := treeArgv(members)
	c := contained(cont, argv[0], argv[1:]...)
	c.StopPlan = noGrace
	t, err := grow(lines, func(stdin, stdout *os.File) error {
		c.Stdin, c.Stdout = stdin, stdout
		return c.Start()
	})
	if err != nil {
		return 0, err
	}
	defer t.close()
	d, err := timed(func() error { return c.Stop(context.Background()) })()
	if err != nil {
		return 0, err
	}
	if err := killed(c.Wait()); err != nil {
		return 0, err
	}
	return d, t.waitGone()
}

// killed returns nil if err says that a command was killed.
func killed(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return nil
	}
	return fmt.Errorf("not killed: %w", err)
}

// stopOver compares Stop with bare, which only kills until all are gone.
func stopOver(peer string, cont corral.Containment, members, rounds int,
	bare func(leader *exec.Cmd, lines int) (time.Duration, error)) (result, error) {
	argv, lines := treeArgv(members)
	pairs, err := turns(rounds,
		func() (time.Duration, error) { return bare(exec.Command(argv[0], argv[1:]...), lines) },
		func() (time.Duration, error) { return stopped(cont, members) })
	if err != nil {
		return result{}, err
	}
	return ratio(pairs, peer), nil
}

// growAs is grow for a command of os/exec.
func growAs(cmd *exec.Cmd, lines int) (*trees, error) {
	return grow(lines, func(stdin, stdout *os.File) error {
		cmd.Stdin, cmd.Stdout = stdin, stdout
		return cmd.Start()
	})
}

// bareCgroup writes to cgroup.kill and waits for the one event, as a C program
// would by write(2) and poll(2).
func bareCgroup(cmd *exec.Cmd, lines int) (time.Duration, error) {
	own, err := cgroup.Own()
	if err != nil {
		return 0, err
	}
	path := filepath.Join(own, fmt.Sprintf("corral-bench-%d", os.Getpid()))
	dir, err := cgroup.Create(path)
	if err != nil {
		return 0, err
	}
	defer os.Remove(path)
	defer dir.Close()
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: dir.FD()}
	t, err := growAs(cmd, lines)
	if err != nil {
		return 0, err
	}
	defer t.close()
	d, err := timed(func() error { return killCgroup(path) })()
	if err != nil {
		return 0, err
	}
	if err := killed(cmd.Wait()); err != nil {
		return 0, err
	}
	return d, t.waitGone()
}

// killCgroup kills what is in a cgroup and returns when the cgroup is empty.
func killCgroup(path string) error {
	if err := os.WriteFile(filepath.Join(path, "cgroup.kill"), []byte("1"), 0); err != nil {
		return err
	}
	events, err := os.Open(filepath.Join(path, "cgroup.events"))
	if err != nil {
		return err
	}
	defer events.Close()
	buf := make([]byte, 256)
	for {
		n, err := events.ReadAt(buf, 0)
		if err != nil && err != io.EOF {
			return err
		}
		if strings.Contains(string(buf[:n]), "populated 0") {
			return nil
		}
		if err := poll(int(events.Fd()), unix.POLLPRI); err != nil {
			return err
		}
	}
}

// poll waits for an event on a descriptor.
func poll(fd int, event int16) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: event}}, -1)
		if err != unix.EINTR {
			return err
		}
	}
}

// killLoop kills all processes below the leader, one after the other, and waits
// until all have closed their pipe. It looks once, as they do not fork any more.
func killLoop(cmd *exec.Cmd, lines int) (time.Duration, error) {
	t, err := growAs(cmd, lines)
	if err != nil {
		return 0, err
	}
	defer t.close()
	d, err := timed(func() error {
		members, err := proctree.Below(cmd.Process.Pid)
		if err != nil {
			return err
		}
		for _, m := range members {
			// Its parent, which would reap it, waits for the end of its standard
			// input.
			if err := unix.Kill(m.PID, unix.SIGKILL); err != nil && err != unix.ESRCH {
				return err
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		return t.waitGone()
	})()
	if err != nil {
		return 0, err
	}
	return d, killed(cmd.Wait())
}

// flat compares the time per member of a large run and of a small one.
func flat(cont corral.Containment, members, rounds int) (result, error) {
	const few = 100
	perMember := func(n int) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			d, err := stopped(cont, n)
			return d / time.Duration(n), err
		}
	}
	pairs, err := turns(rounds, perMember(few), perMember(members))
	if err != nil {
		return result{}, err
	}
	return ratio(pairs, "itself"), nil
}

// orphaned measures from the SIGKILL of the owner until no member holds the pipe
// any more, and no child of the owner, helpers included, is left.
func orphaned(o owner, rounds int) (result, error) {
	argv, lines := treeArgv(o.Runs * o.Members)
	pairs, err := turns(rounds,
		func() (time.Duration, error) { return killLoop(exec.Command(argv[0], argv[1:]...), lines) },
		func() (time.Duration, error) { return orphanedOnce(o) })
	if err != nil {
		return result{}, err
	}
	res := ratio(pairs, "kill loop, as many members")
	var ours []time.Duration
	for _, p := range pairs {
		ours = append(ours, p.Ours)
	}
	res.reached += ", " + milliseconds(quantile(ours, 0.5))
	return res, nil
}

func orphanedOnce(o owner) (time.Duration, error) {
	cmd, t, err := o.hold()
	if err != nil {
		return 0, err
	}
	defer cmd.Wait()
	defer t.close()
	children, err := proctree.ChildPIDs(cmd.Process.Pid)
	if err != nil {
		return 0, err
	}
	var handles []int
	defer func() {
		for _, fd := range handles {
			unix.Close(fd)
		}
	}()
	for _, pid := range children {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			return 0, err
		}
		handles = append(handles, fd)
	}
	return timed(func() error {
		if err := cmd.Process.Kill(); err != nil {
			return err
		}
		if err := t.waitGone(); err != nil {
			return err
		}
		for _, fd := range handles {
			if err := poll(fd, unix.POLLIN); err != nil {
				return err
			}
		}
		return nil
	})()
}
