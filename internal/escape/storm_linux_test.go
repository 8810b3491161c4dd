package escape

import (
	"testing"
	"time"
)

// TestStorm: the chains live as long as they are to.
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
	if took := time.Since(began); took < life || took > life+5*time.Second {
		t.Errorf("it took %v", took)
	}
}
