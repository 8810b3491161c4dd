package corral_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/proctree"
)

// guides are the documents that are tried as a reader does: their files are written,
// and their commands run, in the order in which they come. Each command prints what the
// document says, but for numbers.
var guides = []struct {
	name, from      string // the heading where it begins, if there is one
	files, commands int    // how many there are
}{
	{"agents", "", 3, 2},
	{"keep", "", 2, 4},
	{"mcp", "", 3, 5},
	{"migrate", "# From other ways to stop a tree", 6, 10},
	{"shell", "", 2, 4},
	{"testing", "", 3, 4},
	{"timeout", "", 0, 5},
}

// TestGuides tries them.
func TestGuides(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	for _, tool := range []string{"ps", "pgrep", "setsid", "timeout"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("SKIPPED: ", err)
		}
	}
	bin := guideTools(t)
	for _, tt := range guides {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, text, found := strings.Cut("\n"+string(readFile(t, "docs/"+tt.name+".md")), "\n"+tt.from)
			if !found {
				t.Fatalf("no %q in the guide", tt.from)
			}
			g := newGuide(t, bin)
			commands := 0
			for _, block := range guideBlock.FindAllStringSubmatch(text, -1) {
				if name := block[1]; name != "" {
					g.files[name] = block[2]
					writeFile(t, filepath.Join(g.dir, name), []byte(block[2]))
				}
				for _, part := range strings.Split("\n"+block[3], "\n$ ")[1:] {
					commands++
					line, want, _ := strings.Cut(part, "\n")
					t.Run(line, func(t *testing.T) { g.try(t, line, want) })
				}
			}
			if len(g.files) != tt.files || commands != tt.commands {
				t.Errorf("%d files and %d commands in the guide; want %d and %d", len(g.files), commands, tt.files, tt.commands)
			}
		})
	}
}

// TestReadmeCode: the Go code of README.md compiles.
func TestReadmeCode(t *testing.T) {
	g := newGuide(t, t.TempDir())
	var body strings.Builder
	for _, block := range goBlock.FindAllStringSubmatch(string(readFile(t, "README.md")), -1) {
		fmt.Fprintf(&body, "{\n%s_ = cmd\n}\n", block[1])
	}
	if body.Len() == 0 {
		t.Fatal("README.md has no Go code")
	}
	program := `package main

import (
	"context"
	"log"
	"os"
	"time"

	"github.com/corral-run/corral"
)

func main() {
	ctx := context.Background()
	var err error
	` + strings.ReplaceAll(body.String(), "err := ", "err = ") + `
	_, _, _, _ = log.Print, os.Stdout, time.Minute, err
}
`
	writeFile(t, filepath.Join(g.dir, "main.go"), []byte(program))
	if out, err := g.command(t.Context(), "go vet .").CombinedOutput(); err != nil {
		t.Errorf("%v\n%s\n%s", err, out, program)
	}
}

var goBlock = regexp.MustCompile("(?ms)^```go\n(.*?)^```$")

// guideBlock is a file, with its name on the line before, or what is typed on a
// terminal.
var guideBlock = regexp.MustCompile("(?ms)^`([^`\n]+)`:\n\n```\\w+\n(.*?)^```$|^```console\n(.*?)^```$")

// guideTools returns a directory with the command corral, and a pgrep that finds none
// but the processes of the directory GUIDE: other tests have theirs.
func guideTools(t *testing.T) string {
	bin := t.TempDir()
	build := exec.Command(filepath.Join(goroot(t), "bin", "go"), "build", "-o", filepath.Join(bin, "corral"), "./cmd/corral")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pgrep, err := exec.LookPath("pgrep")
	if err != nil {
		t.Fatal(err)
	}
	script := "#!/bin/sh\n" + pgrep + ` "$@" | while read -r pid rest; do
	case $(readlink "/proc/$pid/cwd") in "$GUIDE" | "$GUIDE"/*) echo "$pid $rest" ;; esac
done
`
	if err := os.WriteFile(filepath.Join(bin, "pgrep"), []byte(script), 0o777); err != nil {
		t.Fatal(err)
	}
	return bin
}

// guide is a directory in which a reader follows a guide.
type guide struct {
	dir   string
	files map[string]string
	env   []string
}

// newGuide makes the directory a module with this library.
func newGuide(t *testing.T, bin string) *guide {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	mod, _, _ := strings.Cut(strings.Replace(string(readFile(t, "go.mod")), "module github.com/corral-run/corral", "module example", 1), "\ntool ")
	mod += "\nrequire github.com/corral-run/corral v0.0.0\nreplace github.com/corral-run/corral => " + root + "\n"
	writeFile(t, filepath.Join(dir, "go.mod"), []byte(mod))
	writeFile(t, filepath.Join(dir, "go.sum"), readFile(t, "go.sum"))
	path := strings.Join([]string{filepath.Join(dir, "bin"), bin, filepath.Join(goroot(t), "bin"), os.Getenv("PATH")}, string(os.PathListSeparator))
	return &guide{dir: dir, files: make(map[string]string), env: append(os.Environ(), "PATH="+path, "GUIDE="+dir,
		"GOWORK=off", "GOFLAGS=-mod=mod", "CORRAL_AUTO=", "MAKEFLAGS=", "npm_config_update_notifier=false")}
}

