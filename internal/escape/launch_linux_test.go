package escape

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// tree is a child that runs.
type tree struct {
	*testing.T
	*Probe
	ctx    context.Context
	leader *exec.Cmd
	ended  chan struct{} // closed when the leader has been reaped
	stdout *os.File      // the leader's standard output is a pipe that ends here
	ready  []Member
}

func timeout(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	t.Cleanup(cancel)
	return ctx
}

// launch starts the leader of p as os/exec does, in a group of its own, or what
// options make of that.
func launch(t *testing.T, p *Probe, options ...func(*syscall.SysProcAttr)) *tree {
	t.Helper()
	path, args, files := p.Command()
	tr := &tree{T: t, Probe: p, ctx: timeout(t, 30*time.Second), ended: make(chan struct{})}
	tr.leader = exec.Command(path, args...)
	tr.leader.ExtraFiles = files
	tr.leader.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, set := range options {
		set(tr.leader.SysProcAttr)
	}
	out, stdout, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	tr.leader.Stdout, tr.stdout = stdout, out
	t.Cleanup(func() { out.Close() })
	err = tr.leader.Start()
	stdout.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		tr.leader.Wait()
		close(tr.ended)
	}()
	return tr
}

func start(t *testing.T, c Child) *tree {
	t.Helper()
	began := time.Now()
	tr := launch(t, NewProbe(t, c))
	tr.Started()
	tr.ready = tr.Ready(tr.ctx)
	t.Logf("%d members in %v", len(tr.ready), time.Since(began).Round(time.Millisecond))
	return tr
}

// all returns the members that were ready in a role.
func (tr *tree) all(role string) []Member {
	var members []Member
	for _, m := range tr.ready {
		if m.Role == role {
			members = append(members, m)
		}
	}
	return members
}

// row returns the row of the only member that was ready in a role.
func (tr *tree) row(role string) proctree.Process {
	tr.Helper()
	members := tr.all(role)
	if len(members) != 1 {
		tr.Fatalf("%d of %s, want 1", len(members), role)
	}
	row, err := proctree.Lookup(members[0].PID)
	if err != nil {
		tr.Fatal(err)
	}
	if row.ID != members[0].ID {
		tr.Fatalf("%v has become %v", members[0], row.ID)
	}
	return row
}

// signal sends sig to the only member that was ready in a role.
func (tr *tree) signal(role string, sig syscall.Signal) {
	tr.Helper()
	h, err := proctree.Open(tr.row(role).ID)
	if err != nil {
		tr.Fatal(err)
	}
	defer h.Close()
	if err := h.Signal(sig); err != nil {
		tr.Fatal(err)
	}
}

// waitLeader waits until the leader has been reaped.
func (tr *tree) waitLeader() syscall.WaitStatus {
	tr.Helper()
	select {
	case <-tr.ended:
	case <-tr.ctx.Done():
		tr.Fatal("the leader does not end")
	}
	return tr.leader.ProcessState.Sys().(syscall.WaitStatus)
}

// leave releases the leader, and lets it leave the survivors.
func (tr *tree) leave(survivors ...string) {
	tr.Helper()
	tr.Release()
	if status := tr.waitLeader(); status.ExitStatus() != 0 {
		tr.Errorf("the leader ended with status %#x", status)
	}
	tr.expect(survivors...)
}

func (tr *tree) expect(survivors ...string) {
	tr.Helper()
	if err := tr.Gone(tr.ctx, survivors...); err != nil {
		tr.Error(err)
	}
}

// next waits until a member other than the old ones is reported in a role.
func (tr *tree) next(role string, old ...Member) Member {
	tr.Helper()
	for {
		members, err := tr.known()
		if err != nil {
			tr.Fatal(err)
		}
		for _, m := range members {
			if m.Role == role && !slices.Contains(old, m) {
				return m
			}
		}
		select {
		case <-tr.news:
		case <-tr.ctx.Done():
			tr.Fatalf("there is no further %s", role)
		}
	}
}

