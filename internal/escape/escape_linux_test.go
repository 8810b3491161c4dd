package escape

import (
	"context"
	"errors"
	"fmt"
	"io"
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

func TestMain(m *testing.M) {
	Register("test-owner", func(args []string) {
		leader := exec.Command(args[0], args[1:]...)
		leader.ExtraFiles = Inherited()
		if err := leader.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(failed)
		}
		leader.Wait()
	})
	Main()
	code := m.Run()
	if code == 0 {
		if err := CheckUsed(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

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

// launch starts the leader of p as os/exec does, in a group of its own.
func launch(t *testing.T, p *Probe) *tree {
	t.Helper()
	path, args, files := p.Command()
	tr := &tree{T: t, Probe: p, ctx: timeout(t, 30*time.Second), ended: make(chan struct{})}
	tr.leader = exec.Command(path, args...)
	tr.leader.ExtraFiles = files
	tr.leader.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
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

// ignores reports whether a member ignores sig.
func (tr *tree) ignores(m Member, sig syscall.Signal) bool {
	tr.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.PID))
	if err != nil {
		tr.Fatal(err)
	}
	_, line, _ := strings.Cut(string(status), "\nSigIgn:\t")
	var set uint64
	if _, err := fmt.Sscanf(line, "%x", &set); err != nil {
		tr.Fatal(err)
	}
	return set&(1<<(sig-1)) != 0
}

// checks say of each child whether it is what its Doc claims.
var checks = map[string]func(*tree){
	"plain": func(tr *tree) {
		leader, child := tr.row("leader"), tr.row("child")
		if child.PPID != leader.PID || child.PGID != leader.PID || child.SID != leader.SID {
			tr.Errorf("not in the leader's group and session: %+v", child)
		}
		tr.leave("child")
		tr.signal("child", syscall.SIGTERM)
		tr.expect()
	},
	"ignore-term": func(tr *tree) {
		if n := len(tr.all("ignorer")); n != ignorers {
			tr.Errorf("%d ignorers, want %d", n, ignorers)
		}
		for _, m := range tr.all("ignorer") {
			for _, sig := range polite {
				if !tr.ignores(m, sig.(syscall.Signal)) {
					tr.Errorf("%v does not ignore %v", m, sig)
				}
			}
		}
		tr.Release()
		tr.waitLeader()
		tr.expect("ignorer")
		if n := len(tr.Survivors()); n != ignorers {
			tr.Errorf("%d ignorers are left, want %d", n, ignorers)
		}
	},
	"setsid": func(tr *tree) {
		leader, session := tr.row("leader"), tr.row("session")
		if session.SID != session.PID || session.PGID != session.PID || session.PPID != leader.PID {
			tr.Errorf("does not lead a session: %+v", session)
		}
		tr.leave("session")
	},
	"daemon": func(tr *tree) {
		leader, daemon := tr.row("leader"), tr.row("daemon")
		if daemon.SID == leader.SID || daemon.SID == daemon.PID || daemon.PGID != daemon.SID {
			tr.Errorf("not an ordinary member of another session: %+v", daemon)
		}
		if daemon.PPID == leader.PID || daemon.PPID == daemon.SID {
			tr.Errorf("not an orphan: %+v", daemon)
		}
		if dir := tr.proc(daemon, "cwd"); dir != "/" {
			tr.Errorf("it is in %s", dir)
		}
		tr.leave("daemon")
	},
	"hold-stdout": func(tr *tree) {
		leader, holder := tr.row("leader"), tr.row("holder")
		if theirs, ours := tr.proc(holder, "fd/1"), tr.proc(leader, "fd/1"); theirs != ours || !strings.HasPrefix(ours, "pipe:") {
			tr.Errorf("the holder has %s, the leader %s", theirs, ours)
		}
		tr.leave("holder")
		// Without a writer it would be end-of-file.
		tr.stdout.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := tr.stdout.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			tr.Errorf("read the leader's output: %v", err)
		}
		tr.signal("holder", syscall.SIGTERM)
		tr.stdout.SetReadDeadline(time.Time{})
		if _, err := tr.stdout.Read(make([]byte, 1)); err != io.EOF {
			tr.Errorf("read the leader's output without the holder: %v", err)
		}
	},
	"close-fds": func(tr *tree) {
		closer := tr.row("closer")
		fds := fmt.Sprintf("/proc/%d/fd", closer.PID)
		open, err := os.ReadDir(fds)
		if err != nil {
			tr.Fatal(err)
		}
		for _, fd := range open {
			// sleep may be reading its libraries.
			target, err := os.Readlink(filepath.Join(fds, fd.Name()))
			if err == nil && (strings.HasPrefix(target, "pipe:") || target == os.DevNull) {
				tr.Errorf("descriptor %s is open: %s", fd.Name(), target)
			}
		}
		tr.leave("closer")
		select {
		case <-tr.gone:
		case <-tr.ctx.Done():
			tr.Error("the oracle is held")
		}
		ctx, cancel := context.WithTimeout(tr.ctx, 10*time.Millisecond)
		defer cancel()
		if err := tr.Gone(ctx); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("closer (%d)", closer.PID)) {
			tr.Errorf("Gone does not name the closer: %v", err)
		}
	},
	"chain": func(tr *tree) {
		tr.Release()
		tr.waitLeader()
		seen := tr.all("link")
		for range 20 {
			seen = append(seen, tr.next("link", seen...))
		}
		// The next one is there, so those before its parent are gone.
		for _, m := range seen[:len(seen)-2] {
			h, err := proctree.Open(m.ID)
			if err != nil {
				continue // and has been reaped
			}
			if err := h.Wait(tr.ctx); err != nil {
				tr.Error(err)
			}
			h.Close()
		}
		tr.expect("link")
	},
	"respawn": func(tr *tree) {
		tr.signal("respawner", syscall.SIGTERM)
		old := tr.all("worker")
		for range 3 {
			h, err := proctree.Open(old[len(old)-1].ID)
			if err != nil {
				tr.Fatal(err)
			}
			if err := h.Signal(syscall.SIGTERM); err != nil {
				tr.Error(err)
			}
			h.Close()
			old = append(old, tr.next("worker", old...))
		}
		tr.leave("respawner", "worker")
	},
	"kill-group": func(tr *tree) {
		tr.Release()
		if status := tr.waitLeader(); status.Signal() != syscall.SIGTERM {
			tr.Errorf("the leader ended with status %#x", status)
		}
		tr.expect("killer", "ignorer")
	},
	"kill-parent": func(tr *tree) {
		tr.Release()
		if status := tr.waitLeader(); status.Signal() != syscall.SIGKILL {
			tr.Errorf("the leader ended with status %#x", status)
		}
		tr.expect("parricide")
	},
	"wide": func(tr *tree) {
		if n := len(tr.all("child")); n != width {
			tr.Errorf("%d children, want %d", n, width)
		}
		if n := len(tr.Survivors()); n != 1+width {
			tr.Errorf("%d members, want %d", n, 1+width)
		}
		tr.leave("child")
	},
	"stopped": func(tr *tree) {
		if row := tr.row("frozen"); row.State != proctree.Stopped {
			tr.Errorf("in state %c", row.State)
		}
		tr.signal("frozen", syscall.SIGHUP)
		tr.signal("frozen", syscall.SIGTERM)
		if row := tr.row("frozen"); row.State != proctree.Stopped {
			tr.Errorf("in state %c after SIGTERM", row.State)
		}
		tr.signal("frozen", syscall.SIGCONT)
		tr.expect("leader")
	},
	"dead-leader": func(tr *tree) {
		if row := tr.row("headless"); row.State != proctree.Zombie || row.Threads < 2 {
			tr.Errorf("in state %c with %d threads", row.State, row.Threads)
		}
		tr.leave("headless")
		tr.signal("headless", syscall.SIGTERM)
		tr.expect()
	},
}

