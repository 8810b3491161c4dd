package holders

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/corral-run/corral/internal/files"
	"github.com/corral-run/corral/internal/proctree"
)

// End names an open file as /proc does: a pipe, whichever end of it, or a terminal.
type End struct {
	link string
	info os.FileInfo
}

// EndOf returns the name of f. If f has none, Of finds nobody.
func EndOf(f *os.File) (e End) {
	files.WithFD(f, func(fd int) (err error) {
		e.link, err = os.Readlink("/proc/self/fd/" + strconv.Itoa(fd))
		return err
	})
	e.info, _ = f.Stat()
	return e
}

// Of returns the processes that can write to one of the ends, other than this one,
// as far as this process may see their descriptors (proc(5), /proc/pid/fd): not
// those of other users.
func Of(ends []End) []proctree.Process {
	ends = slices.DeleteFunc(ends, func(e End) bool { return e.link == "" || e.info == nil })
	if len(ends) == 0 {
		return nil
	}
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	var found []proctree.Process
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() || !holds(pid, ends) {
			continue
		}
		if row, err := proctree.Lookup(pid); err == nil {
			found = append(found, row)
		}
	}
	return found
}

// holds reports whether the process can write to one of the ends.
func holds(pid int, ends []End) bool {
	dir := filepath.Join("/proc", strconv.Itoa(pid))
	fds, err := os.ReadDir(filepath.Join(dir, "fd"))
	if err != nil {
		return false
	}
	for _, fd := range fds {
		path := filepath.Join(dir, "fd", fd.Name())
		link, err := os.Readlink(path)
		if err != nil {
			continue
		}
		for _, e := range ends {
			if link != e.link {
				continue // do not stat what may take long, such as a file on a network
			}
			info, err := os.Stat(path)
			if err == nil && os.SameFile(info, e.info) && writable(filepath.Join(dir, "fdinfo", fd.Name())) {
				return true
			}
		}
	}
	return false
}

// writable reports whether an fdinfo file has flags of open(2) that allow writes.
func writable(fdinfo string) bool {
	text, err := os.ReadFile(fdinfo)
	if err != nil {
		return false
	}
	for line := range bytes.Lines(text) {
		if octal, ok := bytes.CutPrefix(line, []byte("flags:")); ok {
			flags, err := strconv.ParseUint(string(bytes.TrimSpace(octal)), 8, 64)
			return err == nil && flags&(uint64(os.O_WRONLY)|uint64(os.O_RDWR)) != 0
		}
	}
	return false
}