// proc returns what a link in /proc/PID points at.
func (tr *tree) proc(row proctree.Process, name string) string {
	tr.Helper()
	target, err := os.Readlink(filepath.Join("/proc", strconv.Itoa(row.PID), name))
	if err != nil {
		tr.Fatal(err)
	}
	return target
}

// read returns the content of a file in /proc/PID.
func (tr *tree) read(pid int, name string) string {
	tr.Helper()
	content, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		tr.Fatal(err)
	}
	return string(content)
}

// status returns the values of a line in /proc/PID/status.
func (tr *tree) status(pid int, name string) []string {
	tr.Helper()
	_, after, ok := strings.Cut(tr.read(pid, "status"), "\n"+name+":")
	if !ok {
		tr.Fatalf("no %s", name)
	}
	line, _, _ := strings.Cut(after, "\n")
	return strings.Fields(line)
}

// pipes returns the pipes that a process has open, by descriptor, and
// /dev/null.
func (tr *tree) pipes(pid int) map[string]string {
	tr.Helper()
	fds := fmt.Sprintf("/proc/%d/fd", pid)
	open, err := os.ReadDir(fds)
	if err != nil {
		tr.Fatal(err)
	}
	pipes := make(map[string]string)
	for _, fd := range open {
		// sleep may be reading its libraries.
		target, err := os.Readlink(filepath.Join(fds, fd.Name()))
		if err == nil && (strings.HasPrefix(target, "pipe:") || target == os.DevNull) {
			pipes[fd.Name()] = target
		}
	}
	return pipes
}

// ignores reports whether a member ignores sig.
func (tr *tree) ignores(m Member, sig syscall.Signal) bool {
	tr.Helper()
	return tr.inSet(m.PID, "SigIgn", sig)
}

// inSet reports whether sig is in one of the sets of /proc/PID/status.
func (tr *tree) inSet(pid int, set string, sig syscall.Signal) bool {
	tr.Helper()
	bits, err := strconv.ParseUint(tr.status(pid, set)[0], 16, 64)
	if err != nil {
		tr.Fatal(err)
	}
	return bits&(1<<(sig-1)) != 0
}

// sendPolite sends all polite signals to the only member that was ready in a role.
func (tr *tree) sendPolite(role string) {
	tr.Helper()
	for _, sig := range polite {
		tr.signal(role, sig.(syscall.Signal))
	}
}

// checkOrphan checks that a member is in another session than the leader without
// leading it, and that neither the leader nor the session's leader is its parent.
func (tr *tree) checkOrphan(role string) proctree.Process {
	tr.Helper()
	leader, row := tr.row("leader"), tr.row(role)
	if row.SID == leader.SID || row.SID == row.PID || row.PGID != row.SID {
		tr.Errorf("not an ordinary member of another session: %+v", row)
	}
	if row.PPID == leader.PID || row.PPID == row.SID {
		tr.Errorf("not an orphan: %+v", row)
	}
	return row
}

// group returns the control group, of version 2, of a process.
func (tr *tree) group(pid int) string {
	tr.Helper()
	_, after, ok := strings.Cut("\n"+tr.read(pid, "cgroup"), "\n0::")
	if !ok {
		tr.Fatal("no control group of version 2")
	}
	group, _, _ := strings.Cut(after, "\n")
	return group
}

// recorder is a test whose result another one looks at.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	said     []string
	cleanups []func()
}

func (r *recorder) Error(args ...any) { r.say(fmt.Sprint(args...)) }

func (r *recorder) Errorf(format string, args ...any) { r.say(fmt.Sprintf(format, args...)) }

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) say(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.said = append(r.said, s)
}

// end runs the cleanups and returns what was said.
func (r *recorder) end() string {
	for _, f := range slices.Backward(r.cleanups) {
		f()
	}
	return strings.Join(r.said, "\n")
}
