//go:build linux || darwin || freebsd

package registry

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/leak"
	"github.com/corral-run/corral/internal/proctree"
)

func TestMain(m *testing.M) {
	if os.Getenv("REGISTRY_TEST_OWNER") != "" {
		beOwner()
	}
	os.Exit(m.Run())
}

// beOwner registers a run, says its ID, and lives until its input ends: for ten minutes
// at most.
func beOwner() {
	time.AfterFunc(10*time.Minute, func() { os.Exit(8) })
	l, err := Register(entry("owned"), &handler{})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(l.entry.ID)
	io.Copy(io.Discard, os.Stdin)
	l.Close(Outcome{})
	os.Exit(0)
}

// owner is a process that has registered a run.
type owner struct {
	id    string
	cmd   *exec.Cmd
	stdin io.Closer
}

func startOwner(t *testing.T) *owner {
	t.Helper()
	o := &owner{cmd: exec.Command(os.Args[0])}
	o.cmd.Env = append(os.Environ(), "REGISTRY_TEST_OWNER=1")
	stdin, err := o.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := o.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := o.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	o.stdin = stdin
	t.Cleanup(o.end)
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	if o.id = strings.TrimSpace(line); !IsID(o.id) {
		t.Fatalf("the owner says %q", line)
	}
	return o
}

func (o *owner) end() {
	o.stdin.Close()
	o.cmd.Wait()
}

func (o *owner) kill(t *testing.T) {
	t.Helper()
	if err := o.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	o.cmd.Wait()
}

// handler is an owner's, for tests.
type handler struct {
	mu      sync.Mutex
	stops   int
	signals []int
	hold    chan struct{} // Look waits for it
	ends    func()        // Stop calls it
}

func (h *handler) Stop(signal int, grace time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stops++
	if h.ends != nil {
		h.ends()
	}
	return nil
}

func (h *handler) Signal(signal int) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if signal == 0 {
		return errors.New("corral: signal 0 is none")
	}
	h.signals = append(h.signals, signal)
	return nil
}

func (h *handler) Look() (string, []Process, error) {
	if h.hold != nil {
		<-h.hold
	}
	return "running", []Process{{PID: 7, Start: 8, Command: []string{"x"}}}, nil
}

// checkLeaks fails the test if it leaves goroutines.
func checkLeaks(t *testing.T) {
	before := leak.Now()
	t.Cleanup(func() {
		if err := leak.Since(before); err != nil {
			t.Error(err)
		}
	})
}

// entry is of a run that leaves other entries alone.
func entry(name string) Entry {
	return Entry{ID: "1" + NewID()[1:], Name: name, Command: []string{"sleep", "60"}, Program: "test", Started: time.Now(), Containment: "group",
		Labels: map[string]string{"team": "a"}}
}

// unhurried gives clients and owners of the test all the time that there is: a busy
// machine may not run them for seconds.
func unhurried(t *testing.T, patience *time.Duration) {
	was := *patience
	*patience = time.Hour
	t.Cleanup(func() { *patience = was })
}

