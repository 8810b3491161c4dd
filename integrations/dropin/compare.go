//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// goProxy takes what the caller has downloaded already.
var goProxy = sync.OnceValue(func() string {
	return "file://" + goEnv("GOMODCACHE") + "/cache/download," + goEnv("GOPROXY")
})

func goEnv(name string) string {
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// goTool runs the go command, and returns what it has written to both streams.
func (d *dropin) goTool(dir string, env []string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, d.environ(env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// require adds the library to the module in dir, as its user would do it, and
// takes it from the checkout.
func (d *dropin) require(dir string) error {
	_, err := d.goTool(dir, nil, "mod", "edit", "-replace", library+"="+d.corral)
	if err != nil {
		return err
	}
	out, err := d.goTool(dir, nil, "get", library+"@v0.0.0-00010101000000-000000000000")
	if err == nil {
		fmt.Print(indented(out))
	}
	return err
}

func indented(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		if !strings.HasPrefix(line, "go: downloading") {
			b.WriteString("  " + line)
		}
	}
	return b.String()
}

// project makes the comparison for one project.
func (d *dropin) project(p project) error {
	source, err := d.download(p)
	if err != nil {
		return err
	}
	before, after := filepath.Join(d.work, p.name, "before"), filepath.Join(d.work, p.name, "after")
	for _, dir := range []string{before, after} {
		if err := errors.Join(removeAll(dir), os.MkdirAll(dir, 0o755), os.CopyFS(dir, os.DirFS(source)), executable(dir)); err != nil {
			return err
		}
	}
	if _, err := d.goTool(before, nil, "mod", "download"); err != nil {
		return err
	}
	fmt.Printf("%s %s %s\n", p.module, p.version, strings.Join(p.packages, " "))
	n, err := replaceImports(after)
	if err != nil {
		return err
	}
	if err := d.require(after); err != nil {
		return err
	}
	if err := d.vet(p, before, after); err != nil {
		return err
	}
	old := make(map[bool]*result) // by whether it is nobody's: the wish changes nothing for os/exec
	for _, w := range d.ways {
		if old[w.nobody] == nil {
			if old[w.nobody], err = d.test(p, before, w, d.run, d.rounds); err != nil {
				return err
			}
			if d.verbose {
				old[w.nobody].printFailures()
			}
		}
		now, err := d.test(p, after, w, d.run, d.rounds)
		if err != nil {
			return err
		}
		fmt.Printf("%-28s %-8s %-8s %-24s %-24s\n", fmt.Sprintf("  %s (%d files)", p.name, n), w.name, w.held, old[w.nobody], now)
		if err := d.differences(p, before, after, w, old[w.nobody], now); err != nil {
			return err
		}
	}
	return nil
}

func (d *dropin) download(p project) (string, error) {
	cmd := exec.Command("go", "mod", "download", "-json", p.module+"@"+p.version)
	cmd.Dir, cmd.Env = d.work, d.environ()
	out, err := cmd.Output()
	var got struct{ Dir, Error string }
	if jsonErr := json.Unmarshal(out, &got); jsonErr != nil || got.Error != "" || got.Dir == "" {
		return "", fmt.Errorf("download: %s (%w)", got.Error, errors.Join(err, jsonErr))
	}
	return got.Dir, nil
}

// executable gives scripts the right to be executed, which a module's files lose.
func executable(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil || !bytes.HasPrefix(text, []byte("#!")) {
			return err
		}
		return os.Chmod(path, 0o755)
	})
}

// otherPlace is a directory with Go files that are not compiled with the module.
var otherPlace = regexp.MustCompile(`^(testdata|vendor|[._].+)$`)

// replaceImports changes one word in all Go files that are compiled with the
// module, and returns in how many.
func replaceImports(dir string) (int, error) {
	n := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != dir && otherPlace.MatchString(e.Name()):
			return fs.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text, err := replaceImport(old)
		if err != nil || text == nil {
			return err
		}
		n++
		return os.WriteFile(path, text, 0o644)
	})
	return n, err
}

