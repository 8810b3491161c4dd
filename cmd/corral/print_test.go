//go:build linux || darwin || freebsd || windows

package main

import (
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"unicode/utf8"
)

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"sleep 300":              "sleep 300",
		"größe 猫 ✓":              "größe 猫 ✓",
		"a\nb\tc\r":              `a\nb\tc\r`,
		"\x1b[31mred\a":          `\x1b[31mred\a`,
		"\x9b31m":                `\x9b31m`,
		"bad \xff\xfe utf-8":     `bad \xff\xfe utf-8`,
		"a real \uFFFD":          "a real \uFFFD",
		"gnp\u202e.exe":          `gnp\u202e.exe`, // turns the direction of the text
		"zero\u200bwidth":        `zero\u200bwidth`,
		"line\u2028sep \u0085":   `line\u2028sep \u0085`,
		`back\slash "q" 'q' \x1`: `back\slash "q" 'q' \x1`,
		"nul\x00":                `nul\x00`,
	} {
		if got := printable(in); got != want {
			t.Errorf("printable(%q) = %q; want %q", in, got, want)
		}
	}
}

// TestTableFits: on a terminal, a line of a table is not longer than the terminal is
// wide.
func TestTableFits(t *testing.T) {
	var b strings.Builder
	f := &fitted{to: &b, as: view{width: 12, ascii: true}}
	table := table{tabwriter.NewWriter(f, 0, 0, 3, ' ', 0)}
	table.row("ID", "COMMAND")
	table.row("ab12", "sleep 300")
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	if want := "ID     COMM+\nab12   slee+\n"; b.String() != want {
		t.Errorf("%q, want %q", b.String(), want)
	}
}

func FuzzPrintable(f *testing.F) {
	f.Add("sleep 300")
	f.Add("\x1b[2J\xff\u202e\n")
	f.Fuzz(func(t *testing.T, s string) {
		got := printable(s)
		if !utf8.ValidString(got) {
			t.Errorf("printable(%q) = %q, not valid UTF-8", s, got)
		}
		for _, r := range got {
			if !strconv.IsPrint(r) {
				t.Errorf("printable(%q) = %q: %q does not print", s, got, r)
			}
		}
		if again := printable(got); again != got {
			t.Errorf("printable(%q) = %q, and again: %q", s, got, again)
		}
	})
}

func TestShorten(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 5, ""},
		{"12345", 5, "12345"},
		{"123456", 5, "12..."},
		{"äöüßé", 5, "äöüßé"},
		{"äöüßéx", 5, "äö..."},
	} {
		if got := shorten(tt.in, tt.n); got != tt.want {
			t.Errorf("shorten(%q, %d) = %q; want %q", tt.in, tt.n, got, tt.want)
		}
	}
}

func TestUTF8Locale(t *testing.T) {
	for _, tt := range []struct {
		env  map[string]string
		want bool
	}{
		{nil, defaultUTF8},
		{map[string]string{"LANG": "de_DE.UTF-8"}, true},
		{map[string]string{"LANG": "C.utf8"}, true},
		{map[string]string{"LANG": "C"}, false},
		{map[string]string{"LANG": "de_DE.ISO-8859-1"}, false},
		{map[string]string{"LC_ALL": "C", "LANG": "C.UTF-8"}, false},
		{map[string]string{"LC_ALL": "", "LC_CTYPE": "C", "LANG": "C.UTF-8"}, false},
		{map[string]string{"LC_CTYPE": "en_US.UTF-8", "LANG": "C"}, true},
	} {
		if got := utf8Locale(func(name string) string { return tt.env[name] }); got != tt.want {
			t.Errorf("utf8Locale with %v = %v; want %v", tt.env, got, tt.want)
		}
	}
}
