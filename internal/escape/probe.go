package escape

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/winetest"
)

// Member is one process of a tree.
type Member struct {
	proctree.ID
	Role string
}

func (m Member) String() string { return fmt.Sprintf("%s (%d)", m.Role, m.PID) }

// Probe is the test's side of one child.
type Probe struct {
	t     testing.TB
	child Child

	path   string
	args   []string
	theirs []*os.File

	report, oracle, control *os.File
	readers                 sync.WaitGroup

	ready chan struct{} // closed when all members are known, or no more will be
	gone  chan struct{} // closed at end-of-file on the oracle
	news  chan struct{} // has an element if something has been reported

	mu          sync.Mutex
	members     []Member
	dirs        []string // directories to remove, which may not be there yet
	failure     error
	interrupted bool
}

// NewProbe prepares to start c. When the test ends, every process of c that is
// left is killed, and what they have made is removed; the test fails if one
// cannot be, or if one could not do its part.
func NewProbe(t testing.TB, c Child) *Probe {
	t.Helper()
	p := &Probe{
		t:     t,
		child: c,
		ready: make(chan struct{}),
		gone:  make(chan struct{}),
		news:  make(chan struct{}, 1),
	}
	p.path, p.args = Command(c.Name, c.args...)
	if c.program != nil {
		p.path = c.program(t, p.path)
	}
	pipe := func() (r, w *os.File) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		return r, w
	}
	var report, oracle, control *os.File
	p.report, report = pipe()
	p.oracle, oracle = pipe()
	control, p.control = pipe()
	p.theirs = []*os.File{report, oracle, control}
	t.Cleanup(p.cleanup)
	p.readers.Go(p.readReport)
	p.readers.Go(p.readOracle)
	return p
}

// Command returns what starts the leader: a path, arguments without the zeroth,
// and the ExtraFiles. The environment does not matter, but for a PATH that has
// sleep(1).
func (p *Probe) Command() (path string, args []string, files []*os.File) {
	return p.path, p.args, p.theirs
}

// Started closes the leader's ends of the pipes. Call it when the leader, or the
// owner that starts it, has been started.
func (p *Probe) Started() {
	for _, f := range p.theirs {
		f.Close()
	}
}

// Ready waits until the tree is complete and returns the members it had then,
// sorted by role and PID: a chain has others soon. If ctx is done before the tree
// is complete, Ready ends the test.
func (p *Probe) Ready(ctx context.Context) []Member {
	p.t.Helper()
	select {
	case <-p.ready:
	case <-ctx.Done():
	}
	members, err := p.known()
	if len(members) < p.child.Members || err != nil {
		p.t.Fatalf("%s is not complete: %d of %d members, %v", p.child.Name, len(members), p.child.Members,
			errors.Join(err, context.Cause(ctx)))
	}
	members = members[:p.child.Members]
	slices.SortFunc(members, func(a, b Member) int {
		if a.Role != b.Role {
			return strings.Compare(a.Role, b.Role)
		}
		return a.PID - b.PID
	})
	return members
}

// Interrupt says that the tree is going to be stopped while it may not be
// complete. From then on it is no failure if a process cannot do its part: what
// it has started may be gone.
func (p *Probe) Interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.interrupted = true
}

// Release tells the tree to go ahead: the leader exits, or whatever the Doc of
// the child says.
func (p *Probe) Release() {
	p.t.Helper()
	// It may have ended without: that is for Gone to judge.
	if _, err := p.control.Write([]byte{1}); err != nil && !isBrokenPipe(err) {
		p.t.Errorf("release %s: %v", p.child.Name, err)
	}
}

// Survivors returns the members that are alive, of all that were ever reported.
func (p *Probe) Survivors() []Member {
	p.t.Helper()
	table, err := proctree.Snapshot()
	if err != nil {
		p.t.Fatal(err)
	}
	alive := make(map[proctree.ID]bool)
	for _, row := range table {
		alive[row.ID] = row.Alive()
	}
	members, _ := p.known()
	return slices.DeleteFunc(members, func(m Member) bool { return !alive[m.ID] })
}

// Gone waits until all processes are gone, but for those in the roles of
// survivors: in each of these at least one has to be alive. When ctx is done, its
// error names each process that is left, and each of the roles in which none is.
// If no survivors are expected, a process that nobody knows of is an error too.
func (p *Probe) Gone(ctx context.Context, survivors ...string) error {
	p.t.Helper()
	_, failure := p.known()
	return errors.Join(p.await(ctx, survivors), failure)
}

func (p *Probe) await(ctx context.Context, survivors []string) error {
	p.t.Helper()
	if len(survivors) == 0 {
		select {
		case <-p.gone:
		case <-ctx.Done():
		}
	}
	if err := p.watch(ctx, survivors); err != nil && ctx.Err() == nil {
		return err
	}
	left := p.Survivors()
	missing := func() []string {
		return slices.DeleteFunc(slices.Clone(survivors), func(role string) bool {
			return slices.ContainsFunc(left, func(m Member) bool { return m.Role == role })
		})
	}
	// The one that is alive may not have been reported yet.
	for len(missing()) > 0 && ctx.Err() == nil && !p.isGone() {
		select {
		case <-p.news:
		case <-p.gone:
		case <-ctx.Done():
		}
		left = p.Survivors()
	}
	var errs []error
	if roles := missing(); len(roles) > 0 {
		errs = append(errs, fmt.Errorf("escape: %s: none of these has survived: %v", p.child.Name, roles))
	}
	left = slices.DeleteFunc(left, func(m Member) bool { return slices.Contains(survivors, m.Role) })
	if len(left) > 0 {
		errs = append(errs, fmt.Errorf("escape: %s: %d still alive: %v", p.child.Name, len(left), left))
	} else if forgotten := p.forgotten(survivors); len(forgotten) > 0 {
		p.t.Logf("NOTE: Wine has ended these, and the system still has them: %q", forgotten)
	} else if len(survivors) == 0 && !p.isGone() && !winetest.Lives(p.mark()) {
		p.t.Log("NOTE: the system has no process of this tree, and Wine's server has not let go of what one had")
	} else if len(survivors) == 0 && !p.isGone() {
		errs = append(errs, fmt.Errorf("escape: %s: a process that was not reported still holds the oracle", p.child.Name))
	}
	return errors.Join(errs...)
}

