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

// helper measures what a keeper or a guard takes when its run has just started. It
// is this program once more, as it is any owner's.
func helper(o owner, rounds int) (result, error) {
	var rss []float64
	var cpu []time.Duration
	for range rounds {
		cmd, t, err := o.hold()
		if err != nil {
			return result{}, err
		}
		bytes, spent, err := helperOnce(cmd.Process.Pid)
		t.close()
		cmd.Wait()
		if err != nil {
			return result{}, err
		}
		rss, cpu = append(rss, bytes/(1<<20)), append(cpu, spent)
	}
	return result{
		reached: fmt.Sprintf("%.1f MiB, %s", quantile(rss, 0.5), milliseconds(quantile(cpu, 0.5))),
		spread: fmt.Sprintf("%.1f to %.1f MiB, %s to %s", quantile(rss, 0.25), quantile(rss, 0.75),
			milliseconds(quantile(cpu, 0.25)), milliseconds(quantile(cpu, 0.75))),
	}, nil
}

func helperOnce(ownerPID int) (rss float64, cpu time.Duration, err error) {
	helpers, err := helpersOf(ownerPID)
	if err != nil {
		return 0, 0, err
	}
	if len(helpers) != 1 {
		return 0, 0, fmt.Errorf("%d helpers; want one", len(helpers))
	}
	// Nobody waits for a guard to be ready.
	if _, err := idleSwitches(helpers, 100*time.Millisecond); err != nil {
		return 0, 0, err
	}
	p, err := proctree.Lookup(helpers[0])
	if err != nil {
		return 0, 0, err
	}
	// The first number of schedstat is nanoseconds on a processor.
	err = eachThread(helpers, "schedstat", func(stat string) {
		first, _, _ := strings.Cut(stat, " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		cpu += time.Duration(n)
	})
	return float64(p.RSS), cpu, err
}
