//go:build linux || darwin || freebsd

package wire

import (
	"bytes"
	"io"
	"reflect"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
	"github.com/corral-run/corral/internal/wire/code"
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

// TestMessages: what one end says is what the other hears, every field of the
// system's attributes included.
func TestMessages(t *testing.T) {
	sys := new(syscall.SysProcAttr)
	fill(reflect.ValueOf(sys).Elem())
	if pidfd := reflect.ValueOf(sys).Elem().FieldByName("PidFD"); pidfd.IsValid() {
		pidfd.SetZero() // the owner's own
	}
	var used syscall.Rusage
	fill(reflect.ValueOf(&used).Elem())
	for _, m := range []message{
		&Spec{
			Path: "/bin/sh", Dir: "/", Args: []string{"sh", ""}, Env: []string{"A=B"}, Attr: sys, Open: []bool{true, false},
			IgnoredSignals: []syscall.Signal{syscall.SIGHUP}, StartGroup: 5, LeaveSession: true, Keep: true, Detach: true, Spares: true, IsInit: true,
			Plan: stop.Plan{{Signal: syscall.SIGINT, Wait: time.Second}, {Signal: syscall.SIGTERM, Wait: time.Minute}},
		},
		&Event{Kind: code.Started, PID: 5, Start: 1 << 62},
		&Event{Kind: code.Failed, op: "fork/exec", path: "/bin/sh", errno: syscall.ENOENT, text: "no"},
		&Event{Kind: code.Ended, Status: 0x8b, Rusage: used, Empty: true},
		&Event{Kind: code.LeaderUsage, Rusage: used},
		&Event{Kind: code.MemberList, Members: []proctree.ID{{PID: 5, Start: 6}, {PID: 7, Start: 1 << 62}}},
		&Event{Kind: code.NowEmpty},
		&Event{Kind: code.Pong},
	} {
		b := Frame(m)
		heard := reflect.New(reflect.TypeOf(m).Elem()).Interface().(message)
		if err := Receive(bytes.NewReader(b), heard, MaxSpec); err != nil || !reflect.DeepEqual(heard, m) {
			t.Errorf("%v\nsaid  %+v\nheard %+v", err, m, heard)
		}
		for n := range len(b) {
			if err := Receive(bytes.NewReader(b[:n]), heard, MaxSpec); err != io.ErrUnexpectedEOF && err != io.EOF {
				t.Errorf("%d of %d bytes: %v", n, len(b), err)
			}
		}
	}
}

// TestMessageTooLong: the length of a message is somebody's word.
func TestMessageTooLong(t *testing.T) {
	said := bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 0})
	if err := Receive(said, new(Event), MaxEvent); err == nil || err == io.ErrUnexpectedEOF {
		t.Errorf("%v", err)
	}
}
