package event_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/event"
	"github.com/corral-run/corral/internal/event/eventtest"
)

var update = flag.Bool("update", false, "write the tables in docs/events.md anew")

func load(t *testing.T) *eventtest.Schema {
	t.Helper()
	s, err := eventtest.Load("../../docs/events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSchema: the schema has the events that there are, with their fields, and
// requires those that are always written.
func TestSchema(t *testing.T) {
	schema := load(t)
	var want, got []string
	for _, e := range event.All() {
		event.Fill(e, "r", time.Now())
		title := string(e.Common().Kind)
		for _, f := range fields(reflect.TypeOf(e).Elem(), false) {
			want = append(want, title+"."+f)
		}
	}
	for _, s := range schema.OneOf {
		if s.AdditionalProperties == nil || *s.AdditionalProperties || s.Description == "" {
			t.Errorf("%s: no additionalProperties: false, or no description", s.Title)
		}
		for _, name := range s.Names {
			if p := s.Properties[name]; p.Description == "" {
				t.Errorf("%s.%s has no description", s.Title, name)
			}
			if !slices.Contains(s.Required, name) {
				name += " optional"
			}
			got = append(got, s.Title+"."+name)
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := diff.Of(strings.Join(want, "\n"), strings.Join(got, "\n")); d != "" {
		t.Errorf("the structs (want) and the schema (got): %s", d)
	}
}

// fields returns the names of the fields in the JSON of a struct.
func fields(of reflect.Type, optional bool) (names []string) {
	for i := range of.NumField() {
		f := of.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		embedded, pointer := f.Type, f.Type.Kind() == reflect.Pointer
		if pointer {
			embedded = f.Type.Elem()
		}
		switch {
		case name == "":
			names = append(names, fields(embedded, optional || pointer)...)
		case optional || options == "omitempty":
			names = append(names, name+" optional")
		default:
			names = append(names, name)
		}
	}
	return names
}

// full fills every field of an event, with texts of that length.
func full(e event.Event, length int) event.Event {
	var fill func(v reflect.Value)
	fill = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			// A control character takes six bytes of JSON, what is not UTF-8 three.
			v.SetString(strings.Repeat("\x01ü\xff", length/4+1)[:length])
		case reflect.Int, reflect.Int64:
			v.SetInt(1 << 40)
		case reflect.Uint64:
			v.SetUint(1 << 50)
		case reflect.Float64:
			v.SetFloat(1.0 / 3)
		case reflect.Bool:
			v.SetBool(true)
		case reflect.Pointer:
			v.Set(reflect.New(v.Type().Elem()))
			fill(v.Elem())
		case reflect.Slice:
			v.Set(reflect.MakeSlice(v.Type(), 4, 4))
			for i := range v.Len() {
				fill(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if v.Type().Field(i).IsExported() {
					fill(v.Field(i))
				}
			}
		}
	}
	fill(reflect.ValueOf(e).Elem())
	event.Fill(e, "0123456789abcdef", time.Now())
	return e
}

// TestLine: a line is one line of JSON, and no longer than MaxLine, whatever is in it.
// What is cut says so, and the event itself stays as it was.
func TestLine(t *testing.T) {
	for _, length := range []int{0, 1, 30, 200, 1000, 5000, 30_000} {
		for _, e := range event.All() {
			name := fmt.Sprintf("%s, %d", full(e, length).Common().Kind, length)
			before := fmt.Sprintf("%+v", e)
			line, err := event.Line(e)
			if err != nil || len(line) > event.MaxLine || bytes.Count(line, []byte("\n")) != 1 || line[len(line)-1] != '\n' {
				t.Errorf("%s: %d bytes, %v", name, len(line), err)
			}
			var back map[string]any
			if err := json.Unmarshal(line, &back); err != nil {
				t.Errorf("%s: %v: %s", name, err, line)
			}
			whole, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if cut := back["cut"] == true; cut != (len(whole)+1 > event.MaxLine) {
				t.Errorf("%s: %d bytes of %d, cut: %v", name, len(line), len(whole)+1, cut)
			}
			if back["run"] != e.Common().Run || back["event"] != string(e.Common().Kind) {
				t.Errorf("%s: its head is %v, %v", name, back["run"], back["event"])
			}
			if after := fmt.Sprintf("%+v", e); after != before {
				t.Errorf("%s: it has become %s", name, after)
			}
		}
	}
}

// TestRecord: a record of log/slog has the fields of the line, with their values.
func TestRecord(t *testing.T) {
	for _, make := range []func(event.Event) event.Event{
		func(e event.Event) event.Event { return full(e, 20) },
		func(e event.Event) event.Event { event.Fill(e, "r", time.Now()); return e },
	} {
		for _, e := range event.All() {
			e = make(e)
			var log bytes.Buffer
			l := event.NewLogger(slog.NewJSONHandler(&log, nil))
			l.Tell(e, slog.LevelInfo, "message")
			l.Flush(time.Minute)
			line, err := event.Line(e)
			if err != nil {
				t.Fatal(err)
			}
			var want, got map[string]any
			if err := json.Unmarshal(line, &want); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(log.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if got["level"] != "INFO" || got["msg"] != "message" {
				t.Errorf("level %v, message %v", got["level"], got["msg"])
			}
			delete(got, "level")
			delete(got, "msg")
			if d := diff.Of(want, got); d != "" {
				t.Errorf("%s: the line (want) and the record (got):\n%s", e.Common().Kind, d)
			}
		}
	}
}

// TestDocs: the tables in docs/events.md are those of the schema.
func TestDocs(t *testing.T) {
	const path, begin, end = "../../docs/events.md", "<!-- from events.schema.json -->\n", "<!-- end -->\n"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok1 := strings.Cut(string(text), begin)
	got, after, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s has no part from %q to %q", path, begin, end)
	}
	want := tables(load(t))
	if *update {
		if err := os.WriteFile(path, []byte(before+begin+want+end+after), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	if d := diff.Of(want, got); d != "" {
		t.Errorf("%s (go test ./internal/event -update writes it): %s", path, d)
	}
}

func tables(s *eventtest.Schema) string {
	var b strings.Builder
	common := event.Head{}
	shared := fields(reflect.TypeOf(common), false)
	isShared := func(name string) bool {
		return slices.ContainsFunc(shared, func(s string) bool { return strings.TrimSuffix(s, " optional") == name })
	}
	table := func(s *eventtest.Schema, of func(name string) bool) {
		fmt.Fprintf(&b, "| field | type | |\n| --- | --- | --- |\n")
		for _, name := range s.Names {
			if !of(name) {
				continue
			}
			p := s.Properties[name]
			kind := typeOf(p)
			if name == "event" {
				kind = "string"
			}
			if !slices.Contains(s.Required, name) {
				kind += ", optional"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, kind, strings.ReplaceAll(p.Description, "|", `\|`))
		}
	}
	b.WriteString("\n### All events\n\n")
	table(s.OneOf[0], isShared)
	for _, one := range s.OneOf {
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n", one.Title, strings.ToUpper(one.Description[:1])+one.Description[1:])
		table(one, func(name string) bool { return !isShared(name) })
	}
	b.WriteString("\n")
	return b.String()
}

func typeOf(s *eventtest.Schema) string {
	switch {
	case s.Enum != nil:
		return "`" + strings.Join(s.Enum, "`, `") + "`"
	case s.Const != nil:
		return fmt.Sprintf("`%v`", s.Const)
	case s.Type == "array" && s.Items.Type == "object":
		return "list of objects with `" + strings.Join(s.Items.Required, "`, `") + "`"
	case s.Type == "array":
		return "list of " + s.Items.Type + "s"
	case s.Type == "object" && len(s.Required) > 0:
		return "object with `" + strings.Join(s.Required, "`, `") + "`"
	}
	return s.Type
}

// TestLoggerWith: what is asked of a Logger beside records gets to the handler.
func TestLoggerWith(t *testing.T) {
	var log bytes.Buffer
	l := event.NewLogger(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	logger := slog.New(l).With("a", 1).WithGroup("g").With("b", 2)
	logger.Info("said", "c", 3)
	logger.Debug("not said")
	l.Flush(time.Minute)
	if _, got, _ := strings.Cut(strings.TrimSpace(log.String()), "level="); got != "INFO msg=said a=1 g.b=2 g.c=3" {
		t.Errorf("it logs %q", got)
	}
}

// TestSinkOf: a context brings whom to tell along, or nobody.
func TestSinkOf(t *testing.T) {
	var none context.Context // as a command's that has none
	if event.SinkOf(none) != nil || event.SinkOf(context.Background()) != nil {
		t.Error("there is somebody to tell")
	}
	told := 0
	event.SinkOf(event.With(context.Background(), func(event.Event) { told++ }))(nil)
	if told != 1 {
		t.Errorf("told %d times", told)
	}
}
