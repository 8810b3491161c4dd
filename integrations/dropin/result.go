//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strconv"
	"strings"
)

// result is what go test -json says of each test: how it ended, and what it wrote.
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

// test runs the project's tests, or those that match if match is not empty, count
// times.
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

// read reads the output of go test -json. A test that fails once has failed. A
// package counts only if it fails and none of its tests does.
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
