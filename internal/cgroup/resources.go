package cgroup

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Usage is what members have used. Nil is not known.
type Usage struct {
	User, System  *time.Duration
	PeakMemory    *int64
	PeakPIDs      *int64
	Read, Written *int64
}

// formatCPUs is the content of cpu.max for that many processors: how many
// microseconds the members may run in each period.
func formatCPUs(cpus float64) string {
	const period, shortest = 100_000, 1000 // the kernel takes no quota below 1 ms
	quota := math.Ceil(min(cpus, math.MaxInt32) * period)
	return fmt.Sprintf("%.0f %d", max(quota, shortest), period)
}

// parseAmount reads a file that has one number in it.
func parseAmount(b []byte) *int64 {
	n, err := strconv.ParseInt(string(bytes.TrimSpace(b)), 10, 64)
	if err != nil || n < 0 {
		return nil
	}
	return &n
}

// flatKey returns the value of a key in a "flat keyed" file, nil if there is none.
func flatKey(b []byte, key string) *int64 {
	for line := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(line, key+" "); ok {
			return parseAmount([]byte(value))
		}
	}
	return nil
}

func parseCPUStat(b []byte) (user, system *time.Duration) {
	duration := func(key string) *time.Duration {
		usec := flatKey(b, key)
		if usec == nil {
			return nil
		}
		d := time.Duration(*usec) * time.Microsecond
		return &d
	}
	return duration("user_usec"), duration("system_usec")
}

// outOfMemory reads memory.events and memory.events.local: see Dir.KilledForMemory.
func outOfMemory(all, own []byte) (killed, limit bool) {
	some := func(b []byte, key string) bool {
		n := flatKey(b, key)
		return n != nil && *n > 0
	}
	limit = some(own, "oom") && some(all, "oom_kill")
	return limit || some(own, "oom_kill") || some(own, "oom_group_kill"), limit
}

// parseIOStat sums up io.stat, which has a line for each device. A device that has
// not been used has none, or one without numbers.
func parseIOStat(b []byte) (read, written *int64) {
	read, written = new(int64), new(int64)
	for field := range strings.FieldsSeq(string(b)) {
		for _, sum := range []struct {
			key string
			to  *int64
		}{{"rbytes=", read}, {"wbytes=", written}} {
			if value, ok := strings.CutPrefix(field, sum.key); ok {
				if n := parseAmount([]byte(value)); n != nil {
					*sum.to += *n
				}
			}
		}
	}
	return read, written
}
