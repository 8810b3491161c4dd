//go:build linux || darwin || freebsd || windows

package stop

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// String is the plan as ParsePlan reads it: signals by their numbers, each with its
// wait, as in "2-500ms,15-5s". Helpers read it, which stop the run when the owner
// is gone. A signal that is negative or not a syscall.Signal becomes 0, which does
// nothing.
func (p Plan) String() string {
	var text []string
	for _, step := range p {
		sig, _ := step.Signal.(syscall.Signal)
		text = append(text, strconv.Itoa(max(0, int(sig)))+"-"+step.Wait.String())
	}
	return strings.Join(text, ",")
}

// ParsePlan reads what Plan.String returns.
func ParsePlan(text string) (Plan, error) {
	var p Plan
	if text == "" {
		return p, nil
	}
	for part := range strings.SplitSeq(text, ",") {
		number, wait, _ := strings.Cut(part, "-")
		sig, err := strconv.Atoi(number)
		if err != nil {
			return nil, fmt.Errorf("stop plan %q: no signal in %q", text, part)
		}
		d, err := time.ParseDuration(wait)
		if err != nil {
			return nil, fmt.Errorf("stop plan %q: %w", text, err)
		}
		p = append(p, Step{syscall.Signal(sig), d})
	}
	return p, nil
}
