package wire

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/stop"
)

// TestPlanInName: the guard reads from a directory's name the plan that the owner
// meant.
func TestPlanInName(t *testing.T) {
	for _, plan := range []stop.Plan{
		nil,
		{{Signal: syscall.SIGTERM, Wait: 5 * time.Second}},
		{{Signal: syscall.SIGINT, Wait: 1500 * time.Millisecond}, {Signal: syscall.SIGTERM, Wait: 1500 * time.Nanosecond}}, // with dots
		slices.Repeat(stop.Plan{{Signal: syscall.SIGTERM, Wait: time.Second}}, 33),                                         // 197 bytes
	} {
		text, err := EncodePlan(plan, false)
		if err != nil {
			t.Errorf("%v: %v", plan, err)
		}
		name := "12." + text
		if got := DecodePlan(name); !slices.Equal(got, plan) || IsDetached(name) {
			t.Errorf("%q: %v, want %v; detached: %v", name, got, plan, IsDetached(name))
		}
	}
}

// TestPlanTooLong: a plan that does not fit is an error. It is never cut.
func TestPlanTooLong(t *testing.T) {
	step := stop.Step{Signal: syscall.SIGTERM, Wait: time.Second}
	for _, n := range []int{34, 50, 100_000} {
		plan := slices.Repeat(stop.Plan{step}, n)
		if text, err := EncodePlan(plan, false); err == nil || text != "" {
			t.Errorf("%d steps: %d bytes, %v", n, len(text), err)
		}
		// Nobody reads the plan of a run that outlives its owner.
		if text, err := EncodePlan(plan, true); err != nil || !IsDetached("12."+text) {
			t.Errorf("%d steps, detached: %q, %v", n, text, err)
		}
	}
}

// TestNameGarbage: a name without a plan that can be read stands for a kill at
// once.
func TestNameGarbage(t *testing.T) {
	for _, name := range []string{"", ".", "12", "12.", "detach", "12.garbage", "12.15-5s,", "12.15", "12.detach", "12.15-5s.detached"} {
		if plan := DecodePlan(name); len(plan) != 0 {
			t.Errorf("%q: %v", name, plan)
		}
		if IsDetached(name) != (name == "12.detach") {
			t.Errorf("%q: detached: %v", name, IsDetached(name))
		}
	}
}

// FuzzDecodePlan: what can be read from a name fits into one again, unless that is
// an error, and means the same.
func FuzzDecodePlan(f *testing.F) {
	for _, name := range []string{"1.15-5s", "1.2-1.5s,15-1.5µs", "1.detach", "1", ".", "1.15--1s"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		plan := DecodePlan(name)
		text, err := EncodePlan(plan, false)
		if err != nil {
			if len(plan.String()) <= 200 {
				t.Errorf("%q: %v", name, err)
			}
			return
		}
		again := "1." + text
		if len(again) > 255 || strings.ContainsAny(again, "/\x00\n") {
			t.Errorf("%q: %q cannot be a name", name, again)
		}
		if got := DecodePlan(again); !slices.Equal(got, plan) {
			t.Errorf("%q: %v is read as %v", name, plan, got)
		}
	})
}