// replaceImport returns a file with the import changed, or nil if it has none or
// is generated.
func replaceImport(text []byte) ([]byte, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "", text, parser.ImportsOnly|parser.ParseComments)
	if err != nil || ast.IsGenerated(f) {
		return nil, err
	}
	for _, imp := range f.Imports {
		if imp.Path.Value != `"os/exec"` {
			continue
		}
		word := strconv.Quote(library)
		if imp.Name == nil {
			word = "exec " + word
		}
		from, to := fset.Position(imp.Path.Pos()).Offset, fset.Position(imp.Path.End()).Offset
		return slices.Concat(text[:from], []byte(word), text[to:]), nil
	}
	return nil, nil
}

// vet prints what go vet says of the changed packages and has not said before.
func (d *dropin) vet(p project, before, after string) error {
	say := func(dir string) (map[string]bool, error) {
		out, err := d.goTool(dir, nil, append([]string{"vet"}, p.packages...)...)
		lines := make(map[string]bool)
		for line := range strings.Lines(out) {
			lines[strings.TrimSpace(line)] = true
		}
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = nil
		}
		return lines, err
	}
	old, err := say(before)
	if err != nil {
		return err
	}
	now, err := say(after)
	for line := range now {
		if !old[line] && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "go: downloading") {
			fmt.Printf("  vet, new: %s\n", line)
		}
	}
	return err
}

// result is what go test -json has told: of each test how it ended, and what it
// wrote.
type result struct {
	tests            map[string]string
	output           map[string]string
	pass, fail, skip int
	failures         map[string]int
}

func newResult() *result {
	return &result{tests: make(map[string]string), output: make(map[string]string), failures: make(map[string]int)}
}

func (r *result) String() string {
	return fmt.Sprintf("%d pass %d fail %d skip", r.pass, r.fail, r.skip)
}

func (r *result) printFailures() {
	for _, name := range slices.Sorted(maps.Keys(r.failures)) {
		fmt.Printf("  with os/exec, %s fails\n%s", name, indented(r.output[name]))
	}
}

// test runs the project's tests once, or those that match, some times.
func (d *dropin) test(p project, dir string, w way, match string, count int) (*result, error) {
	if err := d.give(dir, w.nobody); err != nil {
		return nil, err
	}
	args := []string{"test", "-json", "-count=" + strconv.Itoa(count), "-timeout=5m"}
	if prefix := d.prefix(w); prefix != nil {
		args = append(args, "-exec", strings.Join(prefix, " "))
	}
	if p.skip != "" {
		args = append(args, "-skip", p.skip)
	}
	if match != "" {
		args = append(args, "-run", match)
	}
	cmd := exec.Command("go", append(args, p.packages...)...)
	cmd.Dir, cmd.Env = dir, d.environ(append([]string{"GOPROXY=off"}, w.env...)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, err
	}
	r, err := read(out)
	if err == nil && len(r.tests) == 0 {
		err = fmt.Errorf("no test was run\n%s\n%s", stderr.String(), out)
	}
	return r, err
}

// read reads the output of go test -json. A test that fails once has failed. A package
// counts only if it fails and none of its tests does.
func read(out []byte) (*result, error) {
	r := newResult()
	blamed := make(map[string]bool) // packages
	for dec := json.NewDecoder(bytes.NewReader(out)); dec.More(); {
		var e struct{ Action, Package, Test, Output string }
		if err := dec.Decode(&e); err != nil {
			return nil, err
		}
		name := strings.TrimSpace(e.Package + " " + e.Test)
		switch e.Action {
		case "output", "build-output":
			r.output[name] += e.Output
		case "pass", "skip", "fail":
			if e.Action == "fail" {
				if e.Test == "" && blamed[e.Package] {
					break
				}
				blamed[e.Package] = true
				r.failures[name]++
			}
			if (e.Test != "" || e.Action == "fail") && r.tests[name] != "fail" {
				r.tests[name] = e.Action
			}
		}
	}
	for _, how := range r.tests {
		switch how {
		case "pass":
			r.pass++
		case "fail":
			r.fail++
		case "skip":
			r.skip++
		}
	}
	return r, nil
}
