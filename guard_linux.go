package corral

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/proctree"
)

// The guard is one process for all runs that an owner has in control groups,
// which are still there when the owner is not. It knows one directory and waits
// for the end of its line; then it stops what is in the directory, each run by
// its own plan, and removes it. It does the same, at its start, for the
// directories that have lost owner and guard.
//
// It lives in the directory itself, and in a session of its own, so that no terminal and no kill of the owner's
// group reaches it.

func guardMain(owner ownerProcess) {
	readyToStop()
	proctree.KeepOpen() // without /proc there is less to see, and all the same to kill
	const homeFD = 3
	unix.CloseOnExec(homeFD)
	closeInherited()
	os.Chdir("/")
	home := cgroup.FromFD(homeFD, os.Args[1])
	var sweeping sync.WaitGroup
	sweeping.Go(func() { sweep(home.Path()) })
	owner.await(0)
	leave(home)
	clear(home)
	sweeping.Wait()
}

// leave goes back to the owner's own control group: what is left in home then
// is to be stopped.
func leave(home *cgroup.Dir) {
	os.WriteFile(filepath.Join(filepath.Dir(home.Path()), "cgroup.procs"), []byte("0"), 0)
}

// sweep clears the directories beside home that nobody has a lock on.
func sweep(home string) {
	parent := filepath.Dir(home)
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	var clearing sync.WaitGroup
	for _, entry := range entries {
		path := filepath.Join(parent, entry.Name())
		if !entry.IsDir() || path == home || !isHome(entry.Name()) {
			continue
		}
		clearing.Go(func() {
			dir, err := cgroup.Open(path)
			if err != nil {
				return
			}
			defer dir.Close()
			if locked, err := dir.Lock(); err == nil && locked {
				clear(dir)
			}
		})
	}
	clearing.Wait()
}

// isHome reports whether a directory has a name that pens.settle gives.
func isHome(name string) bool {
	numbers, ok := strings.CutPrefix(name, homePrefix)
	return ok && len(numbers) > 2 && strings.Count(numbers, "-") > 0 && strings.Trim(numbers, "-0123456789") == ""
}

// clear stops the runs in home and removes it.
func clear(home *cgroup.Dir) {
	entries, _ := os.ReadDir(home.Path())
	var stopping sync.WaitGroup
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		stopping.Go(func() {
			dir, err := cgroup.Open(filepath.Join(home.Path(), entry.Name()))
			if err != nil {
				return
			}
			defer dir.Close()
			stopper := newStopper(cgroupMembers{dir}, planOf(entry.Name()), 0, slog.New(slog.DiscardHandler))
			stopper.silent = true
			stopper.run()
		})
	}
	stopping.Wait()
	home.Kill() // who is in home itself is none of its runs, but came from one
	home.Remove()
}
