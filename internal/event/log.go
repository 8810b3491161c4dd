package event

import (
	"context"
	"log/slog"
	"reflect"
	"strings"
	"time"
)

// record returns the event as a record of log/slog: its attributes have the names and
// the values that the fields of the line have.
func record(e Event, level slog.Level, message string) slog.Record {
	r := slog.NewRecord(e.Common().Time, level, message, 0)
	addFields(&r, reflect.ValueOf(e).Elem())
	return r
}

func addFields(r *slog.Record, v reflect.Value) {
	t := v.Type()
	for i := range t.NumField() {
		f := v.Field(i)
		if f.Kind() == reflect.Pointer {
			if f.IsNil() {
				continue
			}
			f = f.Elem()
		}
		tag := t.Field(i).Tag.Get("json")
		name, options, _ := strings.Cut(tag, ",")
		switch {
		case tag == "": // its fields are ours
			addFields(r, f)
		case name == "time": // the record has it
		case options == "omitempty" && v.Field(i).IsZero():
		case f.Kind() == reflect.String:
			r.AddAttrs(slog.String(name, f.String()))
		default:
			r.AddAttrs(slog.Any(name, f.Interface()))
		}
	}
}

// Logger tells a handler of log/slog, which may block or panic, and keeps that from
// whoever logs. It is a handler itself.
type Logger struct {
	queue *Queue[entry]
	with  []func(slog.Handler) slog.Handler // what has been asked of the handler before
}

// entry is a record for the handler, once it has been asked for the rest.
type entry struct {
	slog.Record
	with []func(slog.Handler) slog.Handler
}

// NewLogger returns a Logger that tells h.
func NewLogger(h slog.Handler) *Logger {
	return &Logger{queue: &Queue[entry]{Deliver: func(e entry, lost int) int {
		h := h
		for _, with := range e.with {
			h = with(h)
		}
		if !h.Enabled(context.Background(), e.Level) {
			return lost
		}
		if lost > 0 {
			e.AddAttrs(slog.Int("dropped", lost))
		}
		if h.Handle(context.Background(), e.Record) != nil {
			return lost + 1
		}
		return 0
	}}}
}

// Tell logs an event.
func (l *Logger) Tell(e Event, level slog.Level, message string) {
	_, last := e.(*RunEnded)
	l.queue.Put(entry{record(e, level, message), nil}, last)
}

// Flush waits until all has been logged, but no longer than d.
func (l *Logger) Flush(d time.Duration) { l.queue.Flush(d) }

// Enabled is true: to ask the handler might take time.
func (l *Logger) Enabled(context.Context, slog.Level) bool { return true }

func (l *Logger) Handle(_ context.Context, r slog.Record) error {
	l.queue.Put(entry{r.Clone(), l.with}, false)
	return nil
}

func (l *Logger) WithAttrs(attrs []slog.Attr) slog.Handler {
	return l.then(func(h slog.Handler) slog.Handler { return h.WithAttrs(attrs) })
}

func (l *Logger) WithGroup(name string) slog.Handler {
	return l.then(func(h slog.Handler) slog.Handler { return h.WithGroup(name) })
}

func (l *Logger) then(with func(slog.Handler) slog.Handler) *Logger {
	all := make([]func(slog.Handler) slog.Handler, 0, len(l.with)+1)
	return &Logger{queue: l.queue, with: append(append(all, l.with...), with)}
}
