package corraltest

import (
	"strings"
	"testing"

	"github.com/corral-run/corral"
)

// TestKept: what is kept on purpose is neither counted nor drawn beside what is not.
func TestKept(t *testing.T) {
	kept := corral.Leftover{Process: corral.Process{PID: 7, Command: []string{"gpg-agent"}}, Fate: corral.Kept}
	other := corral.Leftover{Process: corral.Process{PID: 8, Command: []string{"sleep"}}, Fate: corral.Signalled, Signal: "SIGTERM"}
	detached := kept
	detached.Fate = corral.Detached
	r := &corral.Report{Ending: corral.Exited, Leftovers: []corral.Leftover{kept, detached}}
	if text := new(left).verdict(r, "it"); text != "" {
		t.Errorf("kept alone: %s", text)
	}
	r.Leftovers = append(r.Leftovers, other)
	text := new(left).verdict(r, "it")
	if !strings.Contains(text, "it has left a process behind:\n    8 sleep") || strings.Contains(text, "gpg") {
		t.Errorf("kept beside another: %s", text)
	}
}
