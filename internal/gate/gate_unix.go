//go:build linux || darwin || freebsd

package gate

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Gate is a socket with its clients.
type Gate struct {
	socket *net.UnixListener
	bounds Bounds
	busy   sync.WaitGroup

	mu      sync.Mutex
	clients map[*Client]struct{}
	pressed bool // others wait for a place
	closed  bool
}

// Bounds are what keeps clients from each other's way.
type Bounds struct {
	// Most is how many are served at the same time.
	Most int
	// Patience is how long a client may take to say something, or to read what is said;
	// Pressed is the same while others wait for a place.
	Patience, Pressed time.Duration
}

// New returns the gate of a socket, which is the gate's from then on.
func New(socket *net.UnixListener, b Bounds) *Gate {
	return &Gate{socket: socket, bounds: b, clients: make(map[*Client]struct{})}
}

// Client is one who has come.
type Client struct {
	*net.UnixConn
	gate  *Gate
	leave func() // gives its place to another one

	since time.Time // when its turn began
	due   bool      // it is told farewell, and has all the time that there is
	waits bool      // it is due, and has no place
}

// Address is where the socket is.
func (g *Gate) Address() string { return g.socket.Addr().String() }

// Serve has attend serve each client that comes, until Close.
func (g *Gate) Serve(attend func(*Client)) {
	g.busy.Go(func() { g.accept(attend) })
}

func (g *Gate) accept(attend func(*Client)) {
	places := make(chan struct{}, g.bounds.Most)
	for {
		conn, err := g.socket.AcceptUnix()
		if err != nil {
			if g.isClosed() {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of descriptors, most likely
			continue
		}
		select {
		case places <- struct{}{}:
		default: // it waits for a place, and others in the kernel's queue
			g.press(true)
			places <- struct{}{}
			g.press(false)
		}
		c := &Client{UnixConn: conn, gate: g, leave: sync.OnceFunc(func() { <-places })}
		if !g.admit(c) {
			return
		}
		g.busy.Go(func() {
			attend(c)
			g.dismiss(c)
			c.leave()
		})
	}
}

// press says whether others wait for a place: those who have one have less time then.
func (g *Gate) press(on bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pressed = on
	for c := range g.clients {
		if on && !c.due {
			c.SetDeadline(c.since.Add(g.bounds.Pressed))
		}
	}
}

func (g *Gate) isClosed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

func (g *Gate) admit(c *Client) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		shut(c)
		return false
	}
	g.clients[c] = struct{}{}
	c.turn()
	return true
}

func (g *Gate) dismiss(c *Client) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.clients, c)
	shut(c)
}

// Read also reads what had come when the client's time was over.
func (c *Client) Read(b []byte) (int, error) { return ReadLate(c.UnixConn, b) }

// ReadLate reads, and also what has come before a deadline that is over: this process
// may not have run since.
func ReadLate(conn *net.UnixConn, b []byte) (n int, err error) {
	n, err = conn.Read(b)
	if !errors.Is(err, os.ErrDeadlineExceeded) || len(b) == 0 {
		return n, err
	}
	raw, rerr := conn.SyscallConn()
	if rerr != nil {
		return 0, err
	}
	late := err
	rerr = raw.Control(func(fd uintptr) { // which has no deadline, and does not wait
		for n, err = unix.Read(int(fd), b); err == unix.EINTR; n, err = unix.Read(int(fd), b) {
		}
	})
	switch {
	case rerr != nil, err != nil: // most likely there is nothing
		return 0, late
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Turn says that it is the client's turn from now on: to say something, or to read what
// is said. It is when it has come. It is not due any more.
func (c *Client) Turn() {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.turn()
}

func (c *Client) turn() {
	c.due = false
	patience := c.gate.bounds.Patience
	if c.gate.pressed {
		patience = c.gate.bounds.Pressed
	}
	c.since = time.Now()
	c.SetDeadline(c.since.Add(patience))
}

// Due says that the client is told farewell from now on. It is for one that is about to
// wait for what it may itself bring about: the gate may be closed before it is in Wait.
func (c *Client) Due() {
	c.gate.mu.Lock()
	defer c.gate.mu.Unlock()
	c.becomeDue()
}

func (c *Client) becomeDue() {
	c.due = true
	c.SetDeadline(time.Time{})
}

// Wait gives the client's place to another one, and returns when the client has gone, or
// the gate is closed. The client is due.
func (c *Client) Wait() {
	c.gate.mu.Lock()
	c.waits = true
	c.becomeDue()
	c.gate.mu.Unlock()
	c.leave()
	io.Copy(io.Discard, c.UnixConn)
}

// Waiting counts those in Wait.
func (g *Gate) Waiting() (n int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for c := range g.clients {
		if c.waits {
			n++
		}
	}
	return n
}

// Clients counts all.
func (g *Gate) Clients() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.clients)
}

// Close lets nobody in any more, and sends all away: those that are due after farewell, which
// may be nil. What they wait for is to be known before. It returns a channel that is
// closed when none is served any more.
func (g *Gate) Close(farewell func(*Client)) (gone <-chan struct{}) {
	g.mu.Lock()
	g.closed = true
	shut(g.socket)
	idle := len(g.clients) == 0
	for c := range g.clients {
		if c.due && farewell != nil {
			farewell(c)
		}
		shut(c)
	}
	g.mu.Unlock()
	done := make(chan struct{})
	if idle { // accept ends as its socket is closed
		g.busy.Wait()
		close(done)
		return done
	}
	go func() {
		g.busy.Wait()
		close(done)
	}()
	return done
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
