//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// meter tells how much of a processor each process takes: it compares its processor
// time in two looks. Whose PID belongs to another one by then is another one.
type meter struct {
	at     time.Time // of the look before
	before map[proctree.ID]time.Duration
	shares map[proctree.ID]float64
}

// leastSpan is the shortest time from which shares are taken: Linux counts in
// hundredths of a second. Within it, what was found before counts.
const leastSpan = 100 * time.Millisecond

// look takes a table that has been read now.
func (m *meter) look(table []proctree.Process, now time.Time) {
	span := now.Sub(m.at)
	first := m.before == nil
	if !first && span < leastSpan {
		return
	}
	used := make(map[proctree.ID]time.Duration, len(table))
	m.shares = make(map[proctree.ID]float64, len(table))
	for _, p := range table {
		if !p.CPUKnown {
			continue
		}
		used[p.ID] = p.CPU
		before, known := m.before[p.ID]
		if !known { // it had used nothing when it was born
			known = p.Started.After(m.at)
		}
		if !first && known {
			m.shares[p.ID] = max(0, float64(p.CPU-before)/float64(span))
		}
	}
	m.at, m.before = now, used
}

// amounts are what processes use, as far as that is known.
type amounts struct {
	share      float64       // of one processor
	shareKnown bool          // of all of them
	cpu        time.Duration // processor time so far
	cpuKnown   bool          // of all of them
	memory     int64         // 0 and below: not known
}

// of returns what the processes use together. What is known of some of them only is
// not known.
func (m *meter) of(processes ...proctree.Process) amounts {
	a := amounts{shareKnown: len(processes) > 0, cpuKnown: len(processes) > 0}
	for _, p := range processes {
		share, known := m.shares[p.ID]
		a.share, a.shareKnown = a.share+share, a.shareKnown && known
		a.cpu, a.cpuKnown = a.cpu+p.CPU, a.cpuKnown && p.CPUKnown
		switch {
		case p.RSS <= 0 && !p.CPUKnown: // as on macOS; elsewhere it has none
			a.memory = -1 // and so it stays
		case a.memory >= 0:
			a.memory += p.RSS
		}
	}
	return a
}

// percent is the share in hundredths of one processor, with three digits at most
// below a thousand.
func (a amounts) percent() string {
	switch percent := 100 * a.share; {
	case !a.shareKnown:
		return "-"
	case percent < 99.95:
		return fmt.Sprintf("%.1f", percent)
	default:
		return fmt.Sprintf("%.0f", percent)
	}
}

// time is the processor time.
func (a amounts) time() string {
	switch {
	case !a.cpuKnown:
		return "-"
	case a.cpu < time.Minute:
		return fmt.Sprintf("%.2fs", a.cpu.Seconds())
	}
	return lasting(a.cpu)
}

// glimpse is how far apart the two looks are for what is shown once.
const glimpse = 500 * time.Millisecond

// twoLooks returns a table, for which the meter knows what the processes use.
func (m *meter) twoLooks(ctx context.Context) ([]proctree.Process, error) {
	for first := true; ; first = false {
		table, err := proctree.Snapshot()
		if err != nil {
			return nil, err
		}
		m.look(table, time.Now())
		if !first {
			return table, nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(glimpse):
		}
	}
}
