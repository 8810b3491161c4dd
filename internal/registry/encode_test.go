package registry

import (
	"encoding/json"
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/diff"
)

// TestEncode: an entry that is written by hand is read as the one that encoding/json
// writes: with any one of its fields, with all of them, and with any text.
func TestEncode(t *testing.T) {
	const bad = "a\"b\\c\x00\x1f\x7f\n\t<&>ü\xff\xc3\u2028日"
	full := Entry{
		Version: 1, ID: "0123456789", Name: bad, Labels: map[string]string{"b": "", "a": bad, bad: "c"},
		Command: []string{"", bad, "x"}, Redacted: true, Dir: bad, Owner: Owner{1, 1 << 63, bad, bad, bad}, Program: bad,
		Leader: Process{2, 3, []string{bad}, bad}, Started: time.Date(2026, 11, 28, 1, 2, 3, 40, time.UTC), Containment: bad, NoControl: bad,
		Kept: []Process{{PID: 4}}, LeftOut: &LeftOut{Commands: 6}, Ended: &Ended{Status: 5},
	}
	check := func(name string, e Entry) {
		t.Helper()
		got, err := e.encode()
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var gotBack, wantBack map[string]any
		if err := json.Unmarshal(got, &gotBack); err != nil {
			t.Fatalf("%s: %v: %s", name, err, got)
		}
		if err := json.Unmarshal(want, &wantBack); err != nil {
			t.Fatal(err)
		}
		if d := diff.Of(wantBack, gotBack); d != "" {
			t.Errorf("%s: encoding/json (want) and ours (got): %s", name, d)
		}
	}
	check("full", full)
	check("empty", Entry{})
	check("no words", Entry{Command: []string{}})
	fields := reflect.TypeFor[Entry]()
	for i := range fields.NumField() {
		var one Entry
		value := reflect.ValueOf(full).Field(i)
		if value.IsZero() {
			t.Errorf("%s: this test has no value for it", fields.Field(i).Name)
		}
		reflect.ValueOf(&one).Elem().Field(i).Set(value)
		check(fields.Field(i).Name, one)
	}
	plain := full // all that is written by hand
	plain.Kept, plain.LeftOut, plain.Ended, plain.Leader = nil, nil, nil, Process{PID: 2, Start: 3}
	check("plain", plain)
	for r := range 0x300 {
		check(fmt.Sprintf("%#x", r), Entry{Name: string(rune(r)), Dir: string([]byte{byte(r)})})
	}
}
