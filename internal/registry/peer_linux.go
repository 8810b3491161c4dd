package registry

import (
	"net"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// peerUID is the effective user ID with which the client has connected.
func peerUID(conn *net.UnixConn) (uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return -1, err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	switch {
	case cerr != nil:
		return -1, cerr
	case err != nil:
		return -1, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	return int(cred.Uid), nil
}

// openPath is a path to the directory as it is open.
func (d *Dir) openPath() (string, error) {
	path := "/proc/self/fd/" + strconv.Itoa(d.fd())
	_, err := os.Stat(path)
	return path, err
}
