//go:build linux || darwin || freebsd

package registry

import (
	"fmt"
	"sync"
)

// Listing is a registered run. Its methods may be called at the same time, and do
// nothing for a nil Listing.
type Listing struct {
	dir    *Dir
	server *server // nil if there is no socket

	mu     sync.Mutex
	entry  Entry
	closed bool
}

// Register makes a run known. It fills in what the calling process knows of itself. A
// run without a socket is registered all the same, and its entry says why.
func Register(e Entry, h Handler) (*Listing, error) {
	owner, err := Self()
	if err != nil {
		return nil, err
	}
	d, err := openOwn()
	if err != nil {
		return nil, err
	}
	e.Version, e.Owner = Version, owner
	l := &Listing{dir: d, entry: e}
	l.server, err = serve(d, e.ID+socketSuffix, h)
	if err != nil {
		l.entry.NoControl = err.Error()
	}
	if err := d.Write(e.ID+runSuffix, &l.entry); err != nil {
		l.Close(Outcome{})
		return nil, err
	}
	if e.ID[0] == tidiesIfFirst {
		d.tidy()
	}
	return l, nil
}

// Update changes the entry by change.
func (l *Listing) Update(change func(*Entry)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	change(&l.entry)
	return l.dir.Write(l.entry.ID+runSuffix, &l.entry)
}

// Keep makes known whom the run has let go of, in place of whom it named before. That
// outlives the owner.
func (l *Listing) Keep(kept []Process) error {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("run %s is not registered any more", l.entry.ID)
	}
	if len(kept) == 0 {
		return l.dir.Delete(l.entry.ID + keptSuffix)
	}
	e := l.entry
	e.Kept, e.LeftOut = fit(kept, mostFile)
	return l.dir.Write(e.ID+keptSuffix, &e)
}

// Close takes the run off the list, and tells those that wait for it how it ended. It
// waits for no client.
func (l *Listing) Close(o Outcome) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.closed = true
	// First the entry: who has the answer, does not find the run any more.
	l.dir.remove(l.entry.ID, runSuffix)
	l.server.close(o)
	l.dir.Close()
}
