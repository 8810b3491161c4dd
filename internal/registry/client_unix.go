//go:build linux || darwin || freebsd

package registry

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/corral-run/corral/internal/gate"
	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// Ask asks the owner of a run, and returns its answer. An answer that is an error is
// one. If the owner does not answer, the error is ErrNoAnswer: whether the run is over
// is then for the registry to tell. For an outcome there is no limit but ctx's.
func (f *Found) Ask(ctx context.Context, r Request) (Reply, error) {
	if f.NoControl != "" {
		return Reply{}, fmt.Errorf("%w, as it has no socket: %s", ErrNoControl, f.NoControl)
	}
	path, err := f.From.socketPath(f.ID + socketSuffix)
	if err != nil {
		return Reply{}, err
	}
	conn, err := dial(ctx, path)
	if err != nil {
		return Reply{}, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	// Root may be asking in another user's directory: what is there may lead elsewhere.
	if _, uid, err := gate.Peer(conn); err != nil || uid != f.From.uid {
		return Reply{}, fmt.Errorf("its socket is not served by user %d, but by %d", f.From.uid, uid)
	}
	conn.SetDeadline(time.Now().Add(patience))
	r.Version = Version
	b, err := json.Marshal(r)
	if err != nil {
		return Reply{}, err
	}
	// An owner that refuses whoever asks does not read what for.
	_, werr := conn.Write(append(b, '\n'))
	if r.Do == "wait" || r.Do == "stop" {
		conn.SetReadDeadline(time.Time{})
		defer f.endWith(conn)()
	}
	line, err := bufio.NewReader(io.LimitReader(late{conn}, mostReply)).ReadBytes('\n')
	if err != nil {
		return Reply{}, unanswered(ctx, cmp.Or(werr, err))
	}
	var reply Reply
	if err := json.Unmarshal(line, &reply); err != nil {
		return Reply{}, fmt.Errorf("its owner says what is no answer: %w", err)
	}
	if reply.Error != "" {
		return Reply{}, errors.New(reply.Error)
	}
	return reply, nil
}

// late reads what has been said, also if it comes to it late.
type late struct{ *net.UnixConn }

func (l late) Read(b []byte) (int, error) { return gate.ReadLate(l.UnixConn, b) }

// endWith has the wait for an answer end soon after the owner: a process that the
// owner has forked may hold its end of the connection. An owner that cannot be seen from
// here can only answer. The result takes that back.
func (f *Found) endWith(conn *net.UnixConn) (leave func()) {
	const enough = time.Second // to read what has been said
	if f.Owner.sameTable(here()) != Live {
		return func() {}
	}
	owner, err := proctree.Open(proctree.ID{PID: f.Owner.PID, Start: f.Owner.Start})
	if err != nil {
		if errors.Is(err, proctree.ErrGone) {
			conn.SetReadDeadline(time.Now().Add(enough))
		}
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() {
		defer owner.Close()
		if owner.Wait(ctx) == nil {
			conn.SetReadDeadline(time.Now().Add(enough))
		}
	})
	return func() {
		cancel()
		watching.Wait()
	}
}

// dial connects to a socket, and tries again while the queue of its owner is full.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		switch {
		case err == nil:
			return conn.(*net.UnixConn), nil
		case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
			return nil, fmt.Errorf("its socket may not be used: %w", err)
		case !errors.Is(err, unix.EAGAIN):
			return nil, unanswered(ctx, err)
		}
		select {
		case <-ctx.Done():
			return nil, unanswered(ctx, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// unanswered is ErrNoAnswer, unless the caller does not want an answer any more.
func unanswered(ctx context.Context, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return ctx.Err()
	}
	return fmt.Errorf("%w: %w", ErrNoAnswer, err)
}
