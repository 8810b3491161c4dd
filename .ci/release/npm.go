package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// nodeNames are what node calls a system and an architecture: process.platform and
// process.arch.
var nodeNames = map[string]string{"windows": "win32", "amd64": "x64"}

func nodeName(name string) string {
	if other := nodeNames[name]; other != "" {
		return other
	}
	return name
}

// unreleased is the version in the sources of the package for npm.
const unreleased = `"0.0.0"`

// npm writes the packages for npm: one for each system, with the program, and the
// one that requires all of them as optional dependencies. npm installs those whose
// os and cpu fit. None has an install script.
func (r *Release) npm() error {
	for _, s := range r.systems {
		program, err := os.ReadFile(r.progs[s])
		if err != nil {
			return err
		}
		about, err := r.systemPackage(s)
		if err != nil {
			return err
		}
		readme := fmt.Sprintf("# corral for %v\n\nThe program of the package `corral-run`, which installs it.\n", s)
		name := fmt.Sprintf("corral-run-%s-%s", nodeName(s.OS), nodeName(s.Arch))
		if err := r.npmPackage(name, []File{
			{Name: "package.json", Text: about}, {Name: "README.md", Text: []byte(readme)},
			r.text("LICENSE")[0], {Name: "bin/" + s.program(), Text: program, Program: true},
		}); err != nil {
			return err
		}
	}
	files, err := r.mainPackage()
	if err != nil {
		return err
	}
	return r.npmPackage("corral-run", files)
}

// systemPackage is the package.json of a system's package.
func (r *Release) systemPackage(s System) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(struct {
		Name            string            `json:"name"`
		Version         string            `json:"version"`
		Description     string            `json:"description"`
		License         string            `json:"license"`
		Repository      map[string]string `json:"repository"`
		OS              []string          `json:"os"`
		CPU             []string          `json:"cpu"`
		Files           []string          `json:"files"`
		PreferUnplugged bool              `json:"preferUnplugged"` // a program in an archive cannot be executed
	}{
		fmt.Sprintf("@corral-run/%s-%s", nodeName(s.OS), nodeName(s.Arch)), r.number(),
		"The program corral for " + s.String(), "MIT",
		map[string]string{"type": "git", "url": "git+https://github.com/corral-run/corral.git"},
		[]string{nodeName(s.OS)}, []string{nodeName(s.Arch)}, []string{"bin"}, true,
	})
	return b.Bytes(), err
}

// mainPackage is what is in packages/npm, with the version of the release.
func (r *Release) mainPackage() ([]File, error) {
	dir := filepath.Join(r.root, "packages", "npm")
	text, err := os.ReadFile(filepath.Join(dir, "package.json"))
	if err != nil {
		return nil, err
	}
	var about struct{ Files []string }
	if err := json.Unmarshal(text, &about); err != nil {
		return nil, fmt.Errorf("packages/npm/package.json: %w", err)
	}
	if !strings.Contains(string(text), unreleased) {
		return nil, fmt.Errorf("packages/npm/package.json has no %s to replace", unreleased)
	}
	text = bytes.ReplaceAll(text, []byte(unreleased), []byte(`"`+r.number()+`"`))
	files := []File{{Name: "package.json", Text: text}, r.text("LICENSE")[0]}
	for _, name := range append(about.Files, "README.md") {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err != nil {
			return nil, err
		}
		files = append(files, File{Name: name, Text: text, Program: bytes.HasPrefix(text, []byte("#!"))})
	}
	return files, nil
}

// npmPackage writes what npm pack would: a tar archive of a directory "package".
func (r *Release) npmPackage(name string, files []File) error {
	for i := range files {
		files[i].Name = "package/" + files[i].Name
	}
	packed, err := tarred(files, r.time)
	if err == nil {
		packed, err = compressed(packed)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, fmt.Sprintf("%s-%s.tgz", name, r.number())), packed, 0o644)
}
