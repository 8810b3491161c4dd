package corral_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/diff"
)

// TestDemo: the picture in README.md shows what happens. It is drawn in a PID namespace,
// so that pgrep finds the picture's processes and not those of other tests.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	for _, tool := range []string{"pgrep", "setsid", "timeout"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("SKIPPED: ", err)
		}
	}
	drawn := filepath.Join(t.TempDir(), "leak.svg")
	cmd := corral.CommandContext(t.Context(), filepath.Join(goroot(t), "bin", "go"), "run", "./.ci/demo", "-o", drawn)
	cmd.Env = append(cmd.Environ(), "PATH="+filepath.Join(goroot(t), "bin")+":/usr/local/bin:/usr/bin:/bin", "CORRAL_AUTO=")
	cmd.Containment, cmd.Require = corral.PIDNS, corral.PIDNS
	out, err := cmd.CombinedOutput()
	var unavailable *corral.ContainmentError
	if errors.As(err, &unavailable) {
		t.Skip("SKIPPED: ", err)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pids := regexp.MustCompile(`\d+ sleep 300|\(pid \d+\)`)
	picture := func(path string) string { return pids.ReplaceAllString(string(readFile(t, path)), "PID") }
	if diff := diff.Of(picture("docs/leak.svg"), picture(drawn)); diff != "" {
		t.Errorf("docs/leak.svg and what happens (go run ./.ci/demo draws it):\n%s", diff)
	}
}
