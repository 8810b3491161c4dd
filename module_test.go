//go:build linux || darwin || freebsd

package corral_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/release"
)

// TestImporter: a module that imports Corral comes to require golang.org/x/sys, and
// nothing else, and its go line stays.
func TestImporter(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another module")
	}
	proxy := release.NewProxy(t)
	proxy.Publish(t, ".", "github.com/corral-run/corral")
	dir := t.TempDir()
	goMod := filepath.Join(dir, "go.mod")
	writeFile(t, goMod, []byte("module scratch\n\ngo 1.25.0\n"))
	writeFile(t, filepath.Join(dir, "main.go"), []byte(`package main

import (
	"log"

	exec "github.com/corral-run/corral"
	_ "github.com/corral-run/corral/procgroup"
)

func main() {
	if err := exec.Command("true").Run(); err != nil {
		log.Fatal(err)
	}
}
`))
	proxy.Go(t, dir, "get", "github.com/corral-run/corral@"+release.Version)
	proxy.Go(t, dir, "mod", "tidy")
	sys := regexp.MustCompile(`golang\.org/x/sys v\S+`).FindString(string(readFile(t, "go.mod")))
	want := "module scratch\n\ngo 1.25.0\n\nrequire github.com/corral-run/corral " + release.Version + "\n\nrequire " + sys + " // indirect\n"
	if diff := diff.Of(want, string(readFile(t, goMod))); diff != "" {
		t.Errorf("its go.mod:\n%s", diff)
	}
	want = "scratch\ngithub.com/corral-run/corral " + release.Version + "\n" + sys + "\n"
	if diff := diff.Of(want, proxy.Go(t, dir, "list", "-m", "all")); diff != "" {
		t.Errorf("go list -m all:\n%s", diff)
	}
	proxy.Go(t, dir, "build", "-o", filepath.Join(dir, "scratch"), ".")
	if _, err := os.Stat(filepath.Join(dir, "scratch")); err != nil {
		t.Error(err)
	}
}
