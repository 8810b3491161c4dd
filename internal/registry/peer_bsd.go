//go:build darwin || freebsd

package registry

import (
	"errors"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// peerUID is the effective user ID with which the client has connected.
func peerUID(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Xucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptXucred(int(fd), solLocal, unix.LOCAL_PEERCRED) })
	switch {
	case cerr != nil:
		return -1, cerr
	case err != nil:
		return -1, os.NewSyscallError("getsockopt LOCAL_PEERCRED", err)
	}
	return int(cred.Uid), nil
}

// solLocal is SOL_LOCAL of sys/un.h, on both.
const solLocal = 0

// openPath would be a path to the directory as it is open.
func (d *Dir) openPath() (string, error) {
	return "", errors.New("use a shorter XDG_RUNTIME_DIR or TMPDIR")
}