func TestShapes(t *testing.T) {
	StartBystander(t)
	for _, c := range All() {
		t.Run(c.Name, func(t *testing.T) {
			check := checks[c.Name]
			if check == nil {
				t.Fatal("nothing checks it")
			}
			tr := start(t, c)
			if len(tr.ready) != c.Members || tr.row("leader").PID != tr.leader.Process.Pid {
				t.Errorf("leader %d, members %v", tr.leader.Process.Pid, tr.ready)
			}
			for _, m := range tr.ready {
				if !strings.Contains(c.Doc, `"`+m.Role+`"`) && m.Role != "leader" {
					t.Errorf("the Doc does not mention the %s", m.Role)
				}
			}
			check(tr)
		})
	}
}

// TestAsked: some act when they are asked to end, too.
func TestAsked(t *testing.T) {
	for _, tt := range []struct {
		child, asked string
		leader       syscall.Signal
		survivors    []string
	}{
		{"kill-group", "killer", syscall.SIGTERM, []string{"killer", "ignorer"}},
		{"kill-parent", "parricide", syscall.SIGKILL, []string{"parricide"}},
	} {
		t.Run(tt.child, func(t *testing.T) {
			all := All()
			i := slices.IndexFunc(all, func(c Child) bool { return c.Name == tt.child })
			tr := start(t, all[i])
			tr.signal(tt.asked, syscall.SIGTERM)
			if status := tr.waitLeader(); status.Signal() != tt.leader {
				t.Errorf("the leader ended with status %#x", status)
			}
			tr.expect(tt.survivors...)
		})
	}
}

