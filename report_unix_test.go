//go:build linux || darwin || freebsd

package corral

import (
	"testing"

	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/hold/group"
)

// leaky is a containment that says what gets away from it.
type leaky struct {
	hold.Containment
	says string
}

func (l leaky) Facts() hold.Facts {
	f := l.Containment.Facts()
	f.BestEffort = l.says
	return f
}

// TestBestEffort: the Report says so if something gets away from a containment.
func TestBestEffort(t *testing.T) {
	rungs := ladder
	defer func() { ladder = rungs }()
	for _, says := range []string{"", "the quick"} {
		ladder = []mechanism{{Group, func(req hold.Request) (hold.Containment, error) {
			group, err := group.Open(req)
			return leaky{group, says}, err
		}}}
		cmd := Command("true")
		if err := cmd.Run(); err != nil {
			t.Error(err)
		} else if got := cmd.Report().BestEffort; got != says {
			t.Errorf("%q, want %q", got, says)
		}
	}
}
