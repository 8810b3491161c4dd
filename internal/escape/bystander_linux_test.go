package escape

import (
	"syscall"
	"testing"
)

func TestBystander(t *testing.T) {
	for _, sig := range []syscall.Signal{0, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGSTOP} {
		r := &recorder{TB: t}
		bystander := StartBystander(r)
		if sig != 0 {
			if err := bystander.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if sig == syscall.SIGSTOP {
				var status syscall.WaitStatus
				if _, err := syscall.Wait4(bystander.Pid, &status, syscall.WUNTRACED, nil); err != nil {
					t.Fatal(err)
				}
			}
		}
		if said := r.end(); (said != "") != (sig != 0) {
			t.Errorf("after %v it said %q", sig, said)
		}
	}
}
