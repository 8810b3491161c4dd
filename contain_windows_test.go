package corral_test

import (
	"errors"
	"os/exec"
	"testing"

	"github.com/corral-run/corral"
)

// TestContainUnsupported: Contain says that it is not to be had, and leaves the
// command as it was.
func TestContainUnsupported(t *testing.T) {
	cmd := exec.Command("cmd", "/c", "exit")
	if err := corral.Contain(cmd, corral.ContainOptions{}); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	if len(cmd.Args) != 3 || cmd.Args[0] != "cmd" {
		t.Errorf("%q", cmd.Args)
	}
}
