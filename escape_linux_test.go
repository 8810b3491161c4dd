package corral_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/hold/cgroups"
)

func init() { atEnd = cgroups.GiveBack }

// containments are those that every child of the escape package is tried
// against.
var containments = []corral.Containment{corral.PIDNS, corral.Cgroup, corral.Keeper, corral.Group}

// TestChildrenCounted: the pages know how many children TestEscape tries.
func TestChildrenCounted(t *testing.T) {
	want := fmt.Sprintf("`TestEscape` tries %d hostile children", len(escape.All()))
	for _, page := range []string{"README.md", "docs/guarantees.md"} {
		if !strings.Contains(strings.ReplaceAll(string(readFile(t, page)), "*", ""), want) {
			t.Errorf("%s does not say: %s", page, want)
		}
	}
}
