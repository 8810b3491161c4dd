package usersession

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/gate"
	"github.com/corral-run/corral/internal/registry"
)

// The manager can be reached by way of the user's bus, if there is one (on Debian, it
// is a package of its own), and directly, as systemctl does it.
var doors = []struct {
	name string
	bus  bool
}{
	{"bus", true},
	{"systemd/private", false},
}

// line is a connection to the manager.
type line struct {
	*dbus.Conn
	socket  *bounded
	path    string
	name    string // ours on the bus; empty if there is no bus in between
	signals chan *dbus.Signal

	patience time.Duration // how long an answer is waited for in all
}

// call connects to the manager. What speaks for the user must belong to the user: the
// directory, and the process that listens.
func (e *entrance) call(ctx context.Context) (*line, error) {
	if e.dir == "" {
		return nil, unavailable("XDG_RUNTIME_DIR is not set, so this is no login that systemd knows of")
	}
	dir, err := e.openDir()
	if err != nil {
		return nil, err
	}
	defer unix.Close(dir)
	var first error
	for _, d := range doors {
		l, err := e.connect(ctx, dir, d.name, d.bus)
		if err == nil {
			return l, nil
		}
		// One that is there and does not work says more than one that is not there.
		if first == nil || isUnavailable(first) && !isUnavailable(err) {
			first = err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, first
}

// openDir opens the user's runtime directory.
func (e *entrance) openDir() (fd int, err error) {
	if !filepath.IsAbs(e.dir) {
		return -1, fmt.Errorf("XDG_RUNTIME_DIR=%s: it must be an absolute path", e.dir)
	}
	fd, err = unix.Open(e.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return -1, unavailable("XDG_RUNTIME_DIR=%s: %v", e.dir, err)
	}
	if err != nil {
		return -1, fmt.Errorf("XDG_RUNTIME_DIR=%s: %w", e.dir, err)
	}
	var st unix.Stat_t
	if err = unix.Fstat(fd, &st); err == nil {
		err = registry.CheckRuntimeDir(&st, e.uid)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("XDG_RUNTIME_DIR=%s: %w", e.dir, err)
	}
	return fd, nil
}

// connect connects to a socket in the directory. The context's deadline holds for the
// socket until settle.
func (e *entrance) connect(ctx context.Context, dir int, name string, bus bool) (*line, error) {
	l := &line{path: filepath.Join(e.dir, name), signals: make(chan *dbus.Signal, 16), patience: e.patience}
	var dialer net.Dialer
	socket, err := dialer.DialContext(ctx, "unix", "/proc/self/fd/"+strconv.Itoa(dir)+"/"+name)
	if err != nil {
		return nil, l.refused(err)
	}
	deadline, _ := ctx.Deadline()
	socket.SetDeadline(deadline)
	if err := e.checkPeer(socket); err != nil {
		socket.Close()
		return nil, fmt.Errorf("%s: %w", l.path, err)
	}
	l.socket = &bounded{Conn: socket}
	l.socket.left.Store(mostBytes)
	if l.Conn, err = dbus.NewConn(l.socket); err != nil {
		socket.Close()
		return nil, fmt.Errorf("%s: %w", l.path, err)
	}
	l.Signal(l.signals)
	if err = l.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(e.uid))}); err == nil && bus {
		if err = l.Hello(); err == nil {
			l.name = l.Names()[0]
		}
	}
	if err != nil {
		l.Close()
		return nil, l.explain(ctx, err)
	}
	return l, nil
}

// refused is the error of a connection that has not been made.
func (l *line) refused(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		err = errno
	}
	if errno == unix.ENOENT || errno == unix.ECONNREFUSED {
		return unavailable("no systemd manager for this user: %s: %v", l.path, err)
	}
	return fmt.Errorf("%s: %w", l.path, err)
}

// explain is an error of a call, with what it is about.
func (l *line) explain(ctx context.Context, err error) error {
	deadline, limited := ctx.Deadline()
	if ctx.Err() != nil || limited && !time.Now().Before(deadline) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: no answer within %v", l.path, l.patience)
	}
	return fmt.Errorf("%s: %w", l.path, err)
}

// checkPeer returns an error if who listens is another user. Root may.
func (e *entrance) checkPeer(socket net.Conn) error {
	_, uid, err := gate.Peer(socket.(*net.UnixConn))
	if err != nil {
		return err
	}
	if uid != e.uid && uid != 0 {
		return fmt.Errorf("user %d listens there", uid)
	}
	return nil
}

// mostBytes is what a line reads at most until it is connected and its scope is there,
// and then until the next signal. A manager says a few hundred.
const mostBytes = 1 << 20

// bounded is a connection from which only so much is read: whatever is at the other
// end, it does not fill the memory.
type bounded struct {
	net.Conn
	left atomic.Int64
}

func (b *bounded) Read(p []byte) (int, error) {
	left := b.left.Load()
	if left <= 0 {
		return 0, errors.New("it says too much")
	}
	n, err := b.Conn.Read(p[:min(int64(len(p)), left)])
	b.left.Add(-int64(n))
	return n, err
}
