//go:build linux || darwin || freebsd

package corral

import (
	"io"
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestAsk: the keeper knows the members, as long as it is there.
func TestAsk(t *testing.T) {
	cont, err := openKeeper(request{})
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	k := cont.(*keeperContainment)
	defer k.close()
	cmd := exec.Command("sh", "-c", "sleep 61 & echo; wait")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.start(cmd); err != nil {
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
	for _, m := range members {
		k.known = append(k.known, m.ID) // so that they are killed with the keeper
	}
	k.mu.Unlock()
	if err := k.proc.Kill(); err != nil {
		t.Error(err)
	}
	<-k.emptied
	if members, err := k.ask(); err != nil || len(members) != 0 {
		t.Errorf("%v, %v", members, err)
	}
	k.reap()
}

// TestTakeIn: what comes over the line may come from somebody else, and be anything.
// It ends the keeper's part at most, and not the owner.
func TestTakeIn(t *testing.T) {
	ended := &keeperEvent{kind: eventEnded}
	for name, events := range map[string][]*keeperEvent{
		"empty before the end":  {{kind: eventEmpty}, {kind: eventEmpty}},
		"empty twice":           {{kind: eventEnded, empty: true}, {kind: eventEmpty}, {kind: eventEmpty}},
		"ended twice":           {ended, ended, {kind: eventEnded, status: 256, empty: true}},
		"used before the end":   {{kind: eventUsed}},
		"answers to no inquiry": {{kind: eventMembers}, {kind: eventMembers}, {kind: eventHere}, {kind: eventHere}},
	} {
		t.Run(name, func(t *testing.T) {
			cont, err := openKeeper(request{})
			if err != nil {
				t.Skip("SKIPPED: ", err)
			}
			k := cont.(*keeperContainment)
			for _, e := range events {
				if !k.takeIn(e) {
					t.Errorf("%+v is not understood", e)
				}
			}
			if isClosed(k.emptied) && k.end == nil {
				t.Error("it is believed to be empty")
			}
			if k.end != nil && k.end.status != 0 {
				t.Error("it has ended anew")
			}
			for _, kind := range []eventKind{0, eventStarted, eventFailed, 99} {
				if k.takeIn(&keeperEvent{kind: kind}) {
					t.Errorf("event %d is taken in", kind)
				}
			}
		})
	}
}

// TestFinishKills: whoever tells the keeper that the owner has no more use for the run,
// while somebody is left, gets nobody away.
func TestFinishKills(t *testing.T) {
	cont, err := openKeeper(request{})
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	k := cont.(*keeperContainment)
	defer k.close()
	cmd := exec.Command("sh", "-c", "trap '' TERM; sh -c 'sleep 61 & echo; wait' & wait")
	out, theirs, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout = theirs
	_, _, err = k.start(cmd)
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	out.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	members, err := k.members()
	if err != nil || len(members) != 3 {
		t.Fatalf("%v, %v", members, err)
	}
	k.line.Write([]byte{keeperFinish, keeperFinish})
	// They hold the pipe, which nobody writes to.
	if n, err := out.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%d, %v", n, err)
	}
	k.reap()
}
