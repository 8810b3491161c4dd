package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// How long a trial waits for members to go. If there is nobody left in the namespaces
// but members, nobody is left to stop them either, unless one of them has a signal to
// come or is ending.
var patience = 8 * time.Second

const echo = 500 * time.Millisecond

// left waits until no member is left, and kills and returns those that stay: their
// roles.
func (s *subject) left() ([]string, error) {
	deadline := time.Now().Add(patience)
	var alone time.Time // since when there are only members
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		gone := s.probe.Gone(ctx) == nil
		cancel()
		seen, err := s.look()
		if err != nil {
			return nil, err
		}
		switch now := time.Now(); {
		case gone && len(seen.members) == 0:
			return nil, nil
		// Without a member, what holds the pipe is a process that is ending, or the news
		// that none does has not been read yet.
		case seen.others > 0, len(seen.members) == 0, slices.ContainsFunc(seen.members, isEnding):
			alone = time.Time{}
		case alone.IsZero():
			alone = now
		}
		if time.Now().Before(deadline) && (alone.IsZero() || time.Since(alone) < echo) {
			time.Sleep(25 * time.Millisecond) // a look takes processor time, and Gone may return at once
			continue
		}
		return seen.end()
	}
}

// seen is what is alive in the namespaces.
type seen struct {
	members []proctree.Process
	roles   []string // of the members
	others  int      // the peer and its helpers
}

func (s *subject) look() (seen, error) {
	var found seen
	table, err := proctree.Snapshot()
	if err != nil {
		return found, err
	}
	known := make(map[proctree.ID]string)
	for _, m := range append(s.probe.Survivors(), s.members...) {
		known[m.ID] = m.Role
	}
	for _, row := range table {
		if row.PID == 1 || row.PID == os.Getpid() || !row.Alive() {
			continue
		}
		if role := roleOf(row, known); role != "" {
			found.members, found.roles = append(found.members, row), append(found.roles, role)
		} else {
			found.others++
		}
	}
	return found, nil
}

// roleOf returns the role of a member, "" for another process. A member says who it is
// by the PID that it has in its own namespace.
func roleOf(row proctree.Process, known map[proctree.ID]string) string {
	for _, pid := range append(innerPIDs(row.PID), row.PID) {
		id := row.ID
		id.PID = pid
		if role := known[id]; role != "" {
			return role
		}
	}
	return ""
}

// innerPIDs returns the PIDs of a process in all namespaces that it is in. One that has
// ended has none.
func innerPIDs(pid int) (pids []int) {
	for _, field := range strings.Fields(statusOf(pid)["NSpid"]) {
		if n, err := strconv.Atoi(field); err == nil {
			pids = append(pids, n)
		}
	}
	return pids
}

// statusOf returns what /proc says of a process that has not ended
// (proc_pid_status(5)).
func statusOf(pid int) map[string]string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	status := make(map[string]string)
	for line := range strings.Lines(string(b)) {
		name, value, _ := strings.Cut(line, ":")
		status[name] = strings.TrimSpace(value)
	}
	return status
}

// isEnding says that a signal is on its way to a process, or that the process is in
// exit(2). On a busy machine it may be seconds before it runs.
func isEnding(p proctree.Process) bool {
	status := statusOf(p.PID)
	signals := func(name string) uint64 {
		set, _ := strconv.ParseUint(status[name], 16, 64)
		return set
	}
	if (signals("SigPnd")|signals("ShdPnd"))&^(signals("SigBlk")|signals("SigIgn")) != 0 {
		return true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH)
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])) // from the state on
	const exiting = 0x4                                                 // PF_EXITING
	flags, err := strconv.ParseUint(fields[6], 10, 64)
	return err == nil && flags&exiting != 0
}

// end kills the members that are left and returns their roles. The Probe knows only
// those in this namespace.
func (found seen) end() ([]string, error) {
	var errs []error
	for _, m := range found.members {
		h, err := proctree.Open(m.ID)
		if err == nil {
			err = h.Signal(os.Kill)
			h.Close()
		}
		if err != nil && !errors.Is(err, proctree.ErrGone) {
			errs = append(errs, err)
		}
	}
	if len(found.roles) == 0 {
		found.roles = []string{"a process that nobody has reported"}
	}
	slices.Sort(found.roles)
	return slices.Compact(found.roles), errors.Join(errs...)
}
