//go:build amd64 || arm64

package bare

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"github.com/corral-run/corral/internal/escape"
)

func init() { escape.HurryWhenTold(new(block).hurry) }

// TestHurry: see escape.TestHurry.
func TestHurry(t *testing.T) { escape.TestHurry(t) }

// TestShortTurns: see escape.TestShortTurns.
func TestShortTurns(t *testing.T) { escape.TestShortTurns(t) }

// TestSweepIsShort: however many children have ended, a sweep that is not to kill
// comes back to the line soon.
func TestSweepIsShort(t *testing.T) {
	runtime.LockOSThread() // the kernel lists a thread's children
	defer runtime.UnlockOSThread()
	list, err := os.Open("/proc/thread-self/children")
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	defer list.Close()
	member := exec.Command("cat")
	line, err := member.StdinPipe()
	if err == nil {
		err = member.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer member.Wait()
	defer line.Close()
	const ended = 2*reapedAtATime + 1
	pids := escape.Zombies(t, ended)

	b := new(block)
	b.children, b.ended, b.reaped = int(list.Fd()), true, true
	for sweeps := 1; len(pids) > 0; sweeps++ {
		if sweeps > ended {
			t.Fatalf("%d are left after %d sweeps", len(pids), sweeps)
		}
		want := max(0, len(pids)-reapedAtATime)
		b.more = false
		if b.sweep() == 0 {
			t.Error("a sweep has not seen the member that is alive")
		}
		escape.DropReaped(pids)
		if len(pids) != want || b.more != (want > 0) {
			t.Errorf("%d are left after %d sweeps, want %d; more is %v", len(pids), sweeps, want, b.more)
		}
	}
}