// forgotten returns the processes that hold the oracle by Wine's fault, if that is
// why it is held.
func (p *Probe) forgotten(survivors []string) []string {
	if len(survivors) > 0 || p.isGone() {
		return nil
	}
	return winetest.Forgotten()
}

// mark is an argument of all processes of the tree, and of its owner: the deadline.
func (p *Probe) mark() string { return p.args[1] }

func (p *Probe) isGone() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// watch waits until all known members are gone, but for those in the roles of
// except. Members that get known meanwhile are included.
func (p *Probe) watch(ctx context.Context, except []string) error {
	w, err := proctree.NewWatch()
	if err != nil {
		return err
	}
	defer w.Close()
	for done := 0; ; {
		members, _ := p.known()
		if done == len(members) {
			return nil
		}
		for ; done < len(members); done++ {
			if slices.Contains(except, members[done].Role) {
				continue
			}
			added, err := w.Add(members[done].ID)
			if err != nil && !errors.Is(err, proctree.ErrGone) {
				return err
			}
			if err == nil && !added {
				break // full
			}
		}
		if err := w.Wait(ctx); err != nil {
			return err
		}
	}
}

// known returns the members in the order in which they were reported.
func (p *Probe) known() ([]Member, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.members), p.failure
}

// readReport notes what the processes say of themselves (see process.named,
// process.fail and process.willMake).
func (p *Probe) readReport() {
	ready := sync.OnceFunc(func() { close(p.ready) })
	defer ready()
	lines := bufio.NewScanner(p.report)
	defer func() {
		if err := lines.Err(); err != nil && !errors.Is(err, os.ErrClosed) {
			p.mu.Lock()
			p.failure = errors.Join(p.failure, fmt.Errorf("escape: read the report: %w", err))
			p.mu.Unlock()
		}
	}()
	for lines.Scan() {
		if filepath.IsAbs(lines.Text()) {
			p.mu.Lock()
			p.dirs = append(p.dirs, lines.Text())
			p.mu.Unlock()
			continue
		}
		var m Member
		_, err := fmt.Sscanf(lines.Text(), "%d %d %s", &m.PID, &m.Start, &m.Role)
		if err != nil {
			err = fmt.Errorf("escape: %s", lines.Text())
		}
		p.mu.Lock()
		switch {
		case err == nil:
			p.members = append(p.members, m)
		case !p.interrupted:
			p.failure = errors.Join(p.failure, err)
		}
		complete := p.failure != nil || len(p.members) >= p.child.Members
		p.mu.Unlock()
		if complete {
			ready()
		}
		select {
		case p.news <- struct{}{}:
		default:
		}
	}
}

func (p *Probe) readOracle() {
	if n, err := p.oracle.Read(make([]byte, 1)); n == 0 && !errors.Is(err, os.ErrClosed) {
		close(p.gone)
	}
}

// cleanup kills what is left, however often it has multiplied by then.
func (p *Probe) cleanup() {
	p.t.Helper()
	p.Started()
	// What fails from here on does so because it is killed.
	if _, failure := p.known(); failure != nil {
		p.t.Error(failure)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// Those that report others are known from the start, so after some rounds only
	// one that reports itself can be left. Without a reader of its report it does
	// not go on.
	for round := 1; !p.isGone() && ctx.Err() == nil; round++ {
		p.kill()
		if round == 10 {
			p.report.Close()
		}
		select {
		case <-p.gone:
		case <-time.After(10 * time.Millisecond):
		}
	}
	p.kill()
	if err := p.await(ctx, nil); err != nil {
		p.t.Error(err)
	}
	p.control.Close()
	p.oracle.Close()
	// Those that could report are gone, so the report ends here, unless one of them
	// is left.
	p.report.SetReadDeadline(time.Now().Add(time.Second))
	p.readers.Wait()
	p.report.Close()
	p.remove(ctx)
}

// remove removes the directories of the tree. They are control groups, so one is
// busy as long as there is a process in it.
func (p *Probe) remove(ctx context.Context) {
	p.t.Helper()
	for _, dir := range p.dirs {
		err := os.Remove(dir)
		for errors.Is(err, syscall.EBUSY) && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
			err = os.Remove(dir)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			p.t.Error(err)
		}
	}
}

func (p *Probe) kill() {
	for _, m := range p.Survivors() {
		h, err := proctree.Open(m.ID)
		if err == nil {
			err = h.Signal(os.Kill)
			h.Close()
		}
		if err != nil && !errors.Is(err, proctree.ErrGone) {
			p.t.Errorf("kill %v: %v", m, err)
		}
	}
}
