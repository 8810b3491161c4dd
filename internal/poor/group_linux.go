package poor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

// GroupParent is the directory of this process's control group of version 1 that
// limits processes, for NewGroup.
var GroupParent = sync.OnceValues(func() (string, error) {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		fields, of := strings.Fields(before), strings.Fields(after)
		if len(fields) < 5 || len(of) < 3 || of[0] != "cgroup" || !slices.Contains(strings.Split(of[2], ","), "pids") {
			continue
		}
		for group := range strings.Lines(string(groups)) {
			parts := strings.SplitN(strings.TrimSpace(group), ":", 3)
			if len(parts) == 3 && slices.Contains(strings.Split(parts[1], ","), "pids") {
				below, err := filepath.Rel(fields[3], parts[2])
				return filepath.Join(fields[4], below), err
			}
		}
	}
	return "", errors.New("there is no control group of version 1 for the number of processes")
})
