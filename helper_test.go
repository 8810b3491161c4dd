//go:build linux || freebsd

package corral_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/corral-run/corral/internal/stub"
)

// TestInitFunctions: what an owner does before main is done again for every helper,
// as far as Go does it before the init of this package; with a HelperPath it is
// not.
func TestInitFunctions(t *testing.T) {
	if testing.Short() {
		t.Skip("builds two programs")
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	mod := string(readFile(t, "go.mod"))
	mod, _, _ = strings.Cut(strings.Replace(mod, "module github.com/corral-run/corral", "module a.example/owner", 1), "\ntool ")
	mod += "\nrequire github.com/corral-run/corral v0.0.0\nreplace github.com/corral-run/corral => " + root + "\n"
	writeFile(t, filepath.Join(dir, "go.mod"), []byte(mod))
	writeFile(t, filepath.Join(dir, "go.sum"), readFile(t, "go.sum"))
	for name, text := range ownerWithInit {
		writeFile(t, filepath.Join(dir, name), []byte(text))
	}
	build := exec.Command(filepath.Join(goroot(t), "bin", "go"), "build", "-mod=mod", "-o", dir+"/bin/", ".", "./helper")
	build.Dir, build.Env = dir, append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	forked := 1 // a fork runs none of them
	if stub.Possible() != nil {
		forked += 3
	}
	for _, tt := range []struct {
		name, containment, helper string
		stub                      string
		want                      int
	}{
		{"by default", "keeper", "", "on", forked},
		{"no fork", "keeper", "", "early", forked},
		{"without stubs", "keeper", "", "off", 1 + 3},
		{"HelperPath", "keeper", filepath.Join(dir, "bin", "helper"), "off", 1},
		{"HelperPath under pidns", "pidns", filepath.Join(dir, "bin", "helper"), "on", 1},
	} {
		if tt.containment == "pidns" && runtime.GOOS != "linux" {
			continue
		}
		inits := filepath.Join(t.TempDir(), "inits")
		owner := exec.Command(filepath.Join(dir, "bin", "owner"))
		owner.Env = append(os.Environ(), "INITS="+inits, "HELPER="+tt.helper, "CONTAINMENT="+tt.containment, "CORRAL_STUB="+tt.stub)
		out, err := owner.CombinedOutput()
		if err != nil && tt.containment == "pidns" && bytes.Contains(out, []byte("not allowed here")) {
			t.Logf("SKIPPED: %s: %s", tt.name, out)
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v\n%s", tt.name, err, out)
		}
		if n := bytes.Count(readFile(t, inits), []byte("init\n")); n != tt.want {
			t.Errorf("%s: the early init has run %d times, want %d", tt.name, n, tt.want)
		}
	}
	missing := filepath.Join(dir, "missing")
	owner := exec.Command(filepath.Join(dir, "bin", "owner"))
	owner.Env = append(os.Environ(), "INITS="+os.DevNull, "HELPER="+missing)
	if out, err := owner.CombinedOutput(); err == nil || !strings.Contains(string(out), "corral: HelperPath: stat "+missing) {
		t.Errorf("a HelperPath that is not there: %v, %s", err, out)
	}
}

// ownerWithInit is a program with an init function that writes a line.
var ownerWithInit = map[string]string{
	// It does not need package corral, and so comes before it.
	"early/early.go": `package early

import "os"

func init() {
	f, err := os.OpenFile(os.Getenv("INITS"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	f.WriteString("init\n")
	f.Close()
}
`,
	"main.go": `package main

import (
	"os"

	_ "a.example/owner/early"
	"github.com/corral-run/corral"
)

func main() {
	corral.HelperPath = os.Getenv("HELPER")
	for range 3 {
		cmd := corral.Command("true")
		if c := corral.Containment(os.Getenv("CONTAINMENT")); c != "" {
			cmd.Containment, cmd.Require = c, c
		}
		if err := cmd.Run(); err != nil {
			panic(err)
		}
	}
}
`,
	// It stands for the command corral, which is a program with this package
	// and nothing early.
	"helper/main.go": `package main

import _ "github.com/corral-run/corral"

func main() {}
`,
}
