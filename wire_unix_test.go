//go:build linux || darwin || freebsd

package corral

import (
	"bytes"
	"io"
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
			plan: plan{{Signal: syscall.SIGINT, Wait: time.Second}, {Signal: syscall.SIGTERM, Wait: time.Minute}},
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

// TestTooLong: the length of a message is somebody's word.
func TestTooLong(t *testing.T) {
	said := bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0})
	if err := receive(said, new(keeperEvent), maxEvent); err == nil || err == io.ErrUnexpectedEOF {
		t.Errorf("%v", err)
	}
}
