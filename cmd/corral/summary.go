//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/corral-run/corral"
)

// summary is the line about how a run ended, and what became of the processes
// besides the command; empty if there is nothing to say.
func summary(r *corral.Report, timeout time.Duration) string {
	var parts []string
	if ranOut(r) {
		part := fmt.Sprintf("timed out after %v", timeout)
		if r.Ending == corral.Idle {
			part = strings.TrimPrefix(r.Cause, "corral: ")
		}
		if r.Forced {
			part += " and had to be killed"
		}
		parts = append(parts, part)
	}
	if r.Ending == corral.OutOfMemory {
		parts = append(parts, "out of memory: "+r.Cause)
	}
	if r.KeeperLost {
		parts = append(parts, "the keeper was killed")
	}
	if r.Ending == corral.LifelineLost {
		parts = append(parts, "lifeline lost: "+string(r.Lifeline))
	}
	kind := "leftover"
	if r.Ending != corral.Exited {
		kind = "more" // not left over: the command did not get to its end
	}
	// A part for each fate shows which process had which.
	for _, f := range []struct {
		fate corral.Fate
		line string
		kind string
	}{
		{corral.Signalled, "stopped %s: %s", kind},
		{corral.Forced, "stopped %s by force: %s", kind},
		{corral.Ended, "waited for %s that may not be stopped: %s", ""},
		{corral.Kept, "left %s running: %s", ""},
		{corral.Detached, "%s detached: %s", ""},
		{corral.Survived, "could not stop %s: %s", ""},
	} {
		these := slices.DeleteFunc(slices.Clone(r.Leftovers), func(l corral.Leftover) bool { return l.Fate != f.fate })
		if len(these) > 0 {
			parts = append(parts, fmt.Sprintf(f.line, processes(len(these), f.kind), namesOf(these)))
		}
	}
	return strings.Join(parts, "; ")
}

// sayWeaker says that the run had a weaker containment than the machine should have
// for it. What takes privileges, or a feature that the kernel lacks, is nothing
// unusual.
func sayWeaker(say func(format string, args ...any), r *corral.Report) {
	for _, d := range r.Declined {
		if !isUsual(d) {
			reason := strings.TrimPrefix(d.Reason, string(d.Containment)+": ")
			say("%s containment only, as %s does not work: %s", r.Containment, d.Containment, reason)
		}
	}
}

func isUsual(d corral.Declined) bool {
	if strings.HasPrefix(d.Reason, autoVariable+"=") {
		return true // it has been asked for
	}
	if d.Containment != corral.Cgroup && d.Containment != corral.PIDNS {
		return false
	}
	return slices.ContainsFunc([]error{errors.ErrUnsupported, syscall.EACCES, syscall.EPERM, syscall.EROFS, syscall.ENOSYS}, func(err error) bool {
		return strings.Contains(d.Reason, err.Error())
	})
}

func processes(n int, kind string) string {
	noun := "process"
	if n > 1 {
		noun = "processes"
	}
	if kind != "" {
		noun = kind + " " + noun
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// namesOf names five leftovers at most, and counts the others.
func namesOf(leftovers []corral.Leftover) string {
	const most = 5
	var all []string
	for _, l := range leftovers {
		pid := fmt.Sprintf("pid %d", l.PID)
		if l.Reason != "" {
			pid += ": " + l.Reason
		}
		all = append(all, fmt.Sprintf("%s (%s)", commandOf(l.Process), pid))
	}
	if more := len(all) - most; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), more)
	}
	return strings.Join(all, ", ")
}

func commandOf(p corral.Process) string {
	return shorten(printable(strings.Join(p.Command, " ")), 60)
}

// heldBy names who holds the output, as far as that is known.
func heldBy(holders []corral.Process) string {
	var all []corral.Leftover
	for _, p := range holders {
		all = append(all, corral.Leftover{Process: p})
	}
	if len(all) == 0 {
		return ""
	}
	return " by " + namesOf(all)
}
