package escape

import (
	"testing"
	"time"
)

// TestStorm: the chains live as long as they are to, and end, for which a busy
// machine gives them little time.
func TestStorm(t *testing.T) {
	const life = time.Second
	began := time.Now()
	p := NewProbe(t, Storm(2, life))
	tr := launch(t, p)
	p.Started()
	tr.ready = tr.Ready(tr.ctx)
	p.Release()
	tr.waitLeader()
	if err := tr.Gone(tr.ctx); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took < life {
		t.Errorf("it took %v", took)
	}
}
