package keeper

import (
	"os/exec"
	"testing"

	"github.com/corral-run/corral/internal/hold"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stub"
)

// TestStartTime: the identity of a leader is what the kernel says, whatever the
// keeper is.
func TestStartTime(t *testing.T) {
	for _, how := range []string{"always", "early", "off"} {
		t.Run(how, func(t *testing.T) {
			t.Setenv(stub.Switch, how)
			for range 200 {
				k, err := Open(hold.Request{})
				if err != nil {
					t.Skip("SKIPPED: ", err)
				}
				_, id, err := k.Start(exec.Command("/bin/cat", "/dev/null"))
				if err != nil {
					t.Fatal(err)
				}
				want, err := proctree.Identify(id.PID) // it is not reaped before Reap
				if err != nil || id != want {
					t.Errorf("%v, want %v, %v", id, want, err)
				}
				k.Reap()
				k.Close()
			}
		})
	}
}
