package gate

import (
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// Peer is who has the other end of a connection: the process and the effective user that
// have made it, or its socket. The PID is not positive for one in another PID namespace.
func Peer(conn *net.UnixConn) (pid, uid int, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, -1, err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	switch {
	case cerr != nil:
		return 0, -1, cerr
	case err != nil:
		return 0, -1, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	}
	return int(cred.Pid), int(cred.Uid), nil
}
