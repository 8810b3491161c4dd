//go:build linux || darwin || freebsd

package stop

import (
	"math"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestPlanRoundTrip: a helper that reads a plan stops the run as the owner would.
func TestPlanRoundTrip(t *testing.T) {
	long := slices.Repeat(Plan{{syscall.SIGTERM, 1234567890 * time.Nanosecond}}, 1000)
	for text, plan := range map[string]Plan{
		"":                           nil,
		"15-5s":                      {{syscall.SIGTERM, 5 * time.Second}},
		"2-500ms,15-5s":              {{syscall.SIGINT, 500 * time.Millisecond}, {syscall.SIGTERM, 5 * time.Second}},
		"15-1ns":                     {{syscall.SIGTERM, 1}},
		"15-1.5µs":                   {{syscall.SIGTERM, 1500 * time.Nanosecond}},
		"15-999.999µs":               {{syscall.SIGTERM, time.Millisecond - time.Nanosecond}},
		"15-1h0m0.000000001s":        {{syscall.SIGTERM, time.Hour + 1}},
		"15-0s":                      {{syscall.SIGTERM, 0}},
		"9-2562047h47m16.854775807s": {{syscall.SIGKILL, math.MaxInt64}},
		"64-1s,0-1s":                 {{syscall.Signal(64), time.Second}, {syscall.Signal(0), time.Second}},
		long.String():                long,
	} {
		if got := plan.String(); got != text {
			t.Errorf("%d steps: %.60q, want %.60q", len(plan), got, text)
		}
		if got, err := ParsePlan(text); err != nil || !slices.Equal(got, plan) {
			t.Errorf("%.60q: %.60v, %v", text, got, err)
		}
	}
}

// foreignSignal is a signal that has no number.
type foreignSignal struct{}

func (foreignSignal) Signal()        {}
func (foreignSignal) String() string { return "foreign" }

// TestPlanForeignSignal: what has no number does nothing, and its step lasts.
func TestPlanForeignSignal(t *testing.T) {
	for _, sig := range []os.Signal{foreignSignal{}, CloseStdin} {
		if got := (Plan{{sig, time.Second}}).String(); got != "0-1s" {
			t.Errorf("%q", got)
		}
	}
}

// TestParsePlanGarbage: what is not a plan is an error, and not a part of one.
func TestParsePlanGarbage(t *testing.T) {
	for _, text := range []string{
		",", "-", "15", "15-", "15-5", "-5s", "TERM-5s", "15-5s,", ",15-5s", "15-5s,,2-1s",
		"15-5s;2-1s", "15-5s 2-1s", "1.5-5s", "15-5s\x00", "15-999999999h", "99999999999999999999-1s", "detach",
	} {
		if p, err := ParsePlan(text); err == nil || p != nil {
			t.Errorf("%q: %v, %v", text, p, err)
		}
	}
}

// FuzzParsePlan: what can be read is written and read again as the same plan.
func FuzzParsePlan(f *testing.F) {
	for _, text := range []string{"", "15-5s", "2-500ms,15-1.5µs", "15--1s", "15", "+1-1s", "\xff"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := ParsePlan(text)
		if err != nil {
			if p != nil {
				t.Errorf("%q: %v in spite of %v", text, p, err)
			}
			return
		}
		if again, err := ParsePlan(p.String()); err != nil || !slices.Equal(again, p) {
			t.Errorf("%q: %v is read as %v, %v", text, p, again, err)
		}
	})
}
