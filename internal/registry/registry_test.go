package registry

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/corral-run/corral/internal/proctree"
)

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"web": true, "Web-1.2_x": true, "7": true, strings.Repeat("a", 64): true,
		"": false, "-x": false, ".x": false, "_x": false, "a b": false, "a/b": false, "é": false, "a\n": false, strings.Repeat("a", 65): false,
	} {
		if err := CheckName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNameOf(t *testing.T) {
	for command, want := range map[string]string{
		"/usr/bin/make": "make", "./my tool": "my_tool", "-": "run", "..": "run", "": "run", "[": "run", "été": "t_", "/": "run",
		strings.Repeat("x", 100): strings.Repeat("x", 64),
	} {
		got := NameOf(command)
		if got != want || CheckName(got) != nil {
			t.Errorf("%q: %q (%v); want %q", command, got, CheckName(got), want)
		}
	}
}

func TestCheckLabels(t *testing.T) {
	many := make(map[string]string)
	for i := range mostLabels + 1 {
		many[strings.Repeat("k", i+1)] = ""
	}
	for _, bad := range []map[string]string{{"": "x"}, {"a=b": "x"}, {"a,b": ""}, {"k": strings.Repeat("v", mostLabel+1)}, {"k": "\xff"}, many} {
		if CheckLabels(bad) == nil {
			t.Errorf("%.60q is taken", bad)
		}
	}
	if err := CheckLabels(map[string]string{"team": "a=b, c", "x": ""}); err != nil {
		t.Error(err)
	}
}

func TestShown(t *testing.T) {
	command := []string{"tool", "--password", "secret"}
	if got := strings.Join(Shown(command, true), " "); got != "tool" {
		t.Errorf("redacted: %q", got)
	}
	if got := strings.Join(Shown(command, false), " "); got != "tool --password secret" {
		t.Errorf("%q", got)
	}
	if got := Shown(nil, true); len(got) != 0 {
		t.Errorf("of nothing: %q", got)
	}
	long := Shown([]string{"tool", strings.Repeat("x", 1<<20), "more"}, false)
	if n := len(strings.Join(long, " ")); n > mostCommand+3 || len(long) != 2 || !strings.HasSuffix(long[1], "x...") {
		t.Errorf("a long one has %d words and %d bytes", len(long), n)
	}
}

func TestNewID(t *testing.T) {
	met := make(map[string]bool)
	for range 10000 {
		id := NewID()
		if !IsID(id) || met[id] {
			t.Fatalf("%q", id)
		}
		met[id] = true
	}
	for _, not := range []string{"", "short", "../../etc1", "UPPERCASE1", "a.b.c.d.e.", NewID() + "x"} {
		if IsID(not) {
			t.Errorf("%q is taken for an ID", not)
		}
	}
}

// TestJudge: only an owner that is known to be dead is stale.
func TestJudge(t *testing.T) {
	from := Owner{Boot: "b", Space: "s", Host: "h"}
	owner := func(change func(*Owner)) Owner {
		o := Owner{PID: 7, Start: 100, Boot: "b", Space: "s", Host: "h"}
		change(&o)
		return o
	}
	row := proctree.Process{ID: proctree.ID{PID: 7, Start: 100}, State: proctree.Sleeping, Threads: 1}
	zombie, later := row, row
	zombie.State, later.Start = proctree.Zombie, 101
	for name, c := range map[string]struct {
		owner Owner
		row   proctree.Process
		err   error
		want  State
	}{
		"it lives":                {owner(func(*Owner) {}), row, nil, Live},
		"gone":                    {owner(func(*Owner) {}), row, proctree.ErrGone, Stale},
		"a zombie":                {owner(func(*Owner) {}), zombie, nil, Stale},
		"another with its PID":    {owner(func(*Owner) {}), later, nil, Stale},
		"hidden":                  {owner(func(*Owner) {}), row, os.ErrPermission, Unseen},
		"no process table":        {owner(func(*Owner) {}), row, errors.New("no /proc"), Unseen},
		"another name space":      {owner(func(o *Owner) { o.Space = "t" }), row, proctree.ErrGone, Unseen},
		"before a boot":           {owner(func(o *Owner) { o.Boot = "a" }), row, nil, Stale},
		"before one, there":       {owner(func(o *Owner) { o.Boot, o.Space = "a", "t" }), row, nil, Stale},
		"boot unknown, there":     {owner(func(o *Owner) { o.Boot = "" }), row, nil, Unseen},
		"another host":            {owner(func(o *Owner) { o.Boot, o.Host = "a", "i" }), row, proctree.ErrGone, Unseen},
		"the host is called else": {owner(func(o *Owner) { o.Host = "i" }), row, nil, Live},
	} {
		if got := c.owner.judge(from, func(int) (proctree.Process, error) { return c.row, c.err }); got != c.want {
			t.Errorf("%s: %v; want %v", name, got, c.want)
		}
	}
	unknown := from
	unknown.Boot = ""
	if got := owner(func(*Owner) {}).judge(unknown, func(int) (proctree.Process, error) { return row, nil }); got != Unseen {
		t.Errorf("boot unknown, here: %v; want %v", got, Unseen)
	}
}
