//go:build linux || darwin || freebsd

package gate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// open returns a gate, with a function by which a client comes.
func open(t *testing.T, b Bounds) (*Gate, func() *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate") // short, as the path of a socket has to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := &net.UnixAddr{Net: "unix", Name: filepath.Join(dir, "s")}
	socket, err := net.ListenUnix("unix", at)
	if err != nil {
		t.Fatal(err)
	}
	g := New(socket, b)
	t.Cleanup(func() { <-g.Close(nil) })
	return g, func() *net.UnixConn {
		t.Helper()
		conn, err := net.DialUnix("unix", nil, at)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		conn.SetDeadline(time.Now().Add(30 * time.Second)) // a failure
		return conn
	}
}

// says returns what a client is told until the end, or until a line.
func says(t *testing.T, conn io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil && err != io.EOF {
		t.Errorf("%q, %v", line, err)
	}
	return line
}

// echo says what a client says.
func echo(c *Client) {
	line, err := bufio.NewReader(c).ReadString('\n')
	if err == nil {
		c.Turn()
		io.WriteString(c, line)
	}
}

// TestPressed: who says nothing has less time where others wait, and nobody has where
// there are places.
func TestPressed(t *testing.T) {
	g, come := open(t, Bounds{Most: 2, Patience: time.Hour, Pressed: 10 * time.Millisecond})
	g.Serve(echo)
	first := come()
	talk := func(with *net.UnixConn) {
		t.Helper()
		fmt.Fprintln(with, "hello")
		if got := says(t, with); got != "hello\n" {
			t.Errorf("%q", got)
		}
	}
	talk(come())
	talk(first)
	// At another gate: those who have talked may not have given back their places yet, and
	// would be the ones that the others wait for.
	g, come = open(t, Bounds{Most: 2, Patience: time.Hour, Pressed: 10 * time.Millisecond})
	g.Serve(echo)
	silent := []io.Reader{come(), come()}
	talk(come())
	for _, conn := range silent {
		if got := says(t, conn); got != "" {
			t.Errorf("a silent one is told %q", got)
		}
	}
}

// TestWait: those that wait have no place, and are told farewell; the others are not.
func TestWait(t *testing.T) {
	g, come := open(t, Bounds{Most: 1, Patience: time.Hour, Pressed: time.Hour})
	g.Serve(func(c *Client) {
		if line, _ := bufio.NewReader(c).ReadString('\n'); line == "wait\n" {
			c.Wait()
		}
	})
	var waiting []io.Reader
	for range 3 {
		conn := come()
		fmt.Fprintln(conn, "wait")
		waiting = append(waiting, conn)
	}
	silent := come()
	for g.Waiting() < 3 || g.Clients() < 4 {
		time.Sleep(time.Millisecond)
	}
	<-g.Close(func(c *Client) { fmt.Fprintln(c, "farewell") })
	for _, conn := range waiting {
		if got := says(t, conn); got != "farewell\n" {
			t.Errorf("%q", got)
		}
	}
	if got := says(t, silent); got != "" {
		t.Errorf("the silent one is told %q", got)
	}
	if n := g.Clients(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestClosesForAll: a process that has the descriptors, as one has that the owner has
// forked, neither holds the gate open nor who stands in it.
func TestClosesForAll(t *testing.T) {
	g, come := open(t, Bounds{Most: 1, Patience: time.Hour, Pressed: time.Hour})
	fork, err := g.socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer fork.Close()
	forked := make(chan *os.File, 1)
	g.Serve(func(c *Client) {
		f, err := c.File()
		if err != nil {
			t.Error(err)
		}
		forked <- f
		c.Wait()
	})
	member := come()
	f := <-forked
	defer f.Close()
	<-g.Close(nil)
	if conn, err := net.Dial("unix", g.Address()); err == nil {
		conn.Close()
		t.Error("the gate is open")
	}
	if got := says(t, member); got != "" {
		t.Errorf("%q", got)
	}
}

// TestReadLate: what has come before the time was over is read, however late, and the
// end; who has said nothing has no more time.
func TestReadLate(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var conns [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "")
		conn, err := net.FileConn(f) // another descriptor
		if f.Close(); err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		conns[i] = conn.(*net.UnixConn)
	}
	ours, theirs := conns[0], conns[1]
	ours.SetDeadline(time.Unix(1, 0))
	read := func(want string, wantErr error) {
		t.Helper()
		b := make([]byte, 16)
		if n, err := ReadLate(ours, b); string(b[:n]) != want || !errors.Is(err, wantErr) {
			t.Errorf("%q, %v; want %q, %v", b[:n], err, want, wantErr)
		}
	}
	read("", os.ErrDeadlineExceeded)
	io.WriteString(theirs, "hello")
	read("hello", nil)
	read("", os.ErrDeadlineExceeded)
	theirs.Close()
	read("", io.EOF)
}

// TestPeer: the kernel says who has come.
func TestPeer(t *testing.T) {
	g, come := open(t, Bounds{Most: 1, Patience: time.Hour, Pressed: time.Hour})
	g.Serve(func(c *Client) {
		pid, uid, err := Peer(c.UnixConn)
		fmt.Fprintln(c, pid == 0 || pid == os.Getpid(), uid == os.Geteuid(), err)
	})
	if got := says(t, come()); got != "true true <nil>\n" {
		t.Errorf("%q", got)
	}
}
