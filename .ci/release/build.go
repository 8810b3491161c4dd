package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// build builds the programs. All that may change what comes out is said here, and
// not left to the environment.
func (r *Release) build() error {
	work, err := workspace(r.root)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(r.tmp, "go.work"), []byte(work), 0o666); err != nil {
		return err
	}
	env, err := buildEnvironment(os.Environ())
	if err != nil {
		return err
	}
	wanted := slices.Clone(r.systems)
	if host := (System{runtime.GOOS, runtime.GOARCH}); !slices.Contains(wanted, host) {
		wanted = append(wanted, host) // it writes the man pages
	}
	for _, s := range wanted {
		path := filepath.Join(r.tmp, s.OS, s.Arch, s.program())
		cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-o", path,
			"-ldflags", fmt.Sprintf("-s -w -X main.linkedVersion=%s -X 'main.linkedCommit=%s'", r.version, r.commit), ".")
		cmd.Dir = filepath.Join(r.root, "cmd", "corral")
		cmd.Env = append(slices.Clip(env), "GOOS="+s.OS, "GOARCH="+s.Arch, "GOWORK="+filepath.Join(r.tmp, "go.work"))
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build for %v: %v\n%s", s, err, out)
		}
		r.progs[s] = path
	}
	return nil
}

var replaced = regexp.MustCompile(`(?m)^replace github\.com/corral-run/corral (v\S+) => \./$`)

// workspace is the go.work of the builds. The library is that of the checkout, in the
// version that the command's go.mod requires of it, which go.work replaces. The other
// modules of go.work would lift the versions of all.
func workspace(root string) (string, error) {
	text, err := os.ReadFile(filepath.Join(root, "go.work"))
	if err != nil {
		return "", err
	}
	version := replaced.FindSubmatch(text)
	if version == nil {
		return "", fmt.Errorf("go.work has no line as %v", replaced)
	}
	return fmt.Sprintf("go 1.25.0\nuse %q\nuse %q\nreplace github.com/corral-run/corral %s => %q\n",
		root, filepath.Join(root, "cmd", "corral"), version[1], root), nil
}

// buildEnvironment is the environment of the builds. An empty variable does not count
// more than what go env -w has written, so that is not read at all, but for where
// modules come from and are kept.
func buildEnvironment(environ []string) ([]string, error) {
	sources := []string{"GOAUTH", "GOCACHE", "GOINSECURE", "GOMODCACHE", "GONOPROXY", "GONOSUMDB", "GOPRIVATE", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN", "GOVCS"}
	cmd := exec.Command("go", append([]string{"env"}, sources...)...)
	cmd.Env = environ
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go env: %w", err)
	}
	env := append(slices.Clip(environ), "GOENV=off", "CGO_ENABLED=0",
		"GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GODEBUG=", "GOAMD64=v1", "GOARM64=v8.0")
	values := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(values) != len(sources) {
		return nil, fmt.Errorf("go env: %q is not the value of each of %q", values, sources)
	}
	for i, value := range values {
		if value != "" {
			env = append(env, sources[i]+"="+value)
		}
	}
	return env, nil
}

// collect has the program write its man pages and completions.
func (r *Release) collect() error {
	corral := r.progs[System{runtime.GOOS, runtime.GOARCH}]
	pages := filepath.Join(r.tmp, "man")
	if err := os.Mkdir(pages, 0o777); err != nil {
		return err
	}
	if out, err := exec.Command(corral, "man", pages).CombinedOutput(); err != nil {
		return fmt.Errorf("corral man: %v\n%s", err, out)
	}
	names, err := filepath.Glob(filepath.Join(pages, "*.1"))
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		r.texts = append(r.texts, File{Name: "man/" + filepath.Base(name), Text: text})
	}
	for _, c := range []struct{ shell, name string }{
		{"bash", "corral.bash"}, {"zsh", "_corral"}, {"fish", "corral.fish"}, {"powershell", "corral.ps1"},
	} {
		var stderr bytes.Buffer
		cmd := exec.Command(corral, "completion", c.shell)
		cmd.Stderr = &stderr
		text, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("corral completion %s: %v\n%s", c.shell, err, &stderr)
		}
		r.texts = append(r.texts, File{Name: "completions/" + c.name, Text: text})
	}
	for _, name := range []string{"CHANGELOG.md", "LICENSE", "README.md"} {
		text, err := os.ReadFile(filepath.Join(r.root, name))
		if err != nil {
			return err
		}
		r.texts = append(r.texts, File{Name: name, Text: text})
	}
	return nil
}

// text returns the files below a directory of an archive, or the one of that name.
func (r *Release) text(prefix string) []File {
	var list []File
	for _, f := range r.texts {
		if f.Name == prefix || strings.HasPrefix(f.Name, prefix+"/") {
			list = append(list, f)
		}
	}
	return list
}

// compressed returns text as gzip -9n writes it, with neither name nor time.
func compressed(text []byte) ([]byte, error) {
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		return nil, err
	}
	err = w.Close() // which writes to b
	return b.Bytes(), err
}
