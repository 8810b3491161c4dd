// Package release makes a module proxy of directories. It is for tests of what
// those get whose go.mod requires Corral, or who install the command.
package release

import (
	"archive/zip"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Version is the version of all modules that are published without another one.
const Version = "v0.0.0"

// Proxy is a directory from which the go command takes modules.
type Proxy struct {
	dir string
	env []string
}

// NewProxy returns an empty proxy. It skips the test where there is no go command.
func NewProxy(t testing.TB) *Proxy {
	t.Helper()
	// The modules that Corral requires are in the cache, as the test has been
	// built.
	out, err := exec.Command("go", "env", "GOMODCACHE", "GOPROXY").Output()
	if err != nil {
		t.Skip("SKIPPED, needs the go command: ", err)
	}
	cache, proxy, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	p := &Proxy{dir: t.TempDir()}
	p.env = append(os.Environ(), "GOWORK=off", "GOSUMDB=off", "GOTOOLCHAIN=local",
		"GOFLAGS=-modcacherw -buildvcs=false", "GOMODCACHE="+t.TempDir(),
		fmt.Sprintf("GOPROXY=file://%s,file://%s,%s", p.dir, filepath.Join(cache, "cache", "download"), proxy))
	return p
}

// Publish publishes a version of the module in a directory, as it is there: without
// the modules below it, as the go command does it.
func (p *Proxy) Publish(t testing.TB, dir, module string) {
	t.Helper()
	p.PublishAs(t, dir, module, Version)
}

// PublishAs publishes a module in a version.
func (p *Proxy) PublishAs(t testing.TB, dir, module, version string) {
	t.Helper()
	to := filepath.Join(p.dir, filepath.FromSlash(module), "@v")
	mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
	if err == nil {
		err = os.MkdirAll(to, 0o777)
	}
	for name, text := range map[string][]byte{
		"list": []byte(version + "\n"), version + ".info": []byte(`{"Version":"` + version + `"}`), version + ".mod": mod,
	} {
		if err == nil {
			err = os.WriteFile(filepath.Join(to, name), text, 0o666)
		}
	}
	if err == nil {
		err = pack(filepath.Join(to, version+".zip"), dir, module+"@"+version)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func pack(to, dir, prefix string) error {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	defer file.Close()
	archive := zip.NewWriter(file)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || name == "." {
			return err
		}
		if name == ".git" || entry.IsDir() && exists(filepath.Join(path, "go.mod")) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		w, err := archive.Create(prefix + "/" + filepath.ToSlash(name))
		if err == nil {
			_, err = w.Write(text)
		}
		return err
	})
	if err != nil {
		return err
	}
	return archive.Close()
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Setenv sets a variable in the environment of Go.
func (p *Proxy) Setenv(name, value string) { p.env = append(p.env, name+"="+value) }

// Go runs the go command in a directory, with modules from the proxy, and returns
// what it has written to standard output.
func (p *Proxy) Go(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir, cmd.Env = dir, p.env
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}
