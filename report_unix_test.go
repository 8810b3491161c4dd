//go:build linux || darwin || freebsd

package corral

import "testing"

// leaky is a containment that says what gets away from it.
type leaky struct {
	containment
	says string
}

func (l leaky) facts() facts {
	f := l.containment.facts()
	f.bestEffort = l.says
	return f
}

// TestBestEffort: the Report says so if something gets away from a containment.
func TestBestEffort(t *testing.T) {
	rungs := ladder
	defer func() { ladder = rungs }()
	for _, says := range []string{"", "the quick"} {
		ladder = []mechanism{{Group, func(req request) (containment, error) {
			group, err := openGroup(req)
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
