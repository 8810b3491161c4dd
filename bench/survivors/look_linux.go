package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// How long a trial waits for members to go. If there is nobody left in the namespaces
// but members, nobody is left to stop them either; then only a signal that has been
// sent already is waited for.
const (
	patience = 8 * time.Second
	echo     = 500 * time.Millisecond
)

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
		case seen.others > 0:
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

// innerPIDs returns the PIDs of a process in all namespaces that it is in
// (proc_pid_status(5), NSpid). One that has ended has none.
func innerPIDs(pid int) (pids []int) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, value, _ := strings.Cut(lines.Text(), ":"); name == "NSpid" {
			for _, field := range strings.Fields(value) {
				if n, err := strconv.Atoi(field); err == nil {
					pids = append(pids, n)
				}
			}
		}
	}
	return pids
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
