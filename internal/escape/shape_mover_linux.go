package escape

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// It is not in the control group that a containment made for the tree, and nothing
// else ties it to that.
var _ = add(Child{
	Name: "mover",
	Doc: `a "moved", which has made a control group beside its own one, or at the top, and has gone there; ` +
		`it is in another session, and its parent is gone`,
	Members: 2,
	needs:   canMove,
}, parts{
	"leader": func(p *process) {
		p.waitFor(p.member("moved-parent", &syscall.SysProcAttr{Setsid: true}, nil))
		p.lead()
	},
	"moved-parent": func(p *process) { p.member("moved", nil, nil) },
	"moved": func(p *process) {
		if err := moveAside(os.Getpid(), p.willMake); err != nil {
			p.fail(err)
		}
		p.named(os.Getpid(), "moved")
		p.stay()
	},
})

// moveAside moves a process to a control group of its own, beside the one of this
// process. It calls tell with a directory before it makes it.
func moveAside(pid int, tell func(dir string)) error {
	parents, err := cgroupParents()
	if err != nil {
		return err
	}
	var errs []error
	for _, parent := range parents {
		// In another PID namespace another process may have the same PID.
		dir := filepath.Join(parent, fmt.Sprintf("corral-escape-%d-%d", pid, time.Now().UnixNano()))
		tell(dir)
		err := os.Mkdir(dir, 0o755)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0)
		}
		if err == nil {
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// cgroupParents returns the directories in which there may be a control group
// beside the one of this process: its parent, unless it has none, and the top.
func cgroupParents() ([]string, error) {
	top, root, err := cgroupMount()
	if err != nil {
		return nil, err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(groups)) {
		own, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::")
		if !ok {
			continue
		}
		below, err := filepath.Rel(root, own)
		if err != nil || below == "." || !filepath.IsLocal(below) || filepath.Dir(below) == "." {
			return []string{top}, nil
		}
		return []string{filepath.Join(top, filepath.Dir(below)), top}, nil
	}
	return nil, errors.New("this process is in no control group of version 2")
}

// cgroupMount returns where control groups of version 2 are mounted, and which
// group is at the top there.
func cgroupMount() (top, root string, err error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", "", err
	}
	for line := range strings.Lines(string(mounts)) {
		// See proc_pid_mountinfo(5).
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		if strings.HasPrefix(after, "cgroup2 ") && len(fields) >= 5 {
			return fields[4], fields[3], nil
		}
	}
	return "", "", fmt.Errorf("cgroup2 is not mounted: %w", fs.ErrNotExist)
}

// canMove tries to move a process that only sleeps.
var canMove = sync.OnceValue(func() error {
	var dirs []string
	err := try(nil, func(pid int) error {
		return moveAside(pid, func(dir string) { dirs = append(dirs, dir) })
	})
	for _, dir := range dirs {
		if rmErr := os.Remove(dir); !errors.Is(rmErr, fs.ErrNotExist) {
			err = errors.Join(err, rmErr)
		}
	}
	return err
})
