package poor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// GroupParent is the directory of the control group of version 1 in which this
// process is, of the controller that limits processes. It is for NewGroup.
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

// NewGroup makes the control group for FewProcesses below parent. remove waits
// until the group is empty.
func (m *Machine) NewGroup(parent string) (remove func() error, err error) {
	m.Group = filepath.Join(parent, fmt.Sprintf("corral-poor-%d-%d", os.Getpid(), time.Now().UnixNano()))
	if err := os.Mkdir(m.Group, 0o755); err != nil {
		return nil, err
	}
	err = os.WriteFile(filepath.Join(m.Group, "pids.max"), []byte(strconv.Itoa(m.Number)), 0)
	return func() error {
		err := os.Remove(m.Group)
		for began := time.Now(); errors.Is(err, unix.EBUSY) && time.Since(began) < 10*time.Second; {
			time.Sleep(time.Millisecond)
			err = os.Remove(m.Group)
		}
		return err
	}, err
}
