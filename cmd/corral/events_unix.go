//go:build linux || darwin || freebsd

package main

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openEventsFile opens a file to append to. A FIFO is opened when await is called,
// which waits for a reader.
func openEventsFile(name string) (f *os.File, await func() (*os.File, error), err error) {
	const how = os.O_WRONLY | os.O_APPEND | unix.O_NOCTTY
	if info, err := os.Stat(name); err == nil && info.Mode()&os.ModeNamedPipe != 0 {
		if err := unix.Access(name, unix.W_OK); err != nil {
			return nil, nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return nil, func() (*os.File, error) { return os.OpenFile(name, how, 0) }, nil
	}
	f, err = os.OpenFile(name, how|os.O_CREATE, 0o666)
	return f, nil, err
}

// eventsDescriptor returns the file of a descriptor that corral has inherited. The
// command does not inherit it.
func eventsDescriptor(fd int) (*os.File, error) {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	switch {
	case err != nil:
		return nil, errors.New("no such descriptor is open")
	case flags&unix.FD_CLOEXEC != 0: // one that has been inherited would have been closed
		return nil, errors.New("corral has not been given such a descriptor")
	}
	if flags, err = unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0); err != nil {
		return nil, os.NewSyscallError("fcntl F_GETFL", err)
	}
	if flags&unix.O_ACCMODE == unix.O_RDONLY {
		return nil, errors.New("it is open for reading only")
	}
	unix.CloseOnExec(fd)
	return os.NewFile(uintptr(fd), "descriptor"), nil
}
