package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// build builds the programs. All that may change what comes out is said here, and
// not left to the environment.
func (r *Release) build() error {
	// The library is that of the checkout, also before the command's go.mod requires
	// its release. The other modules of go.work would lift the versions of all.
	work := fmt.Sprintf("go 1.25.0\nuse %q\nuse %q\nreplace github.com/corral-run/corral v0.0.0 => %q\n",
		r.root, filepath.Join(r.root, "cmd", "corral"), r.root)
	if err := os.WriteFile(filepath.Join(r.tmp, "go.work"), []byte(work), 0o666); err != nil {
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
		cmd.Env = append(os.Environ(), "GOOS="+s.OS, "GOARCH="+s.Arch, "CGO_ENABLED=0", "GOWORK="+filepath.Join(r.tmp, "go.work"),
			"GOFLAGS=", "GOEXPERIMENT=", "GOFIPS140=off", "GODEBUG=", "GOAMD64=v1", "GOARM64=v8.0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build for %v: %v\n%s", s, err, out)
		}
		r.progs[s] = path
	}
	return nil
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
