//go:build amd64 || arm64

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// protectCgroups makes every cgroup file system read-only, for this thread and for
// what it starts.
func protectCgroups() error {
	mounts, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare the mounts: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mounts private: %w", err)
	}
	for _, m := range cgroupMounts(string(mounts)) {
		// With MS_BIND the mount changes, not the file system that others share.
		err := unix.Mount("", m.target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY|m.flags, "")
		if err != nil && !errors.Is(err, unix.ENOENT) { // another mount hides it
			return fmt.Errorf("remount %s: %w", m.target, err)
		}
	}
	return nil
}

type mount struct {
	target string
	flags  uintptr // a remount has to keep them
}

// cgroupMounts returns the cgroup file systems, of both versions, in the text of a
// mountinfo file; see proc_pid_mountinfo(5).
func cgroupMounts(mountinfo string) []mount {
	var found []mount
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		fields := strings.Fields(before)
		kind, _, _ := strings.Cut(after, " ")
		if !ok || len(fields) < 6 || kind != "cgroup" && kind != "cgroup2" {
			continue
		}
		m := mount{target: unescape.Replace(fields[4])}
		for option := range strings.SplitSeq(fields[5], ",") {
			m.flags |= mountFlags[option]
		}
		found = append(found, m)
	}
	return found
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

var mountFlags = map[string]uintptr{
	"nosuid":     unix.MS_NOSUID,
	"nodev":      unix.MS_NODEV,
	"noexec":     unix.MS_NOEXEC,
	"noatime":    unix.MS_NOATIME,
	"nodiratime": unix.MS_NODIRATIME,
	"relatime":   unix.MS_RELATIME,
}
