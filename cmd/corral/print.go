//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

func say(w io.Writer, format string, args ...any) { sayAs("corral", w, format, args...) }

// sayAs writes one line. Its words may come from anywhere, so they are made
// printable. A line that cannot be written is no failure.
func sayAs(name string, w io.Writer, format string, args ...any) {
	line := strings.TrimPrefix(fmt.Sprintf(format, args...), "corral: ")
	fmt.Fprintf(w, "%s: %s\n", name, printable(line))
}

// sink remembers the first error of writing to a file: many a writer ignores it.
type sink struct {
	to  io.Writer
	err error
}

func (s *sink) Write(b []byte) (int, error) {
	n, err := s.to.Write(b)
	if s.err == nil {
		s.err = err
	}
	return n, err
}

// fileOf is the file that w writes to, nil if there is none.
func fileOf(w io.Writer) *os.File {
	if s, ok := w.(*sink); ok {
		w = s.to
	}
	f, _ := w.(*os.File)
	return f
}

// table writes aligned columns. The cells may come from anywhere, so they are made
// printable.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer) table {
	if v := viewFor(w); v.width > 0 {
		w = &fitted{to: w, as: v}
	}
	return table{tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)}
}

// fitted shortens lines to the width of the view.
type fitted struct {
	to   io.Writer
	as   view
	rest []byte // of a line that has not ended
}

func (f *fitted) Write(b []byte) (int, error) {
	f.rest = append(f.rest, b...)
	for {
		text, rest, ended := bytes.Cut(f.rest, []byte("\n"))
		if !ended {
			return len(b), nil
		}
		f.rest = rest
		if _, err := fmt.Fprintln(f.to, line([]span{{text: string(text)}}, f.as)); err != nil {
			return 0, err
		}
	}
}

func (t table) row(cells ...string) {
	for i, cell := range cells {
		cells[i] = printable(cell)
	}
	fmt.Fprintln(t, strings.Join(cells, "\t")) // what fails, fails at Flush
}

// printable returns s as it may be shown on a terminal, on one line: what does
// not print is escaped the way Go escapes it. A command line is chosen by
// whoever started the process, and must not move the cursor, nor turn the
// direction of the text, in someone else's terminal.
func printable(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == '\uFFFD' && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case strconv.IsPrint(r):
			b.WriteRune(r)
		default:
			quoted := strconv.QuoteRune(r)
			b.WriteString(quoted[1 : len(quoted)-1])
		}
	}
	return b.String()
}

// shorten returns the first n characters of s at most, the last three of them
// dots if there were more.
func shorten(s string, n int) string {
	runes := []rune(s)
	if len(runes) <= n {
		return s
	}
	return string(runes[:n-3]) + "..."
}

// utf8Locale reports whether the terminal can be expected to show more than
// ASCII. The first variable that is set decides: locale(7).
func utf8Locale(getenv func(string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := getenv(name); v != "" {
			v = strings.ReplaceAll(strings.ToUpper(v), "-", "")
			return strings.Contains(v, "UTF8")
		}
	}
	return defaultUTF8
}
