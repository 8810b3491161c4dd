package diff

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
)

type inner struct{ n int }

type outer struct {
	Name  string
	Inner *inner
	List  []inner
	Any   any
}

// TestOf: it tells every pair that differs from an equal one, and says the path.
func TestOf(t *testing.T) {
	base := func() outer { return outer{"a", &inner{1}, []inner{{1}, {2}}, map[string]int{"x": 1, "y": 2}} }
	changed := func(change func(*outer)) outer {
		o := base()
		change(&o)
		return o
	}
	for _, tt := range []struct {
		want, got any
		text      string
	}{
		{base(), base(), ""},
		{nil, nil, ""},
		{nil, 1, ": want <nil>, got 1"},
		{1, int64(1), ": want 1, got 1"},
		{base(), changed(func(o *outer) { o.Name = "b" }), `.Name: want "a", got "b"`},
		{base(), changed(func(o *outer) { o.Inner.n = 2 }), ".Inner.n: want 1, got 2"},
		{base(), changed(func(o *outer) { o.Inner = nil }), ".Inner: want "},
		{base(), changed(func(o *outer) { o.List[1].n = 3 }), ".List[1].n: want 2, got 3"},
		{base(), changed(func(o *outer) { o.List = o.List[:1] }), ".List[1]: want {n:2}, got nothing"},
		{base(), changed(func(o *outer) { o.Any = map[string]int{"x": 1, "y": 3} }), `.Any["y"]: want 2, got 3`},
		{base(), changed(func(o *outer) { o.Any = map[string]int{"x": 1} }), `.Any["y"]: want 2, got nothing`},
		{base(), changed(func(o *outer) { o.Any = map[string]int{"x": 1, "y": 2, "z": 0} }), `.Any["z"]: want nothing, got 0`},
		{base(), changed(func(o *outer) { o.Any = nil }), ".Any: want "},
		{[]string(nil), []string{}, ": want [], got []"},
		{map[int]int(nil), map[int]int{}, ": want map[], got map[]"},
		{"a\nb\nc", "a\nb\nc", ""},
		{"a\nb\nc", "a\nx\nc", ` line [1]: want "b", got "x"`},
		{"a\nb", "a\nb\n", ` line [2]: want nothing, got ""`},
		{[2]bool{true}, [2]bool{true, true}, "[1]: want false, got true"},
		{errors.New("x"), errors.New("y"), `.s: want "x", got "y"`},
		{time.Unix(1, 0).UTC(), time.Unix(1, 0).UTC(), ""},
		{time.Unix(1, 0), time.Unix(2, 0), "want "},
	} {
		diff := Of(tt.want, tt.got)
		if (tt.text == "") != (diff == "") || !strings.Contains(diff, tt.text) {
			t.Errorf("Of(%#v, %#v): %q; want %q", tt.want, tt.got, diff, tt.text)
		}
		if (diff == "") != reflect.DeepEqual(tt.want, tt.got) {
			t.Errorf("Of(%#v, %#v): %q, and DeepEqual does not agree", tt.want, tt.got, diff)
		}
	}
}
