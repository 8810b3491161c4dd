//go:build darwin || freebsd

package gate

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Peer is who has the other end of a connection: the effective user that has made it, or
// its socket. The PID is 0: it is not known.
func Peer(conn *net.UnixConn) (pid, uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, -1, err
	}
	var cred *unix.Xucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptXucred(int(fd), solLocal, unix.LOCAL_PEERCRED) })
	switch {
	case cerr != nil:
		return 0, -1, cerr
	case err != nil:
		return 0, -1, os.NewSyscallError("getsockopt LOCAL_PEERCRED", err)
	}
	return 0, int(cred.Uid), nil
}

// solLocal is SOL_LOCAL of sys/un.h, on both.
const solLocal = 0
