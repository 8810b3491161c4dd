//go:build linux || darwin || freebsd

package keeper

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/hold"
	_ "github.com/corral-run/corral/internal/roles/keeper" // this program is the keeper, too
	"github.com/corral-run/corral/internal/stub"
	"github.com/corral-run/corral/internal/wire"
	"github.com/corral-run/corral/internal/wire/code"
)

// TestAsk: the keeper knows the members, as long as it is there.
func TestAsk(t *testing.T) {
	t.Setenv(stub.Switch, "off") // nobody asks one without a runtime
	cont, err := Open(hold.Request{})
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	k := cont.(*containment)
	defer k.Close()
	cmd := exec.Command("sh", "-c", "sleep 61 & echo; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Start(cmd); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	members, err := k.ask()
	if err != nil || len(members) != 2 || members[0].ID != k.id && members[1].ID != k.id {
		t.Errorf("%v, %v", members, err)
	}
	k.mu.Lock()
	k.lastMembers = append(k.lastMembers, members...) // so that they are killed with the keeper
	k.mu.Unlock()
	if err := k.proc.Kill(); err != nil {
		t.Error(err)
	}
	<-k.emptied
	if members, err := k.ask(); err != nil || len(members) != 0 {
		t.Errorf("%v, %v", members, err)
	}
	k.Reap()
}

// TestTakeIn: what comes over the line may come from somebody else, and be
// anything. It ends the keeper's part at most, and not the owner.
func TestTakeIn(t *testing.T) {
	ended := &wire.Event{Kind: code.Ended}
	for name, events := range map[string][]*wire.Event{
		"empty before the end":  {{Kind: code.NowEmpty}, {Kind: code.NowEmpty}},
		"empty twice":           {{Kind: code.Ended, Empty: true}, {Kind: code.NowEmpty}, {Kind: code.NowEmpty}},
		"ended twice":           {ended, ended, {Kind: code.Ended, Status: 256, Empty: true}},
		"used before the end":   {{Kind: code.LeaderUsage}},
		"answers to no inquiry": {{Kind: code.MemberList}, {Kind: code.MemberList}, {Kind: code.Pong}, {Kind: code.Pong}},
	} {
		t.Run(name, func(t *testing.T) {
			cont, err := Open(hold.Request{})
			if err != nil {
				t.Skip("SKIPPED: ", err)
			}
			k := cont.(*containment)
			for _, e := range events {
				if !k.takeIn(e) {
					t.Errorf("%+v is not understood", e)
				}
			}
			if isClosed(k.emptied) && k.end == nil {
				t.Error("it is believed to be empty")
			}
			if k.end != nil && k.end.Status != 0 {
				t.Error("it has ended anew")
			}
			for _, kind := range []wire.Kind{0, code.Started, code.Failed, 99} {
				if k.takeIn(&wire.Event{Kind: kind}) {
					t.Errorf("event %d is taken in", kind)
				}
			}
		})
	}
}

// TestFinishKills: whoever tells the keeper that the owner has no more use for the
// run, while somebody is left, gets nobody away.
func TestFinishKills(t *testing.T) {
	cont, err := Open(hold.Request{})
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	k := cont.(*containment)
	defer k.Close()
	cmd := exec.Command("sh", "-c", "trap '' TERM; sh -c 'sleep 61 & echo; wait' & wait")
	out, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout = theirs
	_, _, err = k.Start(cmd)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	out.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	members, err := k.Members()
	if err != nil || len(members) != 3 {
		t.Fatalf("%v, %v", members, err)
	}
	k.line.Write([]byte{code.Finish, code.Finish})
	// They hold the pipe, which nobody writes to.
	if n, err := out.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
	k.Reap()
}
