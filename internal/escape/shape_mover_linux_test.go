package escape

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

var _ = check("mover", func(tr *tree) {
	moved := tr.checkOrphan("moved")
	group := tr.group(moved.PID)
	if !strings.HasPrefix(filepath.Base(group), fmt.Sprintf("corral-escape-%d-", moved.PID)) {
		tr.Errorf("it is in %s", group)
	}
	if own := tr.group(tr.row("leader").PID); own != "/" && strings.HasPrefix(group, own+"/") {
		tr.Errorf("%s is within %s", group, own)
	}
	tr.leave("moved")
	tr.signal("moved", syscall.SIGTERM)
	tr.expect()
})

// TestMoverCleanup: the control group does not outlive the test.
func TestMoverCleanup(t *testing.T) {
	r := &recorder{TB: t}
	p := NewProbe(r, find(t, "mover"))
	tr := launch(t, p)
	p.Started()
	tr.ready = tr.Ready(tr.ctx)
	dir := p.dirs[len(p.dirs)-1]
	if _, err := os.Stat(dir); err != nil {
		t.Error(err)
	}
	if said := r.end(); said != "" {
		t.Error(said)
	}
	for _, dir := range p.dirs {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", dir, err)
		}
	}
}
