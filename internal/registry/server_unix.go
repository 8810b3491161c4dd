//go:build linux || darwin || freebsd

package registry

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/corral-run/corral/internal/gate"
	"golang.org/x/sys/unix"
)

// server is the owner's end of a run's socket. One that waits for the outcome has no
// place any more, so that those which wait keep nobody from stopping the run.
type server struct {
	gate    *gate.Gate
	handler Handler
}

const (
	// mostClients bounds how many are served at the same time. Others wait in the
	// kernel's queue.
	mostClients = 64
	// mostWaiters bounds how many wait for the outcome. Who stops the run always may.
	mostWaiters = 1000
	mostRequest = 4 << 10
	// mostReply bounds what an owner says, and what a client reads.
	mostReply = 16 << 20
)

// Tests have more of both.
var (
	// patience bounds how long a client may take to say what it wants, and to read the
	// answer.
	patience = 10 * time.Second
	// pressedPatience is the same while others wait: those that say nothing keep them
	// from the socket for no longer.
	pressedPatience = time.Second
)

// mostPath is how long the path of a socket may be: unix(7), and 104 bytes on BSD.
const mostPath = 103

// socketPath is the path to bind, or connect to, a socket in the directory.
func (d *Dir) socketPath(name string) (string, error) {
	path := filepath.Join(d.Path(), name)
	if len(path) <= mostPath && filepath.IsAbs(path) {
		return path, nil
	}
	short, err := d.openPath()
	if err != nil {
		return "", fmt.Errorf("the path of its socket would be too long: %s: %w", path, err)
	}
	return short + "/" + name, nil
}

func serve(d *Dir, name string, h Handler) (*server, error) {
	path, err := d.socketPath(name)
	if err != nil {
		return nil, err
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: path})
	if err != nil {
		return nil, err
	}
	socket.SetUnlinkOnClose(false) // what path leads to may have changed
	s := &server{gate.New(socket, gate.Bounds{Most: mostClients, Patience: patience, Pressed: pressedPatience}), h}
	s.gate.Serve(s.attend)
	return s, nil
}

// spareDescriptors is how many descriptors clients leave to the owner, which may need
// them to stop its run. Those that wait leave some more to those that do not.
const spareDescriptors, spareForOthers = 40, 8

// crowded reports whether a client has one of the last descriptors.
func crowded(conn *gate.Client, spare uint64) bool {
	raw, err := conn.SyscallConn()
	if err != nil {
		return false
	}
	number := uint64(0)
	var limit unix.Rlimit
	if raw.Control(func(fd uintptr) { number = uint64(fd) }) != nil || unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return false
	}
	return number+spare >= uint64(limit.Cur)
}

const tooFewDescriptors = "its owner has too few descriptors left: try again, or raise its limit of open files"

// attend serves one client.
func (s *server) attend(conn *gate.Client) {
	if crowded(conn, spareDescriptors) {
		answer(conn, Reply{Error: tooFewDescriptors})
		return
	}
	if _, uid, err := gate.Peer(conn.UnixConn); err != nil || !mayAsk(uid, os.Geteuid()) {
		answer(conn, Reply{Error: "the run is another user's"})
		return
	}
	line, err := bufio.NewReader(io.LimitReader(conn, mostRequest)).ReadBytes('\n')
	if err != nil {
		return
	}
	var r Request
	if err := json.Unmarshal(line, &r); err != nil {
		answer(conn, Reply{Error: "a request is one line of JSON"})
		return
	}
	if r.Version != Version {
		answer(conn, Reply{Error: fmt.Sprintf("the run's owner understands version %d of requests, not %d", Version, r.Version)})
		return
	}
	if r.Do == "wait" {
		if why := mayNotWait(conn, s.gate.Waiting()); why != "" {
			answer(conn, Reply{Error: why})
			return
		}
	}
	if r.Do == "stop" {
		conn.Due() // the run may be over before this goroutine goes on
	}
	reply, wait := s.do(r)
	if wait {
		conn.Wait() // until close answers, or the client has gone
		return
	}
	conn.Turn() // that of a look is another matter
	answer(conn, reply)
}

// mayNotWait says why a client may not wait for the outcome, as so many do, or nothing.
func mayNotWait(conn *gate.Client, waiting int) string {
	switch {
	case waiting >= mostWaiters:
		return fmt.Sprintf("%d wait for it already", mostWaiters)
	case crowded(conn, spareDescriptors+spareForOthers):
		return tooFewDescriptors
	}
	return ""
}

// mayAsk reports whether the user may ask an owner who is of another one.
func mayAsk(uid, owner int) bool { return uid == owner || uid == 0 }

// do does what a client asks for. It reports whether the answer is the outcome.
func (s *server) do(r Request) (reply Reply, wait bool) {
	var err error
	switch r.Do {
	case "wait":
		return reply, true
	case "stop":
		if err = s.handler.Stop(r.Signal, r.Grace); err == nil {
			return reply, true
		}
	case "signal":
		err = s.handler.Signal(r.Signal)
	case "look":
		var members []Process
		reply.Phase, members, err = s.handler.Look()
		reply.Members, reply.LeftOut = fit(members, mostReply)
		reply.Waiting = s.gate.Waiting()
	default:
		err = fmt.Errorf("the run's owner does not know the request %q", r.Do)
	}
	if err != nil {
		reply = Reply{Error: strings.TrimPrefix(err.Error(), "corral: ")}
	}
	return reply, false
}

func answer(conn io.Writer, r Reply) {
	r.Version = Version
	if b, err := json.Marshal(r); err == nil {
		conn.Write(append(b, '\n')) // who does not read it does not get it
	}
}

// atOnce writes what the kernel has room for, and waits for nobody. Who waits for the
// outcome has been told nothing yet, so there is room. A deadline would not do: it can
// be over before the write, if this process does not run in between.
type atOnce struct{ conn *gate.Client }

func (a atOnce) Write(b []byte) (n int, err error) {
	raw, err := a.conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	rerr := raw.Write(func(fd uintptr) (done bool) {
		for n, err = unix.Write(int(fd), b); err == unix.EINTR; n, err = unix.Write(int(fd), b) {
		}
		return true
	})
	return n, cmp.Or(rerr, err)
}

// close answers those that wait, and sends all away. What a client has asked for and
// is being done has a second to end.
func (s *server) close(o Outcome) {
	if s == nil {
		return
	}
	gone := s.gate.Close(func(conn *gate.Client) { answer(atOnce{conn}, Reply{Outcome: &o}) })
	late := time.NewTimer(time.Second)
	defer late.Stop()
	select {
	case <-gone:
	case <-late.C:
	}
}
