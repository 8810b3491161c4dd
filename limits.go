package corral

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"time"

	"github.com/corral-run/corral/internal/event"
	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// Limits bound what a run may use. Zero is no limit, and [LimitToZero] the limit 0, for
// FileSize and Core.
//
// Memory, PIDs and CPUs are for all members together. They take cgroup containment, in a
// control group that has been delegated ([docs/limits.md] says how), or a job object
// on Windows. OpenFiles, FileSize and Core are the resource limits of setrlimit(2),
// which each member has for itself. They work on Linux, macOS and FreeBSD, in every
// containment. A limit never gives more than the owner has: if that has a lower hard limit,
// that stays.
//
// What cannot be enforced is an error of Start. A member with the owner's rights can
// lift the limits of a control group: they hold programs that use too much, not those
// that attack.
//
// [docs/limits.md]: https://github.com/corral-run/corral/blob/main/docs/limits.md
type Limits struct {
	// Memory is how many bytes of memory the members may use together, with what the
	// kernel keeps for them, such as the cache of files they read. On Linux it may not
	// be exceeded by swapping. When there is no more, the kernel kills all members at
	// once, Wait returns an error that is ErrOutOfMemory, and the Ending is OutOfMemory.
	// On Windows it is committed memory; a member that asks for more gets an error.
	Memory int64

	// PIDs is how many members there may be at the same time: on Linux, how many
	// threads of all members. To start one more fails (EAGAIN).
	PIDs int

	// CPUs is how much processor time the members may use together, in processors: 1.5
	// is 150 ms in each 100 ms. The least is 0.01.
	CPUs float64

	// OpenFiles is one more than the highest descriptor that a member may have
	// (RLIMIT_NOFILE). FileSize is how many bytes long a file may become that a member
	// writes (RLIMIT_FSIZE; more is SIGXFSZ). Core is how long a core file may be
	// (RLIMIT_CORE). Each is the soft and the hard limit, as with the shell's ulimit.
	// The command is started by a helper then, which sets them and becomes the command:
	// see HelperPath.
	OpenFiles int64
	FileSize  int64
	Core      int64
}

// LimitToZero is the limit 0, where 0 stands for none.
const LimitToZero = -1

// OutOfMemory is the Ending of a run that the kernel has killed since Limits.Memory was
// used up; and of one whose command it has killed as there was no memory further out.
// If the run was being stopped already, the Ending says why.
const OutOfMemory Ending = "out_of_memory"

// ErrOutOfMemory is in the error of Wait if the run has used more than Limits.Memory.
var ErrOutOfMemory = errors.New("corral: out of memory")

// ofRun are the limits of all members together.
func (l Limits) ofRun() hold.Limits { return hold.Limits{Memory: l.Memory, PIDs: l.PIDs, CPUs: l.CPUs} }

// ofProcess reports whether there are limits that each process has for itself.
func (l Limits) ofProcess() bool { return l.OpenFiles != 0 || l.FileSize != 0 || l.Core != 0 }

func (l Limits) check() error {
	switch {
	case l == Limits{}:
		return nil
	case l.Memory < 0:
		return fmt.Errorf("corral: negative Limits.Memory %d", l.Memory)
	case l.PIDs < 0:
		return fmt.Errorf("corral: negative Limits.PIDs %d", l.PIDs)
	case math.IsNaN(l.CPUs) || math.IsInf(l.CPUs, 0): // nor could an event have it
		return fmt.Errorf("corral: Limits.CPUs is %v, which is no number of processors", l.CPUs)
	case l.CPUs < 0 || l.CPUs > 0 && l.CPUs < 0.01:
		return fmt.Errorf("corral: Limits.CPUs is %v: the least is 0.01", l.CPUs)
	case l.OpenFiles < 0:
		return fmt.Errorf("corral: negative Limits.OpenFiles %d", l.OpenFiles)
	case l.FileSize < LimitToZero:
		return fmt.Errorf("corral: negative Limits.FileSize %d", l.FileSize)
	case l.Core < LimitToZero:
		return fmt.Errorf("corral: negative Limits.Core %d", l.Core)
	case l.ofProcess() && errNoProcessLimits != nil:
		return errNoProcessLimits
	}
	return nil
}

// told returns the limits as an event has them, or nil if there are none.
func (l Limits) told() *event.Limits {
	if l == (Limits{}) {
		return nil
	}
	amount := func(n int64) *int64 {
		switch n {
		case 0:
			return nil
		case LimitToZero:
			n = 0
		}
		return &n
	}
	told := &event.Limits{
		Memory: amount(l.Memory), PIDs: amount(int64(l.PIDs)),
		OpenFiles: amount(l.OpenFiles), FileSize: amount(l.FileSize), Core: amount(l.Core),
	}
	if l.CPUs != 0 {
		told.CPUs = &l.CPUs
	}
	return told
}

// unfit is why a kind of containment cannot have the limits, or nil. Those that it may
// have are put into force by hold.Limiter.
func (l Limits) unfit(c Containment) error {
	if l.ofRun() == (hold.Limits{}) || c == Cgroup || c == Job {
		return nil
	}
	return errors.New("only a control group or a job object limits all members together")
}

// memoryError is what Wait has to say of a run that was out of memory, or nil.
func (r *run) memoryError(rep *Report) error {
	if limit := r.cmd.Limits.Memory; limit > 0 && rep.Ending == OutOfMemory && rep.overLimit {
		return fmt.Errorf("%w: the run has reached its limit of %d bytes", ErrOutOfMemory, limit)
	}
	return nil
}

