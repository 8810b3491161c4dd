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
	"time"

	"github.com/corral-run/corral/internal/gate"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wakepoll"
	"golang.org/x/sys/unix"
)

// Door is the owner's end.
type Door struct {
	gate   *gate.Gate
	keeper Doorkeeper
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
	// Who starts a command has the time for it, also where others want to leave.
	return &Door{gate: gate.New(socket, gate.Bounds{Most: mostAtATime, Patience: patience, Pressed: patience})}, nil
}

// Address is what Leave needs.
func (d *Door) Address() string { return d.gate.Address() }

// Serve lets out who may leave, until Close.
func (d *Door) Serve(keeper Doorkeeper) {
	d.keeper = keeper
	d.gate.Serve(d.attend)
}

// attend serves one.
func (d *Door) attend(conn *gate.Client) {
	leaver, err := peer(conn.UnixConn)
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
	pid, _, err := gate.Peer(conn)
	switch {
	case err != nil:
		return row, err
	case pid <= 0:
		return row, errors.New("it is outside the owner's PID namespace")
	}
	if row, err = proctree.Brief(pid); err != nil {
		return row, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return row, err
	}
	cerr := raw.Control(func(fd uintptr) {
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
	if d != nil {
		<-d.gate.Close(nil)
	}
}
