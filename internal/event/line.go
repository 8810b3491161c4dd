package event

import (
	"bytes"
	"encoding/json"
	"reflect"
	"unicode/utf8"
)

// MaxLine is the size of the longest line, with its end. Linux writes as much to a
// pipe in one piece (pipe(7), PIPE_BUF), so that several runs can share one.
const MaxLine = 4096

// Line returns the event as a line of JSON. If that would be longer than MaxLine,
// texts in it are cut, and it says so.
func Line(e Event) ([]byte, error) {
	line, err := encode(e)
	for most := MaxLine * 3 / 4; err == nil && len(line) > MaxLine && most > 0; most = most * 2 / 3 {
		line, err = encode(shortened(e, most))
	}
	return line, err
}

func encode(e Event) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(e)
	return b.Bytes(), err
}

// shortened returns a copy of the event in which no text, and no list of texts, has
// more than most bytes.
func shortened(e Event, most int) Event {
	copied := reflect.New(reflect.TypeOf(e).Elem())
	copied.Elem().Set(reflect.ValueOf(e).Elem())
	head := *e.Common()
	shorten(copied.Elem(), most)
	short := copied.Interface().(Event)
	*short.Common() = head
	short.Common().Cut = true
	return short
}

func shorten(v reflect.Value, most int) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(cut(v.String(), most))
	case reflect.Slice:
		if v.IsNil() {
			return
		}
		all := reflect.MakeSlice(v.Type(), 0, v.Len())
		left := most
		for i := range v.Len() {
			item := reflect.New(v.Type().Elem()).Elem()
			item.Set(v.Index(i))
			shorten(item, most)
			if item.Kind() == reflect.String {
				if left <= 0 {
					break
				}
				item.SetString(cut(item.String(), left))
				left -= max(1, item.Len())
			}
			all = reflect.Append(all, item)
		}
		v.Set(all)
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Field(i); f.CanSet() {
				shorten(f, most)
			}
		}
	}
}

// cut returns the beginning of s, and a mark, if s has more than most bytes.
func cut(s string, most int) string {
	const mark = "…"
	if len(s) <= most {
		return s
	}
	s = s[:most]
	for len(s) > 0 && !utf8.RuneStart(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	if len(s) > 0 && s[len(s)-1] >= utf8.RuneSelf { // the first byte of one that has been cut
		s = s[:len(s)-1]
	}
	return s + mark
}