// reportUsage says what the run has used, and whether it had too little memory.
func (r *run) reportUsage(rep *Report, known hold.Facts) {
	// Without a limit of the run's own the kernel kills one member, and the command may
	// make do without it.
	if known.OutOfMemory && rep.Ending == Exited && (known.OverLimit || rep.Signal == "SIGKILL") {
		rep.Ending, rep.overLimit = OutOfMemory, known.OverLimit
		rep.Cause = "the kernel killed members for want of memory"
		if limit := r.cmd.Limits.Memory; limit > 0 && known.OverLimit {
			rep.Cause = fmt.Sprintf("the run has reached its limit of %d bytes of memory", limit)
		}
	}
	if !r.counts() {
		return
	}
	rep.Usage = &Usage{Run: amountsOf(known.Run)}
	if r.state != nil {
		rep.Usage.Leader = leaderAmounts(r.state)
	}
}

// counts reports whether the Report is to say what the run has used.
func (r *run) counts() bool { return r.cmd.Accounting || r.cmd.Limits != (Limits{}) }

// Usage is what a run has used.
type Usage struct {
	// Run is about all members together, as their control group or job object counts.
	// In other containments nothing of it is known.
	Run Amounts `json:"run"`
	// Leader is about the leader and the descendants that it has waited for, as
	// wait4(2) counts.
	Leader Amounts `json:"leader"`
}

// Amounts are what processes have used. A nil pointer says that an amount is not
// known. The JSON form does not have it then; its durations are seconds.
type Amounts struct {
	UserTime   *time.Duration `json:"-"` // user_seconds
	SystemTime *time.Duration `json:"-"` // system_seconds
	// PeakMemory is the most memory in bytes that all had at one time. For a Leader it
	// is the largest resident size of any one process.
	PeakMemory *int64 `json:"peak_memory_bytes,omitempty"`
	// PeakPIDs is the most members there were at one time, on Linux the most threads
	// of members.
	PeakPIDs *int64 `json:"peak_pids,omitempty"`
	// Read and Written are bytes from and to block devices; what the cache of files
	// had is not among them. On Windows they are of all files and pipes.
	Read    *int64 `json:"read_bytes,omitempty"`
	Written *int64 `json:"written_bytes,omitempty"`
}

// told returns what has been used as an event has it, or nil if it has not been counted.
func (u *Usage) told() *event.Used {
	if u == nil {
		return nil
	}
	return &event.Used{Run: u.Run.told(), Leader: u.Leader.told()}
}

// told returns nil if nothing is known.
func (a Amounts) told() *event.Amounts {
	inSeconds := func(d *time.Duration) *float64 {
		if d == nil {
			return nil
		}
		s := d.Seconds()
		return &s
	}
	told := event.Amounts{
		UserSeconds: inSeconds(a.UserTime), SystemSeconds: inSeconds(a.SystemTime),
		PeakMemory: a.PeakMemory, PeakPIDs: a.PeakPIDs, Read: a.Read, Written: a.Written,
	}
	if told == (event.Amounts{}) {
		return nil
	}
	return &told
}

type plainAmounts Amounts

type amountsTimes struct {
	UserTime   *seconds `json:"user_seconds,omitempty"`
	SystemTime *seconds `json:"system_seconds,omitempty"`
}

// MarshalJSON writes durations as seconds.
func (a Amounts) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		amountsTimes
		plainAmounts
	}{amountsTimes{(*seconds)(a.UserTime), (*seconds)(a.SystemTime)}, plainAmounts(a)})
}

// UnmarshalJSON reads what MarshalJSON writes.
func (a *Amounts) UnmarshalJSON(b []byte) error {
	var t amountsTimes
	if err := json.Unmarshal(b, (*plainAmounts)(a)); err != nil {
		return err
	}
	if err := json.Unmarshal(b, &t); err != nil {
		return err
	}
	a.UserTime, a.SystemTime = (*time.Duration)(t.UserTime), (*time.Duration)(t.SystemTime)
	return nil
}

func amountsOf(a hold.Amounts) Amounts {
	return Amounts{
		UserTime: a.User, SystemTime: a.System, PeakMemory: a.PeakMemory, PeakPIDs: a.PeakPIDs, Read: a.Read, Written: a.Written,
	}
}

// leaderAmounts is what the leader's parent knows of it.
func leaderAmounts(state *os.ProcessState) Amounts {
	user, system := state.UserTime(), state.SystemTime()
	a := Amounts{UserTime: &user, SystemTime: &system}
	if peak := peakMemory(state); peak > 0 {
		a.PeakMemory = &peak
	}
	a.Read, a.Written = blockBytes(state)
	return a
}

// startLimited starts the leader with its limits. After an error nothing is running.
func (r *run) startLimited() (*os.Process, proctree.ID, error) {
	limit := func() error {
		if r.cont.limiter == nil {
			return nil
		}
		return r.cont.limiter.Limit()
	}
	if r.limiter == nil {
		if err := limit(); err != nil {
			return nil, proctree.ID{}, err
		}
		return r.cont.Start(r.inner)
	}
	defer r.limiter.close()
	leader, id, err := r.cont.Start(r.inner)
	if err != nil {
		return nil, id, r.limiter.failure(err)
	}
	if err := r.limiter.launch(limit); err != nil {
		r.takeBack()
		return nil, id, err
	}
	return leader, id, nil
}

// takeBack ends a helper that has not become the command. There is nobody else in the
// run.
func (r *run) takeBack() {
	r.cont.Kill()
	ctx, cancel := context.WithTimeout(context.Background(), stop.KillPatience)
	defer cancel()
	if _, err := r.cont.Exited(ctx); err == nil {
		r.cont.Reap()
	}
}
