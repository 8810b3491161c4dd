package detach

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wakepoll"
	"golang.org/x/sys/unix"
)

// Door is the owner's end.
type Door struct {
	socket *net.UnixListener
	keeper Doorkeeper
	busy   sync.WaitGroup

	mu     sync.Mutex
	open   map[*net.UnixConn]bool
	closed bool
}

const (
	// mostAtATime bounds how many may stand in the door. Others wait in the kernel's
	// queue: a member may knock as often as it likes.
	mostAtATime = 16
	// patience bounds how long one may stand in it.
	patience = 10 * time.Second
)

// Open makes a door. Nobody gets out before Serve is called.
func Open() (*Door, error) {
	var random [16]byte
	rand.Read(random[:])
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: "@corral-" + hex.EncodeToString(random[:])})
	if err != nil {
		return nil, err
	}
	return &Door{socket: socket, open: make(map[*net.UnixConn]bool)}, nil
}

// Address is what Leave needs.
func (d *Door) Address() string { return d.socket.Addr().String() }

// Serve lets out who may leave, until Close.
func (d *Door) Serve(keeper Doorkeeper) {
	d.keeper = keeper
	places := make(chan struct{}, mostAtATime)
	d.busy.Go(func() {
		for {
			places <- struct{}{}
			conn, err := d.socket.AcceptUnix()
			if err != nil {
				if d.isClosed() {
					return
				}
				<-places
				time.Sleep(10 * time.Millisecond) // out of descriptors, most likely
				continue
			}
			if !d.admit(conn) {
				return
			}
			d.busy.Go(func() {
				d.attend(conn)
				d.dismiss(conn)
				<-places
			})
		}
	})
}

func (d *Door) isClosed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.closed
}

func (d *Door) admit(conn *net.UnixConn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		shut(conn)
		return false
	}
	d.open[conn] = true
	return true
}

func (d *Door) dismiss(conn *net.UnixConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.open, conn)
	shut(conn)
}

// attend serves one.
func (d *Door) attend(conn *net.UnixConn) {
	conn.SetDeadline(time.Now().Add(patience))
	leaver, err := peer(conn)
	if err == nil {
		err = d.keeper.Leave(leaver.ID)
	}
	if err != nil {
		fmt.Fprintf(conn, "no %s\n", oneLine(err))
		return
	}
	fmt.Fprintf(conn, "ok %s\n", os.Getenv(Variable))
	said, _ := bufio.NewReader(io.LimitReader(conn, 32)).ReadString('\n')
	pid, err := strconv.Atoi(strings.TrimSpace(said))
	if err != nil {
		return // it has not come to that
	}
	// It may say any number: what it has not started is not named as such.
	started, err := proctree.Brief(pid)
	if err == nil && started.PPID == leaver.PID && proctree.Same(leaver.ID) {
		d.keeper.Left(leaver, started)
	}
}

func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

// peer returns who has connected. The kernel noted its PID then. While that process
// lives, it is the same: so the connection, which its end closes, is looked at last. One
// that a child has inherited stays open, and then the PID may be another process's. But
// that is let go of only if it is a member, and a member that wants to stay out of the
// run's reach can as well ask itself.
func peer(conn *net.UnixConn) (row proctree.Process, err error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return row, err
	}
	var cred *unix.Ucred
	cerr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	switch {
	case cerr != nil:
		return row, cerr
	case err != nil:
		return row, os.NewSyscallError("getsockopt SO_PEERCRED", err)
	case cred.Pid <= 0:
		return row, fmt.Errorf("it is outside the owner's PID namespace")
	}
	if row, err = proctree.Brief(int(cred.Pid)); err != nil {
		return row, err
	}
	err = nil
	cerr = raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, perr := wakepoll.Poll(context.Background(), fds, 0)
		if err = perr; err == nil && n > 0 {
			err = errors.New("it has gone away")
		}
	})
	if cerr != nil {
		err = cerr
	}
	return row, err
}

// Close closes the door. Who stands in it is sent away.
func (d *Door) Close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	d.closed = true
	for conn := range d.open {
		shut(conn)
	}
	d.mu.Unlock()
	shut(d.socket)
	d.busy.Wait()
}

// shut closes a socket for all who have it. A process that the owner has forked, and
// that has not executed anything yet, is one of them.
func shut(socket interface {
	syscall.Conn
	io.Closer
}) {
	if raw, err := socket.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { unix.Shutdown(int(fd), unix.SHUT_RDWR) })
	}
	socket.Close()
}
