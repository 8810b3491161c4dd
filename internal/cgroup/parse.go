package cgroup

import (
	"bytes"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// candidates returns the directories that mountinfo promises for the cgroup of
// a process: at least one if there is no error.
func candidates(mountinfo, membership []byte) ([]string, error) {
	mounts := parseMounts(mountinfo)
	if len(mounts) == 0 {
		return nil, fmt.Errorf("%w: no cgroup2 file system is mounted", errors.ErrUnsupported)
	}
	cgroup, ok := parseMembership(membership)
	if !ok {
		return nil, fmt.Errorf("%w: the process is in no version 2 cgroup", errors.ErrUnsupported)
	}
	if cgroup == "/.." || strings.HasPrefix(cgroup, "/../") {
		return nil, fmt.Errorf("%w: %s is outside of the process's cgroup namespace", errors.ErrUnsupported, cgroup)
	}
	var dirs []string
	for _, m := range mounts {
		if dir, ok := m.dir(cgroup); ok {
			dirs = append(dirs, dir)
		}
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("%w: no mount shows %s", errors.ErrUnsupported, cgroup)
	}
	return dirs, nil
}

// mount is a mounted part of the version 2 hierarchy: the cgroup root is seen
// at the directory point. root is relative to the cgroup namespace of the reader.
type mount struct{ root, point string }

// dir returns the directory of cgroup, and false if m does not show it.
func (m mount) dir(cgroup string) (string, bool) {
	below, ok := strings.CutPrefix(cgroup, strings.TrimSuffix(m.root, "/"))
	if !ok || below != "" && below[0] != '/' {
		return "", false
	}
	return path.Join(m.point, below), true
}

// parseMounts finds the mounts of file system type cgroup2 in the content of
// /proc/PID/mountinfo: see proc_pid_mountinfo(5). Malformed lines are skipped.
func parseMounts(b []byte) []mount {
	const rootAt, pointAt = 3, 4
	var mounts []mount
	for line := range strings.Lines(string(b)) {
		// The number of fields before the dash varies. No field contains a space,
		// but other white space may be in one.
		before, after, _ := strings.Cut(line, " - ")
		fields := strings.Split(before, " ")
		if kind, _, _ := strings.Cut(after, " "); kind == "cgroup2" && len(fields) > pointAt {
			mounts = append(mounts, mount{unescape(fields[rootAt]), unescape(fields[pointAt])})
		}
	}
	return mounts
}

// unescape replaces what the kernel writes for blanks, newlines and
// backslashes in paths: a backslash and three octal digits.
func unescape(s string) string {
	var plain strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		plain.WriteString(before)
		if !found {
			return plain.String()
		}
		char, err := strconv.ParseUint(after[:min(3, len(after))], 8, 8)
		if err != nil || len(after) < 3 {
			plain.WriteByte('\\')
			s = after
			continue
		}
		plain.WriteByte(byte(char))
		s = after[3:]
	}
}

// parseMembership finds the version 2 cgroup in the content of
// /proc/PID/cgroup: see cgroups(7). It is false if there is none.
func parseMembership(b []byte) (string, bool) {
	for line := range strings.Lines(string(b)) {
		// Nothing is escaped here: the kernel refuses newlines in names.
		if cgroup, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "0::/"); ok {
			return "/" + cgroup, true
		}
	}
	return "", false
}

// status is the content of cgroup.events.
type status struct {
	populated bool // a live process is in the cgroup or below it
	frozen    bool
}

func parseEvents(b []byte) (status, error) {
	var now status
	seen := false
	for line := range strings.Lines(string(b)) {
		switch strings.TrimSuffix(line, "\n") {
		case "populated 0":
			seen = true
		case "populated 1":
			seen, now.populated = true, true
		case "frozen 1":
			now.frozen = true
		}
	}
	if !seen {
		return status{}, fmt.Errorf("malformed cgroup.events %q", b)
	}
	return now, nil
}

// parseProcs returns the PIDs in the content of cgroup.procs: in no order, and
// perhaps one twice. Processes that are not in the reader's PID namespace, which
// are listed as 0, are left out.
func parseProcs(b []byte) ([]int, error) {
	var pids []int
	for field := range bytes.FieldsSeq(b) {
		pid, err := strconv.ParseUint(string(field), 10, 31)
		if err != nil {
			return nil, fmt.Errorf("malformed cgroup.procs: %w", err)
		}
		if pid != 0 {
			pids = append(pids, int(pid))
		}
	}
	return pids, nil
}
