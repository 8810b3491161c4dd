package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// perRun compares what runs take in an owner with what they take in an owner that
// uses os/exec.
func perRun(o owner, rounds int) (result, error) {
	var ours, theirs []usage
	peer := o
	peer.Containment = ""
	for range rounds {
		var a, b usage
		if err := errors.Join(peer.ask("owner:many", &a), o.ask("owner:many", &b)); err != nil {
			return result{}, err
		}
		theirs, ours = append(theirs, a), append(ours, b)
	}
	memory := func(all []usage, q float64) float64 {
		var values []float64
		for _, u := range all {
			values = append(values, u.Memory/1024)
		}
		return quantile(values, q)
	}
	said := func(all []usage) string {
		return fmt.Sprintf("%.1f KiB; %.2f; %.2f", memory(all, 0.5), all[0].Descriptors, all[0].Goroutines)
	}
	return result{
		reached: said(ours),
		spread:  fmt.Sprintf("%.1f to %.1f KiB", memory(ours, 0), memory(ours, 1)),
		peer:    osExec + ": " + said(theirs),
	}, nil
}

// idling counts context switches of owner and helper while nothing happens: a
// thread that makes a system call has to be given a processor first.
func idling(o owner, idle time.Duration) (result, error) {
	cmd, t, err := o.hold()
	if err != nil {
		return result{}, err
	}
	defer cmd.Wait()
	defer t.close()
	helpers, err := helpersOf(cmd.Process.Pid)
	if err != nil {
		return result{}, err
	}
	more, err := idleSwitches(append(helpers, cmd.Process.Pid), idle)
	return result{reached: strconv.Itoa(more)}, err
}

// helpersOf returns the keepers, or the guard, of an owner.
func helpersOf(pid int) ([]int, error) {
	children, err := proctree.ChildPIDs(pid)
	if err != nil {
		return nil, err
	}
	var helpers []int
	for _, child := range children {
		p, err := proctree.Lookup(child)
		if err != nil {
			return nil, err
		}
		if len(p.Args) > 0 && strings.HasPrefix(p.Args[0], "corral-") {
			helpers = append(helpers, child)
		}
	}
	return helpers, nil
}

// switches returns how often a thread of the processes has been given a processor.
func switches(pids []int) (sum int, err error) {
	err = eachThread(pids, "status", func(status string) {
		for line := range strings.Lines(status) {
			if name, count, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "ctxt_switches") {
				n, _ := strconv.Atoi(strings.TrimSpace(count))
				sum += n
			}
		}
	})
	return sum, err
}

// idleSwitches returns how often threads of the processes are given a processor in
// a time when nothing happens. A runtime that has just started has this and that to
// do, so the first such time with none counts, or the last one within a minute.
func idleSwitches(pids []int, idle time.Duration) (more int, err error) {
	deadline := time.Now().Add(time.Minute)
	before, err := switches(pids)
	for err == nil {
		time.Sleep(idle)
		var after int
		if after, err = switches(pids); err == nil && (after == before || time.Now().After(deadline)) {
			return after - before, nil
		}
		before = after
	}
	return 0, err
}

// eachThread reads a file of each thread: proc_pid_task(5).
func eachThread(pids []int, file string, f func(string)) error {
	for _, pid := range pids {
		paths, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/%s", pid, file))
		if err != nil || len(paths) == 0 {
			return fmt.Errorf("no %s of process %d: %w", file, pid, errors.Join(err, os.ErrNotExist))
		}
		for _, path := range paths {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			f(string(b))
		}
	}
	return nil
}

// helper measures what a keeper or a guard takes when its run has just started and
// nothing happens. It is this program once more, as it is any owner's.
func helper(o owner, rounds int) (result, error) {
	var all []helperUsage
	for range rounds {
		cmd, t, err := o.hold()
		if err != nil {
			return result{}, err
		}
		used, err := helperOnce(cmd.Process.Pid)
		t.close()
		cmd.Wait()
		if err != nil {
			return result{}, err
		}
		all = append(all, used)
	}
	memory := func(of func(helperUsage) float64, q float64) float64 {
		var values []float64
		for _, u := range all {
			values = append(values, of(u)/(1<<20))
		}
		return quantile(values, q)
	}
	pss := func(u helperUsage) float64 { return u.pss }
	var cpu []time.Duration
	for _, u := range all {
		cpu = append(cpu, u.cpu)
	}
	return result{
		reached: fmt.Sprintf("%.2f MiB, %s (private %.2f MiB, Rss %.2f MiB)", memory(pss, 0.5), milliseconds(quantile(cpu, 0.5)),
			memory(func(u helperUsage) float64 { return u.private }, 0.5), memory(func(u helperUsage) float64 { return u.rss }, 0.5)),
		spread: fmt.Sprintf("%.2f to %.2f MiB, %s to %s", memory(pss, 0.25), memory(pss, 0.75),
			milliseconds(quantile(cpu, 0.25)), milliseconds(quantile(cpu, 0.75))),
	}, nil
}

// helperUsage is what a helper takes: memory in bytes.
type helperUsage struct {
	rss, pss, private float64
	cpu               time.Duration
}

func helperOnce(ownerPID int) (used helperUsage, err error) {
	helpers, err := helpersOf(ownerPID)
	if err != nil {
		return used, err
	}
	if len(helpers) != 1 {
		return used, fmt.Errorf("%d helpers; want one", len(helpers))
	}
	// Nobody waits for a guard to be ready.
	if _, err := idleSwitches(helpers, 100*time.Millisecond); err != nil {
		return used, err
	}
	if err := used.readMemory(helpers[0]); err != nil {
		return used, err
	}
	// The first number of schedstat is nanoseconds on a processor.
	err = eachThread(helpers, "schedstat", func(stat string) {
		first, _, _ := strings.Cut(stat, " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		used.cpu += time.Duration(n)
	})
	return used, err
}

// readMemory reads proc_pid_smaps(5), summed up. A page that several processes have
// counts in Rss as one page, in Pss as its share, and not as private.
func (u *helperUsage) readMemory(pid int) error {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kib, _ := strconv.ParseFloat(fields[1], 64)
		switch fields[0] {
		case "Rss:":
			u.rss = kib * 1024
		case "Pss:":
			u.pss = kib * 1024
		case "Private_Clean:", "Private_Dirty:":
			u.private += kib * 1024
		}
	}
	return nil
}
