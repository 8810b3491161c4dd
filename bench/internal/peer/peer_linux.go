// Package peer finds what Corral is compared with, and builds what is compared.
package peer

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Tool is a program that a user would pick instead.
type Tool struct {
	Argv   []string // what comes before the command
	Debian string   // package
}

// Missing returns why the tool cannot be used here, nil if it can.
func (t *Tool) Missing() error {
	if _, err := exec.LookPath(t.Argv[0]); err != nil {
		return fmt.Errorf("%s is not installed: apt-get install %s", t.Argv[0], t.Debian)
	}
	return nil
}

// Version returns the first line of what the tool says of itself.
func (t *Tool) Version() string {
	out, err := exec.Command(t.Argv[0], "--version").CombinedOutput()
	if line, _, _ := strings.Cut(string(out), "\n"); err == nil {
		return line
	}
	return t.Argv[0] + ", version unknown"
}

// Program is a command of a module, built when first needed.
type Program struct {
	Module, Name string
	To           string // a directory
	built        sync.Once
	err          error
}

// Path returns where the program is, which it builds if that has not been done.
func (p *Program) Path() (string, error) {
	path := filepath.Join(p.To, p.Name)
	p.built.Do(func() {
		var root []byte
		if root, p.err = exec.Command("go", "list", "-m", "-f", "{{.Dir}}", p.Module).Output(); p.err != nil {
			p.err = fmt.Errorf("where is the source of %s? %w: run this in the directory bench", p.Module, p.err)
			return
		}
		linked := path + ".linked"
		build := exec.Command("go", "build", "-trimpath", "-o", linked, "./cmd/"+p.Name)
		build.Dir = strings.TrimSpace(string(root))
		// As docs/containers.md builds it.
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		var out []byte
		if out, p.err = build.CombinedOutput(); p.err != nil {
			p.err = fmt.Errorf("%w: %s", p.err, out)
			return
		}
		p.err = Install(linked, path)
	})
	return path, p.err
}

// Install copies a program as an installation does it. A file that the linker has
// written, page by page, is in the cache in pages, and starts a tenth slower than
// one written at once.
func Install(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}
