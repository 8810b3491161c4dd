package proctree

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/leak"
	"github.com/corral-run/corral/internal/winetest"
)

// roles are the functions that the test binary runs, instead of the tests, if
// it is started again by a test. They must end by themselves at the end of
// standard input.
var roles = map[string]func(){
	"idle": func() {
		ready()
		io.Copy(io.Discard, os.Stdin)
	},
}

const roleVariable = "PROCTREE_TEST_ROLE"

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		time.AfterFunc(60*time.Second, func() { os.Exit(99) })
		roles[role]()
		os.Exit(0)
	}
	before := leak.Now()
	code := m.Run()
	if err := leak.Since(before); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// ready tells the test that the role has come so far.
func ready() {
	fmt.Println("ready")
	os.Stdout.Close()
}

// A child is this test binary in a role. It ends when its input is closed, at
// the latest with the test.
type child struct {
	*exec.Cmd
	id    ID
	input io.Closer
}

// start starts a child and returns when it is ready.
func start(t *testing.T, role string, change ...func(*exec.Cmd)) *child {
	t.Helper()
	if roles[role] == nil {
		t.Fatalf("no role %s", role)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "the role", role)
	cmd.Env = append(os.Environ(), roleVariable+"="+role, "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	for _, f := range change {
		f(cmd)
	}
	input, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{Cmd: cmd, input: input}
	t.Cleanup(c.end)
	said, err := io.ReadAll(output)
	if err != nil || strings.TrimSpace(string(said)) != "ready" {
		t.Fatalf("role %s said %q, error %v", role, said, err)
	}
	if c.id, err = Identify(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	return c
}

// end ends the child and reaps it.
func (c *child) end() {
	c.input.Close()
	c.Cmd.Wait()
}

func open(t *testing.T, id ID) *Handle {
	t.Helper()
	h, err := Open(id)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

func find(t *testing.T, pid int) Process {
	t.Helper()
	table, err := Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(table, func(a, b Process) int { return a.PID - b.PID }) {
		t.Error("not sorted")
	}
	i := slices.IndexFunc(table, func(p Process) bool { return p.PID == pid })
	if i < 0 {
		t.Fatalf("process %d is not among %d", pid, len(table))
	}
	return table[i]
}

func TestSnapshot(t *testing.T) {
	before := time.Now().Add(-time.Second) // clock ticks are coarse
	c := start(t, "idle")
	p := find(t, c.Process.Pid)
	selfArgs := os.Args
	if winetest.Detected() { // which tells no command lines in version 8.0
		c.Args, selfArgs = nil, nil
	}
	if p.ID != c.id || p.PPID != os.Getpid() || !slices.Equal(p.Args, c.Args) || !p.Alive() {
		t.Errorf("got %+v, want %v with parent %d and arguments %q", p, c.id, os.Getpid(), c.Args)
	}
	if p.Started.Before(before) || p.Started.After(time.Now().Add(time.Second)) {
		t.Errorf("started %v, not after %v", p.Started, before)
	}
	self := find(t, os.Getpid())
	if self.PPID != os.Getppid() || !slices.Equal(self.Args, selfArgs) || self.Name == "" || self.User == "" {
		t.Errorf("got %+v of the test itself", self)
	}
	if self.User != p.User {
		t.Errorf("the child's user is %s, not %s", p.User, self.User)
	}
	alone, err := Lookup(c.Process.Pid)
	if err != nil || alone.ID != p.ID || alone.PPID != p.PPID || !slices.Equal(alone.Args, p.Args) || alone.User != p.User {
		t.Errorf("Lookup: got %+v, error %v, want %+v", alone, err, p)
	}
	if kids := Children([]Process{self, p}, os.Getpid()); len(kids) != 1 || kids[0].ID != p.ID {
		t.Errorf("children of the test: %+v", kids)
	}
	bare := alone
	bare.Args, bare.User, bare.RSS = nil, "", 0
	if full := Detail(bare); !slices.Equal(full.Args, p.Args) || full.User != p.User {
		t.Errorf("Detail: got %+v", full)
	}
	bare.Start++
	if other := Detail(bare); other.Args != nil || other.User != "" {
		t.Errorf("Detail of an earlier process: got %+v", other)
	}
}

func TestLiveAndSame(t *testing.T) {
	c := start(t, "idle")
	if p, ok := Live(c.id); !ok || p.ID != c.id || p.PPID != os.Getpid() {
		t.Errorf("Live: %+v, %v", p, ok)
	}
	if !Same(c.id) {
		t.Error("not the Same")
	}
	earlier := ID{c.id.PID, c.id.Start - 1}
	if p, ok := Live(earlier); ok || p.PID != 0 {
		t.Errorf("Live of an earlier process: %+v, %v", p, ok)
	}
	if Same(earlier) {
		t.Error("the Same as an earlier process")
	}
	c.end()
	if p, ok := Live(c.id); ok || p.PID != 0 {
		t.Errorf("Live of one that has been reaped: %+v, %v", p, ok)
	}
	if Same(c.id) {
		t.Error("the Same as one that has been reaped")
	}
}

func TestCommand(t *testing.T) {
	p := Process{Name: "sh"}
	if got := p.Command(); !slices.Equal(got, []string{"[sh]"}) {
		t.Errorf("without arguments: %q", got)
	}
	p.Args = []string{"/bin/sh", "-c", ""}
	if got := p.Command(); !slices.Equal(got, p.Args) {
		t.Errorf("with arguments: %q", got)
	}
}

func TestGone(t *testing.T) {
	c := start(t, "idle")
	c.end()
	tooLong := int64(c.Process.Pid) | 1<<40 // where an int has so many bits
	for _, pid := range []int{c.Process.Pid, 0, -1, -c.Process.Pid, int(tooLong)} {
		id := ID{PID: pid, Start: c.id.Start}
		if _, err := Lookup(pid); !errors.Is(err, ErrGone) {
			t.Errorf("Lookup(%d): error %v", pid, err)
		}
		if _, err := Identify(pid); !errors.Is(err, ErrGone) {
			t.Errorf("Identify(%d): error %v", pid, err)
		}
		h, err := Open(id)
		if err == nil { // on Windows, as long as anybody has a handle to it
			err = h.Signal(os.Kill)
			h.Close()
		}
		if !errors.Is(err, ErrGone) {
			t.Errorf("Open(%v): error %v", id, err)
		}
		w, err := NewWatch()
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := w.Add(id); ok || !errors.Is(err, ErrGone) || w.Len() != 0 {
			t.Errorf("Add(%v): %v, error %v", id, ok, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDescendants(t *testing.T) {
	row := func(pid, ppid int, start uint64) Process {
		return Process{ID: ID{pid, start}, PPID: ppid}
	}
	pids := func(table []Process) (pids []int) {
		for _, p := range table {
			pids = append(pids, p.PID)
		}
		return pids
	}
	table := []Process{
		row(1, 0, 5), row(2, 1, 10), row(3, 2, 10), row(4, 3, 30), row(5, 2, 30), row(6, 1, 40),
		row(7, 7, 50),                // its own parent
		row(8, 9, 60), row(9, 8, 60), // each other's
		row(11, 99, 70), // its parent is not in the table
	}
	for _, test := range []struct {
		roots []int
		want  []int
	}{
		{nil, nil},
		{[]int{4}, nil},
		{[]int{2}, []int{3, 5, 4}},
		{[]int{3, 2}, []int{4, 5}},
		{[]int{2, 2}, []int{3, 5, 4}},
		{[]int{1}, []int{2, 6, 3, 5, 4}},
		{[]int{7}, nil},
		{[]int{8}, []int{9}},
		{[]int{99}, []int{11}},
		{[]int{12345}, nil},
	} {
		if got := pids(Descendants(table, test.roots...)); !slices.Equal(got, test.want) {
			t.Errorf("Descendants(%v) = %v, want %v", test.roots, got, test.want)
		}
	}
	if got, want := pids(Children(table, 2)), []int{3, 5}; !slices.Equal(got, want) {
		t.Errorf("Children(2) = %v, want %v", got, want)
	}
	// 3 has taken over the PID of the parent of 4.
	table[2].Start = 35
	want := []int{3, 5, 4}
	if parentRecycled {
		want = []int{3, 5}
	}
	if got := pids(Descendants(table, 2)); !slices.Equal(got, want) {
		t.Errorf("Descendants(2) = %v, want %v", got, want)
	}
}

// TestVerified: the PID of a process that ends while its row is about to be read
// goes to another one, which is not listed.
func TestVerified(t *testing.T) {
	table := map[int]Process{
		7: {ID: ID{PID: 7, Start: 30}}, 8: {ID: ID{PID: 8, Start: 10}}, 9: {ID: ID{PID: 9, Start: 20}},
	}
	listed := []int{7, 8, 9, 10}
	list := func() ([]int, error) { return slices.Clone(listed), nil }
	failed := error(nil)
	row := func(pid int) (Process, error) {
		if pid == 8 {
			listed = []int{7, 9, 10, 11}
		}
		p, ok := table[pid]
		switch {
		case failed != nil:
			return p, failed
		case pid == 10:
			return p, os.ErrPermission
		case !ok:
			return p, ErrGone
		}
		return p, nil
	}
	rows, err := verified(list, row)
	if err != nil || len(rows) != 2 || rows[0].PID != 9 || rows[1].PID != 7 {
		t.Errorf("%v, %v", rows, err)
	}
	failed = errors.ErrUnsupported
	if rows, err := verified(list, row); err != failed || rows != nil {
		t.Errorf("%v, %v", rows, err)
	}
}

// The processor time of a process grows as that process works, where it is known.
func TestCPU(t *testing.T) {
	before, err := Lookup(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !before.CPUKnown {
		if before.CPU != 0 {
			t.Errorf("%v, and it is not known", before.CPU)
		}
		t.Skip("SKIPPED: this system does not tell")
	}
	work := uint64(0)
	for deadline := time.Now().Add(30 * time.Second); ; {
		for range 1 << 20 {
			work = work*6364136223846793005 + 1
		}
		now, err := Lookup(os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		if now.CPU >= before.CPU+50*time.Millisecond {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%v after %v, of %d", now.CPU, before.CPU, work)
		}
	}
	table, err := Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range table {
		if p.PID == os.Getpid() && (!p.CPUKnown || p.CPU <= before.CPU) {
			t.Errorf("%v in the table, which was %v", p.CPU, before.CPU)
		}
	}
}
