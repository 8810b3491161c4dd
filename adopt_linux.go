package corral

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/pgroup"
	"github.com/corral-run/corral/internal/proctree"
)

// adopting adds to a containment the members that it has lost and the owner has
// got instead, as the subreaper above (see Cmd.AdoptOrphans).
type adopting struct {
	containment
	kept    bool         // the keeper is the leader's parent
	leader  atomic.Int64 // its PID
	ended   atomic.Bool  // the leader has, and its children are the owner's
	killing atomic.Bool  // whatever turns up is killed
	died    chan os.Signal
	reaping sync.WaitGroup

	children proctree.MainThreadChildren
}

func adopt(inner containment) (containment, error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	_, kept := inner.(*keeperContainment)
	return &adopting{containment: inner, kept: kept, died: make(chan os.Signal, 1)}, nil
}

func (a *adopting) start(cmd *exec.Cmd) (*os.Process, proctree.ID, error) {
	leader, id, err := a.containment.start(cmd)
	if err == nil {
		a.leader.Store(int64(id.PID))
		signal.Notify(a.died, syscall.SIGCHLD)
		a.reaping.Go(func() {
			a.bury() // PID 1 may have got some before
			for range a.died {
				a.bury()
			}
		})
	}
	return leader, id, err
}

func (a *adopting) exited(ctx context.Context) (held bool, err error) {
	held, err = a.containment.exited(ctx)
	if err == nil {
		a.ended.Store(true)
	}
	return held, err
}

// bury reaps the orphans that have ended, whosever they were: PID 1 of a
// namespace also gets those of processes that have entered it.
func (a *adopting) bury() {
	// The kernel names one that has ended. It goes on naming the leader, or the
	// helper, for as long as that one has not been reaped: then the others are
	// looked for one by one.
	for {
		pid, _, _, err := peek(0)
		if err == unix.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		if a.known(pid) || !reap(pid) {
			break
		}
	}
	pids, _ := a.children.List()
	for _, pid := range pids {
		if !a.known(pid) {
			reap(pid)
		}
	}
}

// known reports whether somebody else reaps the child.
func (a *adopting) known(pid int) bool {
	return pid == a.helper() || int64(pid) == a.leader.Load()
}

// helper is the PID of the guard or the keeper, or 0.
func (a *adopting) helper() int {
	if h, ok := a.containment.(interface{ helper() int }); ok {
		return h.helper()
	}
	return 0
}

// strays are the owner's descendants that are neither the helper's nor the
// containment's.
func (a *adopting) strays() ([]proctree.Process, error) {
	var others []int // that a thread has started which may not be the main one
	if leader := int(a.leader.Load()); leader != 0 && !a.kept && !a.ended.Load() {
		others = append(others, leader)
	}
	rows, err := proctree.BelowMainThread(os.Getpid(), others...)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	helper := a.helper()
	known := make(map[proctree.ID]bool)
	held, err := a.containment.members()
	for _, p := range held {
		known[p.ID] = true
	}
	helped := map[int]bool{helper: helper != 0}
	var strays []proctree.Process
	for _, row := range rows { // parents come first
		switch {
		case row.PID == helper, helped[row.PPID]:
			helped[row.PID] = true
		case !known[row.ID]:
			strays = append(strays, row)
		}
	}
	return strays, err
}

func (a *adopting) members() ([]proctree.Process, error) {
	held, err := a.containment.members()
	strays, serr := a.strays()
	return append(held, strays...), errors.Join(err, serr)
}

func (a *adopting) signal(sigs ...os.Signal) error {
	err := a.containment.signal(sigs...)
	if serr := signalEach(a.strays, sigs...); errors.Is(err, os.ErrProcessDone) {
		err = serr
	}
	return err
}

func (a *adopting) kill() error {
	a.killing.Store(true)
	err := a.containment.kill()
	if serr := signalEach(a.strays, os.Kill); !errors.Is(serr, os.ErrProcessDone) {
		err = errors.Join(err, serr)
	}
	return err
}

func (a *adopting) empty(ctx context.Context) error {
	if err := a.containment.empty(ctx); err != nil {
		return err
	}
	moving := 0
	return pgroup.Drain(ctx, func() ([]proctree.Process, error) {
		if a.killing.Load() {
			signalEach(a.strays, os.Kill)
		}
		// Where there have been some, a look may come up empty while they are in
		// motion.
		rows, err := a.strays()
		for i := 0; i < moving && err == nil && len(rows) == 0; i++ {
			rows, err = a.strays()
		}
		if len(rows) > 0 {
			moving = 3
		}
		return rows, err
	})
}

// reap gives the leader's PID free, which an orphan may get.
func (a *adopting) reap() (*os.ProcessState, error) {
	state, err := a.containment.reap()
	a.leader.Store(0)
	return state, err
}

func (a *adopting) close() error {
	signal.Stop(a.died)
	close(a.died)
	a.reaping.Wait()
	a.bury()
	a.children.Close()
	return a.containment.close()
}
