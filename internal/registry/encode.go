package registry

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"time"
	"unicode/utf8"
)

// encode returns an entry as JSON. Each run of the command writes one, and what
// encoding/json has to learn of a type first costs more than all else of that: so an
// entry without what is rare is written by hand. TestEncode compares.
func (e *Entry) encode() ([]byte, error) {
	if len(e.Kept) > 0 || e.LeftOut != nil || e.Ended != nil || len(e.Leader.Command) > 0 || e.Leader.Executable != "" {
		return json.Marshal(e)
	}
	w := writer(make([]byte, 0, 1024))
	w = append(w, `{"v":`...)
	w = strconv.AppendInt(w, int64(e.Version), 10)
	w.text("id", e.ID)
	w.text("name", e.Name)
	if len(e.Labels) > 0 {
		w.key("labels")
		w = append(w, '{')
		for i, key := range slices.Sorted(maps.Keys(e.Labels)) {
			if i > 0 {
				w = append(w, ',')
			}
			w.quote(key)
			w = append(w, ':')
			w.quote(e.Labels[key])
		}
		w = append(w, '}')
	}
	w.key("command")
	w.list(e.Command)
	if e.Redacted {
		w.key("redacted")
		w = append(w, "true"...)
	}
	w.some("dir", e.Dir)
	w.process("owner", e.Owner.PID, e.Owner.Start)
	w.some("boot", e.Owner.Boot)
	w.some("space", e.Owner.Space)
	w.some("host", e.Owner.Host)
	w = append(w, '}')
	w.text("program", e.Program)
	w.process("leader", e.Leader.PID, e.Leader.Start)
	w = append(w, '}')
	w.key("started")
	w = append(w, '"')
	w = e.Started.AppendFormat(w, time.RFC3339Nano)
	w = append(w, '"')
	w.text("containment", e.Containment)
	w.some("no_control", e.NoControl)
	return append(w, '}'), nil
}

// writer writes the fields of an object, after the first one.
type writer []byte

func (w *writer) key(name string) {
	*w = append(append(append(*w, `,"`...), name...), `":`...)
}

func (w *writer) text(name, value string) {
	w.key(name)
	w.quote(value)
}

// some is text for a field that is not there if it is empty.
func (w *writer) some(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

// process begins an object.
func (w *writer) process(name string, pid int, start uint64) {
	w.key(name)
	*w = strconv.AppendInt(append(*w, `{"pid":`...), int64(pid), 10)
	w.key("start")
	*w = strconv.AppendUint(*w, start, 10)
}

func (w *writer) list(words []string) {
	if words == nil {
		*w = append(*w, "null"...)
		return
	}
	*w = append(*w, '[')
	for i, word := range words {
		if i > 0 {
			*w = append(*w, ',')
		}
		w.quote(word)
	}
	*w = append(*w, ']')
}

// quote writes a string: what is not UTF-8 becomes U+FFFD, as by encoding/json.
func (w *writer) quote(s string) {
	const hex = "0123456789abcdef"
	b := append(*w, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r < ' ':
			b = append(b, '\\', 'u', '0', '0', hex[r>>4], hex[r&15])
		default:
			b = utf8.AppendRune(b, r)
		}
	}
	*w = append(b, '"')
}
