//go:build linux

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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

// goTool runs the go command, and returns what it writes to both streams.
func (d *dropin) goTool(dir string, env []string, args ...string) (string, error) {
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, d.environ(env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), err
}

// require adds the library to the module in dir, as a user would, and takes it from
// the checkout.
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

// compare tests one project before and after the change.
func (d *dropin) compare(p project) error {
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
	// By whether it is nobody's: the wish changes nothing for os/exec.
	old := make(map[bool]*result)
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

// executable makes scripts executable, which a module's files are not.
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

// vet prints what go vet says of the changed packages and did not say before.
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