// try runs a line of the guide.
func (g *guide) try(t *testing.T, line, want string) {
	program := strings.Fields(line)[0]
	if g.command(t.Context(), "command -v "+program).Run() != nil {
		t.Skip("SKIPPED: no ", program)
	}
	if program == "node" {
		g.needTreeKill(t)
	}
	got, inPlace := g.run(t, line)
	// The second that most have is not enough for a busy machine.
	for seconds := 2; (!inPlace || unborn.MatchString(got)) && seconds <= 32; seconds *= 2 {
		t.Logf("not all were there in time: once more, with %d seconds:\n%s", seconds, got)
		for name, text := range g.files {
			writeFile(t, filepath.Join(g.dir, name), []byte(stretched(text, seconds)))
		}
		got, inPlace = g.run(t, stretched(line, seconds))
	}
	if d := diff.Of(withoutNumbers(want), withoutNumbers(got)); d != "" {
		t.Errorf("the guide and what happens:\n%s", d)
	}
}

// unborn is what is said of a process that has not executed yet what it was forked for,
// or is about to.
var unborn = regexp.MustCompile(`process(es)?: ((\S+/)?sh (-c|server\.sh)|\[sleep\])`)

// stretched gives what has a second more of them.
func stretched(text string, seconds int) string {
	n := strconv.Itoa(seconds)
	return strings.NewReplacer(", time.Second)", ", "+n+"*time.Second)", ", 1000)", ", "+n+"000)",
		"timeout 1 ", "timeout "+n+" ", "timeout -v .2 ", "timeout -v "+n+" ", "sleep 1;", "sleep "+n+";", "sleep 4'", "sleep "+strconv.Itoa(4*seconds)+"'").Replace(text)
}

// withoutNumbers leaves out what is another number with each run, or has another path
// elsewhere.
func withoutNumbers(text string) string {
	for _, r := range []struct{ from, to string }{
		{`pid \d+`, "pid N"},
		{`(?m)^( *)\d+ (\(?)(sh|sleep) `, "${1}N $2$3 "},
		{`after \d+s`, "after N s"},
		{`\d+(\.\d+)?s\b`, "N s"},
		{`(/usr)?/bin/sh\b`, "/bin/sh"},
		{`(?m)^(Terminated|Killed)$`, ""}, // some shells tell how a job has ended
		{`\n+`, "\n"},
	} {
		text = regexp.MustCompile(r.from).ReplaceAllString(text, r.to)
	}
	return strings.TrimSpace(text)
}

// run returns what a line prints, and whether all that it is about was in place before
// it ended. What it has left has ended then.
func (g *guide) run(t *testing.T, line string) (printed string, inPlace bool) {
	out, err := os.Create(filepath.Join(t.TempDir(), "out")) // what stays does not hold a file
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := g.command(ctx, line)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	seen := make(chan bool)
	go func() { seen <- g.see(cast(line), ended) }()
	cmd.Wait() // pgrep finds nobody, mostly
	close(ended)
	inPlace = <-seen
	g.end(t)
	return string(readFile(t, out.Name())), inPlace
}

func (g *guide) command(ctx context.Context, line string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Env = g.dir, g.env
	return cmd
}

// cast are the processes without which a line with a time limit does not show what it
// should.
func cast(line string) []string {
	switch {
	case strings.Contains(line, "node "):
		return []string{"sleep 58", "sleep 57"}
	case strings.Contains(line, " serve.sh"), strings.Contains(line, "./before"), strings.Contains(line, "./after"):
		return []string{"sleep 59"}
	case strings.Contains(line, "./keep"), strings.Contains(line, "--keep sleep"):
		return []string{"sleep 50", "tail -f /dev/null"}
	case strings.HasPrefix(line, "npm "):
		return []string{"sleep 55"}
	case strings.HasPrefix(line, "make "):
		return []string{"sleep 56"}
	case strings.HasPrefix(line, "timeout -v .2 "):
		return []string{"sleep 300"}
	case strings.HasPrefix(line, "timeout 10 "):
		return []string{"sleep 301"}
	case strings.Contains(line, "sleep 50"), strings.Contains(line, "--timeout 1 "):
		return []string{"sleep 50"}
	}
	return nil
}

// see reports whether all of these have been there at the same time, before the end.
func (g *guide) see(cast []string, ended <-chan struct{}) bool {
	for every := time.Tick(10 * time.Millisecond); ; {
		there := g.processes()
		if !slices.ContainsFunc(cast, func(c string) bool { return !slices.Contains(there, c) }) {
			return true
		}
		select {
		case <-ended:
			return false
		case <-every:
		}
	}
}

// processes returns the command lines of the processes in the directory.
func (g *guide) processes() (lines []string) {
	for _, p := range g.table() {
		lines = append(lines, strings.Join(p.Command(), " "))
	}
	return lines
}

func (g *guide) table() (table []proctree.Process) {
	all, _ := proctree.Snapshot() // who is not in it has ended
	for _, p := range all {
		if cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", p.PID)); cwd == g.dir || strings.HasPrefix(cwd, g.dir+"/") {
			table = append(table, p)
		}
	}
	return table
}

// end ends what a line has left: nobody else is in the directory.
func (g *guide) end(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, p := range g.table() {
		h, err := proctree.Open(p.ID)
		if err != nil {
			continue // it has ended
		}
		h.Signal(os.Kill)
		if err := h.Wait(ctx); err != nil {
			t.Errorf("%s does not end: %v", p.Command(), err)
		}
		h.Close()
	}
}

// needTreeKill skips the test where the package cannot be installed.
func (g *guide) needTreeKill(t *testing.T) {
	if exists(filepath.Join(g.dir, "node_modules", "tree-kill")) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	install := g.command(ctx, "npm install --no-audit --no-fund --silent --fetch-retries=0 tree-kill@1.2.2")
	install.WaitDelay = time.Second
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: tree-kill cannot be installed: %v\n%s", err, out)
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
