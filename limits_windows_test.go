package corral_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/winetest"
)

func init() {
	// limited-spawner starts one more process.
	escape.Register("limited-spawner", func([]string) {
		path, args := escape.Command("exit", "0")
		if err := exec.Command(path, args...).Run(); err != nil {
			fmt.Println("cannot start:", err)
			os.Exit(3)
		}
		fmt.Println("started")
	})
	escape.Register("limited-eater", func([]string) {
		food := make([]byte, 256<<20)
		for i := 0; i < len(food); i += 4096 {
			food[i] = 1
		}
		fmt.Println("ate")
	})
}

// TestLimitsOfJob: a job object holds the limits of all members together, or the run
// does not start. There are none of each process.
func TestLimitsOfJob(t *testing.T) {
	for _, l := range []corral.Limits{{OpenFiles: 64}, {FileSize: 1}, {Core: corral.LimitToZero}} {
		cmd := corral.Command(succeed[0], succeed[1:]...)
		cmd.Limits = l
		if err := cmd.Run(); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "not available on windows") {
			t.Errorf("%+v: %v", l, err)
		}
	}
	for role, l := range map[string]corral.Limits{"limited-spawner": {PIDs: 1}, "limited-eater": {Memory: 64 << 20}, "limited-eater ": {CPUs: 1}} {
		path, args := escape.Command(strings.TrimSpace(role))
		cmd := corral.Command(path, args...)
		cmd.Limits = l
		out, err := cmd.Output()
		if errors.Is(err, errors.ErrUnsupported) {
			if !winetest.Detected() || !strings.Contains(err.Error(), "does not take the limit") || len(out) > 0 {
				t.Errorf("%+v: %v, %q", l, err, out)
			}
			t.Logf("NOTE: %v", err)
			continue
		}
		if holds := l.CPUs > 0; (err == nil) != holds {
			t.Errorf("%+v: %v, %q", l, err, out)
		}
		// Without limits, it is as ever.
		path, args = escape.Command(strings.TrimSpace(role))
		if err := corral.Command(path, args...).Run(); err != nil {
			t.Errorf("%s without limits: %v", role, err)
		}
	}
}
