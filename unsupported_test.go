//go:build !linux && !darwin && !freebsd && !windows

package corral_test

import (
	"errors"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/proctree"
)

// Where nothing could hold a run, nothing is started, and that is the error,
// whether or not there is such a command.
func TestUnsupported(t *testing.T) {
	if proctree.Known {
		t.Skip("SKIPPED: this system has a process table, and so group containment")
	}
	required := corral.Command("true")
	required.Containment, required.Require = corral.Group, corral.Group
	_, output := corral.Command("true").Output()
	for name, err := range map[string]error{
		"Run":     corral.Command("true").Run(),
		"Start":   corral.CommandContext(t.Context(), "/bin/true").Start(),
		"Output":  output,
		"Require": required.Run(),
		"Wrap":    corral.Wrap(exec.Command("true")).Run(),
	} {
		var none *corral.ContainmentError
		if !errors.Is(err, errors.ErrUnsupported) || !errors.As(err, &none) || !strings.Contains(err.Error(), runtime.GOOS) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := corral.Contain(exec.Command("true"), corral.ContainOptions{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Contain: %v", err)
	}
}
