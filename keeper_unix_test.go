//go:build linux || darwin || freebsd

package corral

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// fill gives all fields below v a value that is not zero.
func fill(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString("some text")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint32, reflect.Uint64, reflect.Uintptr:
		v.SetUint(7)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0))
		fill(v.Index(1))
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem())
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i))
		}
	case reflect.Array: // padding
	default:
		panic(v.Kind())
	}
}

// TestWire: what one end says is what the other hears, every field of the
// system's attributes included.
func TestWire(t *testing.T) {
	sys := new(syscall.SysProcAttr)
	fill(reflect.ValueOf(sys).Elem())
	if pidfd := reflect.ValueOf(sys).Elem().FieldByName("PidFD"); pidfd.IsValid() {
		pidfd.SetZero() // the owner's own
	}
	var used syscall.Rusage
	fill(reflect.ValueOf(&used).Elem())
	for _, m := range []message{
		&keeperSpec{
			path: "/bin/sh", dir: "/", args: []string{"sh", ""}, env: []string{"A=B"}, sys: sys, open: []bool{true, false},
			ignored: []syscall.Signal{syscall.SIGHUP}, group: 5, leaveSession: true, keep: true, init: true,
			plan: StopPlan{{Signal: syscall.SIGINT, Wait: time.Second}, {Signal: syscall.SIGTERM, Wait: time.Minute}},
		},
		&keeperEvent{kind: eventStarted, pid: 5, start: 1 << 62},
		&keeperEvent{kind: eventFailed, op: "fork/exec", path: "/bin/sh", errno: syscall.ENOENT, text: "no"},
		&keeperEvent{kind: eventEnded, status: 0x8b, rusage: used, empty: true},
		&keeperEvent{kind: eventUsed, rusage: used},
		&keeperEvent{kind: eventMembers, members: []proctree.ID{{PID: 5, Start: 6}, {PID: 7, Start: 1 << 62}}},
		&keeperEvent{kind: eventEmpty},
		&keeperEvent{kind: eventHere},
	} {
		b := frame(m)
		heard := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
		if err := receive(bytes.NewReader(b), heard, maxSpec); err != nil || !reflect.DeepEqual(heard, m) {
			t.Errorf("%v\nsaid  %+v\nheard %+v", err, m, heard)
		}
		for n := range len(b) {
			if err := receive(bytes.NewReader(b[:n]), heard, maxSpec); err != io.ErrUnexpectedEOF && err != io.EOF {
				t.Errorf("%d of %d bytes: %v", n, len(b), err)
			}
		}
	}
}

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

// TestBestEffort: the Report says so if something gets away from a containment.
func TestBestEffort(t *testing.T) {
	if said := bestEffort[Group]; said != "" {
		t.Fatal(said)
	}
	for _, want := range []string{"", "the quick"} {
		bestEffort[Group] = want
		cmd := Command("true")
		cmd.Containment = Group
		if err := cmd.Run(); err != nil {
			t.Error(err)
		} else if got := cmd.Report().BestEffort; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		delete(bestEffort, Group)
	}
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

// TestTooLong: the length of a message is somebody's word.
func TestTooLong(t *testing.T) {
	said := bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0})
	if err := receive(said, new(keeperEvent), maxEvent); err == nil || err == io.ErrUnexpectedEOF {
		t.Errorf("%v", err)
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
