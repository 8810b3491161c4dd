//go:build linux || darwin || freebsd

package stop

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// String is the plan as ParsePlan reads it, for who has to stop the run when the
// owner is gone: signals by their number, each with its wait, as in
// "2-500ms,15-5s". A signal of another type than syscall.Signal is 0, which does
// nothing.
func (p Plan) String() string {
	var text []string
	for _, step := range p {
		sig, _ := step.Signal.(syscall.Signal)
		text = append(text, strconv.Itoa(int(sig))+"-"+step.Wait.String())
	}
	return strings.Join(text, ",")
}

// ParsePlan reads what Plan.String has written.
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
