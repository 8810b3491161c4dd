// Package delegated divides the control group that a test is in, as a delegated one
// should be.
package delegated

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/hold/cgroups"
)

// Here moves all processes of the control group that this process is in to one in it,
// until the test ends, and returns its path, with which limits can be had. It skips
// the test where that is not possible. No other test must run meanwhile.
func Here(t testing.TB) (unit string) {
	t.Helper()
	path, err := cgroup.Own()
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	own, err := cgroup.Open(path)
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	t.Cleanup(func() { own.Close() })
	have, err := own.Available()
	if own.IsRoot() {
		have, err = own.HandedOn()
	}
	for _, name := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(have, name) {
			t.Skipf("SKIPPED: the control group %s does not have the controller %s, %v", path, name, err)
		}
	}
	if own.IsRoot() {
		return path
	}
	leaf, err := cgroup.Create(filepath.Join(path, "tests"))
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	t.Cleanup(func() {
		cgroups.GiveBack()
		undo(t, own, leaf)
	})
	moveAll(t, path, leaf.Path())
	if os.Geteuid() == 0 { // who else it belongs to shows
		if err := own.MarkDelegated(); err != nil {
			t.Fatal(err)
		}
	}
	return path
}

func undo(t testing.TB, own, leaf *cgroup.Dir) {
	handed, _ := own.HandedOn()
	for _, name := range handed {
		if err := os.WriteFile(filepath.Join(own.Path(), "cgroup.subtree_control"), []byte("-"+name), 0); err != nil {
			t.Error(err)
		}
	}
	moveAll(t, leaf.Path(), own.Path())
	if err := leaf.Remove(); err != nil {
		t.Error(err)
	}
	leaf.Close()
	unix.Removexattr(own.Path(), "user.delegate")
}

// moveAll moves all that are in the one directory to the other.
func moveAll(t testing.TB, from, to string) {
	t.Helper()
	for range 100 {
		b, err := os.ReadFile(filepath.Join(from, "cgroup.procs"))
		if err != nil {
			t.Fatal(err)
		}
		pids := strings.Fields(string(b))
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			if n, err := strconv.Atoi(pid); err != nil || n == 0 {
				t.Fatalf("in %s is process %q", from, pid)
			}
			os.WriteFile(filepath.Join(to, "cgroup.procs"), []byte(pid), 0) // it may be gone
		}
	}
	t.Fatalf("there are always more processes in %s", from)
}