func TestKillOwner(t *testing.T) {
	p := NewProbe(t, KillOwner())
	path, args, files := p.Command()
	path, args = Command("test-owner", append([]string{path}, args...)...)
	owner := exec.Command(path, args...)
	owner.ExtraFiles = files
	owner.Stderr = os.Stderr
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	p.Started()
	p.Ready(timeout(t, 30*time.Second))
	p.Release()
	owner.Wait()
	if status := owner.ProcessState.Sys().(syscall.WaitStatus); status.Signal() != syscall.SIGKILL {
		t.Errorf("the owner: %v", owner.ProcessState)
	}
	if err := p.Gone(timeout(t, 30*time.Second), "leader", "child"); err != nil {
		t.Error(err)
	}
}

// recorder is a test of which the result is looked at.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	said     []string
	cleanups []func()
}

func (r *recorder) Error(args ...any)                 { r.say(fmt.Sprint(args...)) }
func (r *recorder) Errorf(format string, args ...any) { r.say(fmt.Sprintf(format, args...)) }
func (r *recorder) Cleanup(f func())                  { r.cleanups = append(r.cleanups, f) }
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

func TestKillOwnerRefusesTest(t *testing.T) {
	r := &recorder{TB: t}
	p := NewProbe(r, KillOwner())
	tr := launch(t, p)
	p.Started()
	if status := tr.waitLeader(); status.ExitStatus() != failed {
		t.Errorf("the leader ended with status %#x", status)
	}
	<-p.ready
	if said := r.end(); !strings.Contains(said, fmt.Sprintf("refuse to kill process %d,", os.Getpid())) {
		t.Errorf("said %q", said)
	}
}

func TestGoneErrors(t *testing.T) {
	i := slices.IndexFunc(All(), func(c Child) bool { return c.Name == "plain" })
	tr := launch(t, NewProbe(t, All()[i]))
	tr.ready = tr.Ready(tr.ctx)
	at := func() context.Context { return timeout(t, 10*time.Millisecond) }
	check := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	check(tr.Gone(at()), "2 still alive")
	check(tr.Gone(at(), "child"), "1 still alive: [leader (")
	tr.leave("child")
	tr.signal("child", syscall.SIGTERM)
	if err := tr.watch(tr.ctx, nil); err != nil {
		t.Fatal(err)
	}
	check(tr.Gone(at()), "not reported")
	tr.Started()
	check(tr.Gone(tr.ctx, "child"), "none of these has survived: [child]")
	tr.expect()
}

func TestBystander(t *testing.T) {
	for _, sig := range []syscall.Signal{0, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSTOP} {
		r := &recorder{TB: t}
		bystander := StartBystander(r)
		if sig != 0 {
			if err := bystander.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if sig == syscall.SIGSTOP {
				var status syscall.WaitStatus
				if _, err := syscall.Wait4(bystander.Pid, &status, syscall.WUNTRACED, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if said := r.end(); (said != "") != (sig != 0) {
			t.Errorf("after %v it said %q", sig, said)
		}
	}
}

// TestLifetime shortens it, and leaves the trees to themselves.
func TestLifetime(t *testing.T) {
	// It takes long to start, and is made of the same as others.
	pending := slices.DeleteFunc(All(), func(c Child) bool { return c.Name == "wide" })
	for life := 3 * time.Second; len(pending) > 0; life *= 2 {
		var trees []*tree
		var tests []*recorder
		for _, c := range pending {
			r := &recorder{TB: t}
			p := NewProbe(r, c)
			p.args[1] = strconv.FormatInt(time.Now().Add(life).UnixMilli(), 10)
			trees, tests = append(trees, launch(t, p)), append(tests, r)
			p.Started()
		}
		pending = nil
		ctx := timeout(t, life+20*time.Second)
		for i, tr := range trees {
			if err := tr.await(ctx, nil); err != nil {
				t.Error(err)
			}
			members, _ := tr.known()
			said := tests[i].end()
			switch {
			case len(members) >= tr.child.Members:
				if said != "" {
					t.Error(said)
				}
			case life < 30*time.Second:
				// It was not complete when it ended, so that proves little.
				pending = append(pending, tr.child)
			default:
				t.Errorf("%s: %d of %d members after %v: %s", tr.child.Name, len(members), tr.child.Members, life, said)
			}
		}
	}
}

func TestRegisterTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Register("plain", func([]string) {})
}

func TestUnused(t *testing.T) {
	use("nothing", false)
	defer func() {
		usedMu.Lock()
		delete(used, "nothing")
		usedMu.Unlock()
	}()
	if names := unused(); !slices.Contains(names, "nothing") {
		t.Errorf("unused: %v", names)
	}
}
