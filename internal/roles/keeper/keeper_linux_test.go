package keeper

import (
	"maps"
	"slices"
	"testing"

	"github.com/corral-run/corral/internal/escape"
)

// TestReapsAFew: a keeper that is not to kill comes back to the line soon, however
// many children have ended.
func TestReapsAFew(t *testing.T) {
	k := new(keeper)
	pids := escape.Zombies(t, reapedAtATime+1)
	for _, want := range []int{reapedAtATime, 1, 0} {
		if got := k.reapThese(slices.Collect(maps.Keys(pids))); got != want {
			t.Errorf("it has reaped %d, want %d", got, want)
		}
		escape.DropReaped(pids)
	}
	if len(pids) > 0 {
		t.Errorf("%d are left", len(pids))
	}
}
