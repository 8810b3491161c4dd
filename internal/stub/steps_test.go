//go:build unix || windows

package stub

import (
	"math"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/stub/bare"
)

// TestSteps: waits are never shorter than asked for, however long they are.
func TestSteps(t *testing.T) {
	got := Steps(stop.Plan{{Signal: syscall.SIGTERM, Wait: math.MaxInt64}, {Signal: os.Kill, Wait: time.Microsecond}, {Wait: -1}})
	want := []bare.Step{{Signal: 15, Wait: math.MaxInt64/1_000_000 + 1}, {Signal: 9, Wait: 1}, {}}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
