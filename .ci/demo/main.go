// Demo draws docs/leak.svg, the picture at the top of README.md: a terminal in which a
// script leaves a process behind, and the same under corral. Nothing in it is made up.
// It runs the commands and draws what they print.
//
//	unshare --pid --fork --kill-child --mount --mount-proc -- sh -c 'go run ./.ci/demo; exit $?'
//
// The name spaces (as root; others add --user --map-root-user) are there so that pgrep
// finds the picture's processes and no others. The shell is PID 1, and reaps orphans. PIDs
// differ from one time to the next.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"html"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/corral-run/corral"
)

const script = `setsid sleep 300 &   # a server, a browser, a database
./tests
`

// The tests need the server, and wait until it is there. Before that it is another
// program's process, which the picture would show if the machine is slow.
const tests = `#!/bin/sh
until pgrep -x -f 'sleep 300' >/dev/null; do sleep 0.1; done
echo "12 tests passed"
`

// A pane is one terminal.
type pane struct {
	title string
	lines []string // what is typed
}

var panes = []pane{
	{"before", []string{"cat test.sh", "timeout 60 sh test.sh", "pgrep -a sleep"}},
	{"after", []string{"corral --timeout 60 -- sh test.sh", "pgrep -a sleep"}},
}

func main() {
	log.SetFlags(0)
	out := flag.String("o", "docs/leak.svg", "where to draw")
	flag.Parse()
	svg, err := draw()
	if err == nil {
		err = os.WriteFile(*out, svg, 0o644)
	}
	if err != nil {
		log.Fatal("demo: ", err)
	}
}

// draw runs everything in a directory of its own.
func draw() ([]byte, error) {
	if found, err := exec.Command("pgrep", "-a", "sleep").Output(); err == nil {
		return nil, fmt.Errorf("other processes are called sleep, which the picture would show (see the top of this file):\n%s", found)
	}
	dir, err := os.MkdirTemp("", "demo")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if out, err := exec.Command("go", "build", "-o", filepath.Join(dir, "corral"), "./cmd/corral").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "test.sh"), []byte(script), 0o644); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "tests"), []byte(tests), 0o755); err != nil {
		return nil, err
	}
	var rows []string
	for _, p := range panes {
		shown, err := p.run(dir)
		if err != nil {
			return nil, err
		}
		rows = append(append(rows, "# "+p.title), shown...)
	}
	return picture(rows), nil
}

// run returns what a terminal shows. What the commands leave is there for the next
// one, as it would be for a reader, and is stopped at the end.
func (p pane) run(dir string) (shown []string, err error) {
	var scope corral.Scope
	defer func() {
		if _, e := scope.Close(context.Background()); err == nil {
			err = e
		}
	}()
	for _, line := range p.lines {
		if err := reaped(); err != nil {
			return nil, err
		}
		shown = append(shown, "$ "+line)
		cmd := scope.Command("sh", "-c", line)
		cmd.Dir = dir
		// What is asked to end on a slow machine may take its time.
		cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CORRAL_GRACE=30s")
		output := &corral.Tail{Limit: 1 << 16}
		cmd.Stdout, cmd.Stderr = output, output
		if err := cmd.Run(); err != nil && !strings.HasPrefix(line, "pgrep") { // which found nobody
			return nil, fmt.Errorf("%s: %w\n%s", line, err, output)
		}
		for text := range strings.Lines(output.String()) {
			shown = append(shown, strings.TrimRight(text, "\n"))
		}
	}
	return append(shown, "$"), nil
}

// reaped waits until PID 1 has reaped those that have ended. Before that pgrep would
// still find them.
func reaped() error {
	for deadline := time.Now().Add(30 * time.Second); exec.Command("pgrep", "-r", "Z", "sleep").Run() == nil; {
		if time.Now().After(deadline) {
			return errors.New("PID 1 does not reap orphans (see the top of this file)")
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// Sizes of the picture, in its units.
const (
	width, margin, rowHeight = 780, 18, 21
)

// picture draws the rows. Colours say what a row is: a title, what is typed, what was
// left, what corral says.
func picture(rows []string) []byte {
	var b bytes.Buffer
	height := len(rows)*rowHeight + 2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" role="img">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(strings.Join(rows, "\n")))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#1e2127"/>`+"\n", width, height)
	fmt.Fprintln(&b, `<g font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">`)
	for i, row := range rows {
		colour := "#d7dae0"
		switch {
		case strings.HasPrefix(row, "# "):
			colour = "#8b93a3"
		case strings.HasPrefix(row, "$"):
			colour = "#ffffff"
		case strings.HasPrefix(row, "corral: "):
			colour = "#98c379"
		case strings.HasSuffix(row, " sleep 300"):
			colour = "#e06c75"
		}
		fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", margin, margin+(i+1)*rowHeight-6, colour, html.EscapeString(row))
	}
	fmt.Fprintln(&b, "</g>\n</svg>")
	return b.Bytes()
}