// private makes a runtime directory for the test, and returns the path of the
// registry in it. It is short, as that of a socket has to be.
func private(t *testing.T) string {
	t.Helper()
	unhurried(t, &patience)
	dir, err := os.MkdirTemp("", "reg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
	t.Setenv("TMPDIR", dir)
	return filepath.Join(dir, subdir)
}

func open(t *testing.T, path string) *Dir {
	t.Helper()
	d, err := OpenDir(path, os.Geteuid(), false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func list(t *testing.T, d *Dir) *Contents {
	t.Helper()
	c, err := d.List()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func register(t *testing.T, h Handler) *Listing {
	t.Helper()
	l, err := Register(entry("web"), h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close(Outcome{}) })
	return l
}

func found(t *testing.T, d *Dir, id string) *Found {
	t.Helper()
	for _, f := range list(t, d).Runs {
		if f.ID == id {
			return &f
		}
	}
	t.Fatalf("run %s is not listed", id)
	return nil
}

// TestRegister: a run is listed with all that is known of it, and then no more, and
// nothing remains.
func TestRegister(t *testing.T) {
	path := private(t)
	checkLeaks(t)
	l := register(t, &handler{})
	d := open(t, path)
	f := found(t, d, l.entry.ID)
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	if f.State != Live || f.Owner != self || f.Name != "web" || f.Labels["team"] != "a" || f.Version != Version || f.NoControl != "" {
		t.Errorf("%+v", f)
	}
	for _, file := range []string{path, filepath.Join(path, f.ID+".json")} {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s: %v, %v", file, info.Mode(), err)
		}
	}
	l.Close(Outcome{})
	l.Close(Outcome{})
	if err := l.Keep([]Process{{PID: 7}}); err == nil {
		t.Error("it keeps after its end")
	}
	if names, err := d.Names(); err != nil || len(names) != 0 {
		t.Errorf("left: %q, %v", names, err)
	}
	var none *Listing
	none.Close(Outcome{})
	if err := none.Keep(nil); err != nil {
		t.Error(err)
	}
}

// TestStale: the entry of a dead owner, also of one that nobody has reaped, is
// removed by whoever sees it; that of a live one is not.
func TestStale(t *testing.T) {
	path := private(t)
	alive, dead, zombie := startOwner(t), startOwner(t), startOwner(t)
	dead.kill(t)
	id, err := proctree.Identify(zombie.cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	h, err := proctree.Open(id)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := zombie.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := h.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	d := open(t, path)
	c := list(t, d)
	if len(c.Runs) != 1 || c.Runs[0].ID != alive.id {
		t.Errorf("%+v", c)
	}
	names, err := d.Names()
	slices.Sort(names)
	if want := []string{alive.id + ".json", alive.id + ".sock"}; err != nil || !slices.Equal(names, want) {
		t.Errorf("left: %q, %v; want %q", names, err, want)
	}
}

// TestTidy: what dead owners have left does not become more and more, also if nobody
// lists it: some of those that register a run remove it, some at a time.
func TestTidy(t *testing.T) {
	path := private(t)
	alive, dead := startOwner(t), startOwner(t)
	dead.kill(t)
	d := open(t, path)
	e, err := d.Read(dead.id + runSuffix)
	if err != nil {
		t.Fatal(err)
	}
	const many = 3 * mostTidied
	for range many {
		e.ID = NewID()
		if err := d.Write(e.ID+runSuffix, e); err != nil {
			t.Fatal(err)
		}
	}
	files := func() int {
		t.Helper()
		names, err := d.Names()
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	before := files()
	l := register(t, &handler{})
	if l.Close(Outcome{}); files() != before {
		t.Errorf("%d files; want %d", files(), before)
	}
	rounds := 0
	for ; files() > 2 && rounds < 100; rounds++ { // entry and socket of who lives
		e := entry("web")
		e.ID = string(tidiesIfFirst) + e.ID[1:]
		l, err := Register(e, &handler{})
		if err != nil {
			t.Fatal(err)
		}
		l.Close(Outcome{})
		if now := files(); before-now > mostTidied+1 { // a socket goes with its entry
			t.Errorf("%d files at once", before-now)
		} else {
			before = now
		}
	}
	if files() != 2 || rounds < many/mostTidied {
		t.Errorf("%d files after %d rounds", files(), rounds)
	}
	found(t, d, alive.id)
}

// TestDiedOver: what an owner has died over goes with its entry.
func TestDiedOver(t *testing.T) {
	path := private(t)
	o := startOwner(t)
	o.kill(t)
	for _, name := range []string{freshPrefix + o.id + runSuffix, freshPrefix + o.id + keptSuffix} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	d := open(t, path)
	if c := list(t, d); c.Removed != 1 || len(c.Runs) != 0 {
		t.Errorf("%+v", c)
	}
	if names, err := d.Names(); err != nil || len(names) != 0 {
		t.Errorf("left: %q, %v", names, err)
	}
}

// TestUnseen: an entry of an owner that cannot be seen from here stays.
func TestUnseen(t *testing.T) {
	path := private(t)
	l := register(t, &handler{})
	d := open(t, path)
	e := l.entry
	e.ID, e.Owner.Space, e.Owner.PID = NewID(), "pid:[1] time:[2]", 1<<22+1
	if err := d.Write(e.ID+runSuffix, &e); err != nil {
		t.Fatal(err)
	}
	if f := found(t, d, e.ID); f.State != Unseen {
		t.Errorf("%v", f.State)
	}
	if n, err := d.Sweep(); n != 0 || err != nil {
		t.Errorf("%d swept, %v", n, err)
	}
	f := found(t, d, e.ID)
	if err := f.Forget(); err != nil {
		t.Fatal(err)
	}
	if c := list(t, d); len(c.Runs) != 1 {
		t.Errorf("%+v", c)
	}
}

// TestDeserted: an owner in another PID namespace is dead when the kernel says that
// nobody has its socket: not before, and not of a socket that may be another kernel's.
func TestDeserted(t *testing.T) {
	path := private(t)
	alive, dead, elsewhere := startOwner(t), startOwner(t), startOwner(t)
	d := open(t, path)
	for _, o := range []*owner{alive, dead, elsewhere} {
		e := found(t, d, o.id).Entry
		e.Owner.Space, e.Owner.PID = "pid:[1] time:[2]", 1<<22+1
		if o == elsewhere {
			e.Owner.Boot, e.Owner.Host = "another", "another"
		}
		if err := d.Write(o.id+runSuffix, &e); err != nil {
			t.Fatal(err)
		}
	}
	if c := list(t, d); len(c.Runs) != 3 || c.Removed != 0 {
		t.Errorf("all live: %+v", c)
	}
	dead.kill(t)
	elsewhere.kill(t)
	c := list(t, d)
	var unseen []string
	for _, f := range c.Runs {
		if f.State == Unseen {
			unseen = append(unseen, f.ID)
		}
	}
	want := []string{alive.id, elsewhere.id}
	slices.Sort(want)
	slices.Sort(unseen)
	if !slices.Equal(unseen, want) || c.Removed != 1 {
		t.Errorf("unseen: %q, %d removed; want %q, 1", unseen, c.Removed, want)
	}
}

// TestConcurrent: owners that come, go and are killed, while others list: each look
// has those that live all the time, and nothing that is not an entry.
func TestConcurrent(t *testing.T) {
	path := private(t)
	steady := register(t, &handler{})
	d := open(t, path)
	var churn, looks sync.WaitGroup
	over := make(chan struct{})
	for range 4 {
		looks.Go(func() {
			for {
				c, err := d.List()
				if err != nil || len(c.Strange) > 0 || !slices.ContainsFunc(c.Runs, func(f Found) bool { return f.ID == steady.entry.ID }) {
					t.Errorf("%+v, %v", c, err)
				}
				select {
				case <-over:
					return
				default:
				}
			}
		})
	}
	for range 8 {
		churn.Go(func() {
			for range 20 {
				l, err := Register(entry("brief"), &handler{})
				if err != nil {
					t.Error(err)
					return
				}
				if err := l.Keep([]Process{{PID: 1 << 22, Start: 1}}); err != nil {
					t.Error(err)
				}
				l.Close(Outcome{})
			}
		})
	}
	for range 6 {
		startOwner(t).kill(t)
	}
	churn.Wait()
	close(over)
	looks.Wait()
	c := list(t, d)
	names, err := d.Names()
	if len(c.Runs) != 1 || err != nil || len(names) != 2 {
		t.Errorf("%+v, %q, %v", c, names, err)
	}
}

// TestHostileDirectory: what is not the user's own private directory is refused, and
// nothing is written to it.
func TestHostileDirectory(t *testing.T) {
	elsewhere := t.TempDir()
	for name, make := range map[string]func(path string) error{
		"a symbolic link":  func(path string) error { return os.Symlink(elsewhere, path) },
		"a dangling one":   func(path string) error { return os.Symlink(filepath.Join(elsewhere, "none"), path) },
		"a file":           func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"a FIFO":           func(path string) error { return unix.Mkfifo(path, 0o600) },
		"open to others":   func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o711)) },
		"another user's":   func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chown(path, 12345, 12345)) },
		"writable for all": func(path string) error { return errors.Join(os.Mkdir(path, 0o700), os.Chmod(path, 0o777)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := private(t)
			err := make(path)
			if errors.Is(err, os.ErrPermission) {
				t.Skip("SKIPPED: only root can give a directory away")
			}
			if err != nil {
				t.Fatal(err)
			}
			l, err := Register(entry("x"), &handler{})
			if err == nil {
				l.Close(Outcome{})
				t.Fatal("it is taken")
			}
			t.Log(err)
			if !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
				t.Errorf("the error does not say, in one line, what is wrong with what: %q", err)
			}
			if _, errs := Dirs(os.Geteuid()); len(errs) == 0 {
				t.Error("a look for runs does not say so")
			}
			if left, _ := os.ReadDir(elsewhere); len(left) != 0 {
				t.Errorf("left elsewhere: %v", left)
			}
		})
	}
}

// TestRuntimeDir: XDG_RUNTIME_DIR is used if it is the user's own alone; else it is the
// temporary directory.
func TestRuntimeDir(t *testing.T) {
	private(t)
	for name, dir := range map[string]func(t *testing.T) string{
		"unset":    func(t *testing.T) string { return "" },
		"relative": func(t *testing.T) string { return "x" },
		"missing":  func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") },
		"shared": func(t *testing.T) string {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			return dir
		},
		"a file": func(t *testing.T) string {
			f := filepath.Join(t.TempDir(), "f")
			if err := os.WriteFile(f, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return f
		},
	} {
		t.Setenv("XDG_RUNTIME_DIR", dir(t))
		d, err := openOwn()
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if want := filepath.Join(os.TempDir(), fmt.Sprintf("corral-%d", os.Geteuid())); d.Path() != want {
			t.Errorf("%s: %s; want %s", name, d.Path(), want)
		}
		d.Close()
	}
}

// TestJunk: files that are no entries do no harm, and those in the way of nobody are
// swept away once they are old.
func TestJunk(t *testing.T) {
	path := private(t)
	l := register(t, &handler{})
	d := open(t, path)
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte(`{"v":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	id := NewID
	ids := map[string]string{}
	put := func(kind, name, content string) {
		ids[kind] = name
		if err := os.WriteFile(filepath.Join(path, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("not JSON", id()+".json", "{")
	put("empty", id()+".json", "")
	put("of another ID", id()+".json", `{"v":1,"id":"other","owner":{"pid":7}}`)
	put("not ours", "notes.txt", "x")
	put("another suffix", id()+".txt", "x")
	put("not finished", freshPrefix+id()+".json", "{")
	put("large", id()+".json", strings.Repeat(" ", mostFile+1))
	ids["a link"] = id() + ".json"
	if err := os.Symlink(secret, filepath.Join(path, ids["a link"])); err != nil {
		t.Fatal(err)
	}
	ids["a FIFO"] = id() + ".json"
	if err := unix.Mkfifo(filepath.Join(path, ids["a FIFO"]), 0o600); err != nil {
		t.Fatal(err)
	}
	ids["a directory"] = id() + ".json"
	if err := os.Mkdir(filepath.Join(path, ids["a directory"]), 0o700); err != nil {
		t.Fatal(err)
	}
	c := list(t, d)
	if len(c.Runs) != 1 || c.Runs[0].ID != l.entry.ID || len(c.Strange) != 7 {
		t.Errorf("%d runs, strange: %q", len(c.Runs), c.Strange)
	}
	if n, err := d.Sweep(); n != 0 || err != nil {
		t.Errorf("%d swept while they are new, %v", n, err)
	}
	old := time.Now().Add(-2 * LeftAge)
	for _, name := range ids {
		ts := []unix.Timespec{unix.NsecToTimespec(old.UnixNano()), unix.NsecToTimespec(old.UnixNano())}
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(path, name), ts, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			t.Fatal(err)
		}
	}
	// A live run's own files may be as old as they like.
	for _, name := range []string{l.entry.ID + ".json", l.entry.ID + ".sock"} {
		if err := os.Chtimes(filepath.Join(path, name), old, old); err != nil {
			t.Fatal(err)
		}
	}
	n, err := d.Sweep()
	names, _ := d.Names()
	slices.Sort(names)
	want := []string{l.entry.ID + ".json", l.entry.ID + ".sock", ids["not ours"], ids["another suffix"], ids["a directory"], ids["a link"], ids["a FIFO"]}
	slices.Sort(want)
	if n != 5 || err != nil || !slices.Equal(names, want) {
		t.Errorf("%d swept, %v\nleft %q\nwant %q", n, err, names, want)
	}
	if _, err := os.Stat(secret); err != nil {
		t.Error(err)
	}
}

// TestUnwritable: what cannot be written is an error, and leaves nothing.
func TestUnwritable(t *testing.T) {
	path := private(t)
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() != 0 {
		os.Chmod(path, 0o500)
		defer os.Chmod(path, 0o700)
		if l, err := Register(entry("x"), &handler{}); err == nil {
			l.Close(Outcome{})
			t.Error("it is registered")
		} else if !errors.Is(err, os.ErrPermission) {
			t.Error(err)
		}
		return
	}
	// The same for root: a limit on the size of files, as a full disk is.
	checkLeaks(t)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 10, Max: was.Max}); err != nil {
		t.Fatal(err)
	}
	l, err := Register(entry("x"), &handler{})
	if rerr := unix.Setrlimit(unix.RLIMIT_FSIZE, &was); rerr != nil {
		t.Fatal(rerr)
	}
	if err == nil {
		l.Close(Outcome{})
		t.Fatal("it is registered")
	}
	if !errors.Is(err, unix.EFBIG) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(path); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestComplete: the end of a run is recorded where no file can be written, but in no
// more room than there is.
func TestComplete(t *testing.T) {
	d, err := OpenDir(private(t), os.Geteuid(), true)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	e := entry("x")
	e.Version, e.Owner.PID = Version, 1
	name := e.ID + runSuffix
	if err := d.WriteRoomy(name, &e); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(d.Path(), freshPrefix+name), 0o700); err != nil { // nor can it be
		t.Fatal(err)
	}
	e.Containment, e.Ended = "cgroup", &Ended{Time: time.Now(), Status: 143, Ending: "lifeline_lost", Signal: "SIGVTALRM"}
	if err := d.Complete(name, &e); err != nil {
		t.Fatal(err)
	}
	check := func() {
		t.Helper()
		if got, err := d.Read(name); err != nil || got.Ended == nil || got.Ended.Status != 143 || got.Containment != "cgroup" {
			t.Errorf("%+v, %v", got, err)
		}
	}
	check()
	e.Dir = strings.Repeat("x", 2*endRoom)
	if err := d.Complete(name, &e); err == nil {
		t.Error("it had the room")
	}
	check()
}

// crowd is a handler whose run has many members.
type crowd struct {
	handler
	members []Process
}

func (c *crowd) Look() (string, []Process, error) { return "running", c.members, nil }

// TestTooMuch: an owner says and writes no more than is read: what is left out is said,
// and the command lines go before the processes.
func TestTooMuch(t *testing.T) {
	path := private(t)
	for name, c := range map[string]struct {
		processes, words int
		commands, left   bool
	}{
		"little":         {3, 1, false, false},
		"command lines":  {5000, mostCommand, true, false},
		"many processes": {600_000, 1, true, true},
	} {
		t.Run(name, func(t *testing.T) {
			all := make([]Process, c.processes)
			for i := range all {
				all[i] = Process{PID: i + 1<<20, Start: 1 << 60, Command: []string{strings.Repeat("x", c.words)}}
			}
			l := register(t, &crowd{members: all})
			d := open(t, path)
			check := func(got []Process, left *LeftOut, most int) {
				t.Helper()
				if left == nil {
					left = new(LeftOut)
				}
				if len(got)+left.Processes != c.processes || (left.Commands > 0) != c.commands || (left.Processes > 0) != c.left {
					t.Errorf("%d processes, left out: %+v", len(got), left)
				}
				if size := len(got)*10 + (len(got)-left.Commands)*c.words; size > most {
					t.Errorf("at least %d bytes", size)
				}
			}
			reply, err := found(t, d, l.entry.ID).Ask(t.Context(), Request{Do: "look"})
			if err != nil {
				t.Fatal(err)
			}
			check(reply.Members, reply.LeftOut, mostReply)
			if err := l.Keep(all); err != nil {
				t.Fatal(err)
			}
			kept, err := d.Read(l.entry.ID + keptSuffix)
			if err != nil {
				t.Fatal(err)
			}
			check(kept.Kept, kept.LeftOut, mostFile)
			if err := l.Keep(nil); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestLongPath: where the path of a socket would be too long, there is one all the
// same on Linux, and a run without one elsewhere.
func TestLongPath(t *testing.T) {
	unhurried(t, &patience)
	dir := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", dir)
	l := register(t, &handler{})
	d := open(t, filepath.Join(dir, subdir))
	f := found(t, d, l.entry.ID)
	reply, err := f.Ask(context.Background(), Request{Do: "look"})
	if _, perr := d.openPath(); perr != nil {
		if !errors.Is(err, ErrNoControl) {
			t.Error(err)
		}
		return
	}
	if err != nil || reply.Phase != "running" {
		t.Errorf("%+v, %v", reply, err)
	}
}

// TestControl: each request is answered, by whom it is for.
func TestControl(t *testing.T) {
	path := private(t)
	checkLeaks(t)
	h := &handler{}
	l := register(t, h)
	f := found(t, open(t, path), l.entry.ID)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	reply, err := f.Ask(ctx, Request{Do: "look"})
	if err != nil || reply.Phase != "running" || len(reply.Members) != 1 || reply.Members[0].PID != 7 {
		t.Errorf("look: %+v, %v", reply, err)
	}
	if _, err := f.Ask(ctx, Request{Do: "signal", Signal: 10}); err != nil || !slices.Equal(h.signals, []int{10}) {
		t.Errorf("signal: %v, %v", h.signals, err)
	}
	if _, err := f.Ask(ctx, Request{Do: "signal"}); err == nil || err.Error() != "signal 0 is none" {
		t.Errorf("a signal that is refused: %v", err)
	}
	if _, err := f.Ask(ctx, Request{Do: "dance"}); err == nil || !strings.Contains(err.Error(), `"dance"`) {
		t.Errorf("another request: %v", err)
	}
	short, cut := context.WithCancel(ctx)
	cut()
	if _, err := f.Ask(short, Request{Do: "wait"}); !errors.Is(err, context.Canceled) {
		t.Errorf("a wait that is over before: %v", err)
	}
	type answer struct {
		Reply
		err error
	}
	answers := make(chan answer)
	for _, do := range []string{"wait", "stop", "wait"} {
		go func() {
			reply, err := f.Ask(ctx, Request{Do: do})
			answers <- answer{reply, err}
		}()
	}
	awaitWaiters(t, l.server, 3)
	l.Close(Outcome{ExitCode: 7, Ending: "stopped"})
	for range 3 {
		a := <-answers
		if a.err != nil || a.Outcome == nil || a.Outcome.ExitCode != 7 {
			t.Errorf("%+v", a)
		}
	}
	if h.stops != 1 {
		t.Errorf("%d stops", h.stops)
	}
	if _, err := f.Ask(ctx, Request{Do: "wait"}); !errors.Is(err, ErrNoAnswer) {
		t.Errorf("after the end: %v", err)
	}
}

// TestQuickStop: who stops a run learns how it ended, also if that is over before the
// owner gets to waiting for it.
func TestQuickStop(t *testing.T) {
	path := private(t)
	checkLeaks(t)
	h := &handler{}
	l := register(t, h)
	h.ends = func() { l.Close(Outcome{ExitCode: 7}) }
	reply, err := found(t, open(t, path), l.entry.ID).Ask(t.Context(), Request{Do: "stop"})
	if err != nil || reply.Outcome == nil || reply.Outcome.ExitCode != 7 {
		t.Errorf("%+v, %v", reply, err)
	}
}

// TestForkOfOwner: a process that has the owner's connections when the owner is gone
// holds nobody who waits.
func TestForkOfOwner(t *testing.T) {
	path := private(t)
	checkLeaks(t)
	l := register(t, &handler{})
	f := found(t, open(t, path), l.entry.ID)
	owner := exec.Command("cat")
	stdin, err := owner.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := proctree.Identify(owner.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	f.Owner.PID, f.Owner.Start = id.PID, id.Start // this process is the fork
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	answered := make(chan error)
	go func() {
		_, err := f.Ask(ctx, Request{Do: "wait"})
		answered <- err
	}()
	awaitWaiters(t, l.server, 1)
	stdin.Close()
	owner.Wait()
	if err := <-answered; !errors.Is(err, ErrNoAnswer) || ctx.Err() != nil {
		t.Errorf("it waited for what the owner had left: %v, %v", err, ctx.Err())
	}
}

// awaitWaiters waits until so many clients wait for the outcome.
func awaitWaiters(t *testing.T, s *server, n int) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		waiting := s.gate.Waiting()
		if waiting == n {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatalf("%d wait; want %d", waiting, n)
		}
	}
}

// TestHungClients: clients that say nothing, or do not read, keep nobody from the
// socket, and the run's end does not wait for them.
func TestHungClients(t *testing.T) {
	path := private(t)
	checkLeaks(t)
	l := register(t, &handler{})
	f := found(t, open(t, path), l.entry.ID)
	socket := filepath.Join(path, l.entry.ID+socketSuffix)
	var conns []net.Conn
	defer func() {
		for _, conn := range conns {
			conn.Close()
		}
	}()
	for i := range mostClients - 1 {
		conn, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
		if i%2 == 0 {
			fmt.Fprintf(conn, `{"v":1,"do":"wait"}`+"\n")
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := f.Ask(ctx, Request{Do: "look"}); err != nil {
		t.Error(err)
	}
	began := time.Now()
	l.Close(Outcome{})
	if took := time.Since(began); took > 30*time.Second { // they have more patience than that
		t.Errorf("the end took %v", took)
	}
}

// TestSilentClients: as many as are served at the same time, who say nothing, keep others
// from the socket for a moment only.
func TestSilentClients(t *testing.T) {
	path := private(t)
	l := register(t, &handler{})
	f := found(t, open(t, path), l.entry.ID)
	for range mostClients {
		conn, err := net.Dial("unix", filepath.Join(path, l.entry.ID+socketSuffix))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second) // less than they have otherwise
	defer cancel()
	if _, err := f.Ask(ctx, Request{Do: "look"}); err != nil {
		t.Error(err)
	}
}

// TestManyWait: those that wait for the outcome keep nobody from stopping the run, and
// all of them get it. There are only so many.
func TestManyWait(t *testing.T) {
	path := private(t)
	unhurried(t, &pressedPatience) // or one that has not run for a second is sent away
	checkLeaks(t)
	h := &handler{}
	l := register(t, h)
	f := found(t, open(t, path), l.entry.ID)
	const n = mostClients + 1
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	outcomes := make(chan error, n+1)
	ask := func(do string) {
		reply, err := f.Ask(ctx, Request{Do: do})
		if err == nil && (reply.Outcome == nil || reply.Outcome.ExitCode != 7) {
			err = fmt.Errorf("%s: %+v", do, reply)
		}
		outcomes <- err
	}
	for range n {
		go ask("wait")
	}
	awaitWaiters(t, l.server, n)
	if _, err := f.Ask(ctx, Request{Do: "look"}); err != nil {
		t.Errorf("look: %v", err)
	}
	go ask("stop")
	awaitWaiters(t, l.server, n+1)
	if h.mu.Lock(); h.stops != 1 {
		t.Errorf("%d stops", h.stops)
	}
	h.mu.Unlock()
	if why := mayNotWait(nil, mostWaiters); why != "1000 wait for it already" {
		t.Errorf("one too many: %q", why)
	}
	l.Close(Outcome{ExitCode: 7})
	for range n + 1 {
		if err := <-outcomes; err != nil {
			t.Error(err)
		}
	}
}

// TestForeignSocket: nothing is said to a socket that another user serves, whatever has
// led to it.
func TestForeignSocket(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root looks at the runs of others")
	}
	path := private(t)
	l := register(t, &handler{})
	f := found(t, open(t, path), l.entry.ID)
	const uid = 12345
	if err := os.Chown(path, uid, uid); err != nil {
		t.Fatal(err)
	}
	theirs, err := OpenDir(path, uid, false)
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	f.From = theirs
	if _, err := f.Ask(context.Background(), Request{Do: "stop"}); err == nil || !strings.Contains(err.Error(), "not served by user 12345, but by 0") {
		t.Errorf("%v", err)
	}
	if n := l.server.handler.(*handler).stops; n != 0 {
		t.Errorf("%d stops", n)
	}
}

// TestFewDescriptors: clients leave the owner the descriptors that it needs.
func TestFewDescriptors(t *testing.T) {
	path := private(t)
	l := register(t, &handler{})
	f := found(t, open(t, path), l.entry.ID)
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	few := was
	few.Cur = spareDescriptors
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	_, err := f.Ask(context.Background(), Request{Do: "look"})
	if rerr := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); rerr != nil {
		t.Fatal(rerr)
	}
	if err == nil || !strings.Contains(err.Error(), "too few descriptors") {
		t.Errorf("%v", err)
	}
	if _, err := f.Ask(context.Background(), Request{Do: "look"}); err != nil {
		t.Errorf("with more: %v", err)
	}
}

// TestSlowHandler: an owner whose look does not come to an end ends all the same.
func TestSlowHandler(t *testing.T) {
	path := private(t)
	h := &handler{hold: make(chan struct{})}
	l := register(t, h)
	f := found(t, open(t, path), l.entry.ID)
	asked := make(chan error)
	go func() {
		_, err := f.Ask(context.Background(), Request{Do: "look"})
		asked <- err
	}()
	awaitConn(t, l.server)
	l.Close(Outcome{})
	if err := <-asked; !errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
	close(h.hold)
	<-l.server.gate.Close(nil)
}

func awaitConn(t *testing.T, s *server) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(time.Millisecond) {
		if s.gate.Clients() > 0 {
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatal("nobody has connected")
		}
	}
}

// TestBadRequests: what is no request is answered in one line, or not at all.
func TestBadRequests(t *testing.T) {
	path := private(t)
	l := register(t, &handler{})
	for line, want := range map[string]string{
		"hello\n":                          "one line of JSON",
		`{"v":2,"do":"stop"}` + "\n":       "understands version 1 of requests, not 2",
		"[]\n":                             "one line of JSON",
		strings.Repeat("x", 2*mostRequest): "",
	} {
		conn, err := net.Dial("unix", filepath.Join(path, l.entry.ID+socketSuffix))
		if err != nil {
			t.Fatal(err)
		}
		conn.SetDeadline(time.Now().Add(time.Minute))
		fmt.Fprint(conn, line)
		said, _ := io.ReadAll(conn)
		conn.Close()
		if want == "" {
			if len(said) > 0 {
				t.Errorf("%.20q: %q", line, said)
			}
			continue
		}
		var r Reply
		if err := json.Unmarshal(said, &r); err != nil || !strings.Contains(r.Error, want) || r.Version != Version {
			t.Errorf("%.20q: %q", line, said)
		}
	}
}

func TestMayAsk(t *testing.T) {
	for _, c := range []struct {
		uid, owner int
		want       bool
	}{{1000, 1000, true}, {0, 1000, true}, {0, 0, true}, {1000, 0, false}, {1001, 1000, false}, {-1, 1000, false}} {
		if mayAsk(c.uid, c.owner) != c.want {
			t.Errorf("%+v", c)
		}
	}
}

// TestKept: those that were let go of are known while one of them lives, whatever
// became of the owner, and no longer.
func TestKept(t *testing.T) {
	path := private(t)
	sleeper := exec.Command("sleep", "60")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	reap := sync.OnceFunc(func() {
		sleeper.Process.Kill()
		sleeper.Wait()
	})
	defer reap()
	id, err := proctree.Identify(sleeper.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	l := register(t, &handler{})
	gone := Process{PID: id.PID, Start: id.Start + 1}
	if err := l.Keep([]Process{gone}); err != nil {
		t.Fatal(err)
	}
	// The run may be about to let go of others.
	if c := list(t, open(t, path)); len(c.Kept) != 0 || c.Removed != 0 {
		t.Errorf("while the run goes on: %+v", c)
	}
	if err := l.Keep([]Process{gone, {PID: id.PID, Start: id.Start, Command: []string{"sleep"}}}); err != nil {
		t.Fatal(err)
	}
	l.Close(Outcome{})
	d := open(t, path)
	c := list(t, d)
	if len(c.Runs) != 0 || len(c.Kept) != 1 || c.Kept[0].ID != l.entry.ID || len(c.Kept[0].Kept) != 1 || c.Kept[0].Kept[0].PID != id.PID {
		t.Errorf("%+v", c)
	}
	reap()
	if c := list(t, d); len(c.Kept) != 0 {
		t.Errorf("after its end: %+v", c.Kept)
	}
	if names, err := d.Names(); err != nil || len(names) != 0 {
		t.Errorf("left: %q, %v", names, err)
	}
}
