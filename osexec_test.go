//go:build linux || darwin || freebsd

package corral_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/corral-run/corral"
)

// TestOSExecSuite runs the tests that come with the toolchain's os/exec against
// this package, with one change: the import.
func TestOSExecSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and runs another test binary")
	}
	source := filepath.Join(goroot(t), "src", "os", "exec")
	dir := t.TempDir()
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	copyOSExecTests(t, source, dir)
	for name, text := range stdInternals {
		writeFile(t, filepath.Join(dir, name), []byte(text))
	}
	mod := strings.Replace(string(readFile(t, "go.mod")), "module github.com/corral-run/corral", "module osexec", 1)
	mod += "\nrequire github.com/corral-run/corral v0.0.0\nreplace github.com/corral-run/corral => " + root + "\n"
	writeFile(t, filepath.Join(dir, "go.mod"), []byte(mod))
	writeFile(t, filepath.Join(dir, "go.sum"), readFile(t, "go.sum"))

	// TestWaitInterrupt/Exit-hang wants ErrWaitDelay for a child that outlives
	// its parent with the pipe open. Here the child is stopped.
	cmd := exec.Command(filepath.Join(goroot(t), "bin", "go"), "test", "-mod=mod", "-count=1",
		"-skip", "^TestWaitInterrupt$/^Exit-hang$", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "OSEXEC_GOROOT="+goroot(t))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}

// copyOSExecTests copies the tests of os/exec, with other imports.
func copyOSExecTests(t *testing.T, source, dir string) {
	// lp_test.go, env_test.go and internal_test.go look inside os/exec.
	for _, name := range []string{
		"dot_test.go", "example_test.go", "exec_linux_test.go", "exec_posix_test.go",
		"exec_test.go", "exec_unix_test.go", "lp_unix_test.go", "read3.go",
	} {
		text := readFile(t, filepath.Join(source, name))
		imported := `exec "github.com/corral-run/corral"`
		if bytes.Contains(text, []byte(`. "os/exec"`)) {
			imported = `"github.com/corral-run/corral"`
		}
		if name == "read3.go" {
			imported = `"os/exec"` // a program that is run, not a test
		}
		for _, r := range [][2]string{
			{`"os/exec"`, imported},
			{`"internal/testenv"`, `"osexec/testenv"`},
			{`"internal/poll"`, `"osexec/poll"`},
			{`"os/exec/internal/fdtest"`, `"osexec/fdtest"`},
		} {
			text = bytes.ReplaceAll(text, []byte(r[0]), []byte(r[1]))
		}
		writeFile(t, filepath.Join(dir, name), text)
	}
}

// stdInternals is what the tests use of the standard library's internals.
var stdInternals = map[string]string{
	"testenv/testenv.go": `package testenv

import (
	"os"
	"testing"

	exec "github.com/corral-run/corral"
)

const NoSpecialBuildTypes = false

func MustHaveExec(testing.TB)           {}
func MustHaveGoBuild(testing.TB)        {}
func MustHaveSymlink(testing.TB)        {}
func MustInternalLink(testing.TB, bool) {}

func SkipFlaky(t testing.TB, issue int) { t.Skip("flaky: go.dev/issue", issue) }
func GOROOT(testing.TB) string          { return os.Getenv("OSEXEC_GOROOT") }
func GoToolPath(testing.TB) string      { return os.Getenv("OSEXEC_GOROOT") + "/bin/go" }

func Executable(testing.TB) string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

func Command(_ testing.TB, name string, args ...string) *exec.Cmd { return exec.Command(name, args...) }
`,
	"poll/poll.go": `package poll

import (
	"os"
	"strconv"
)

func IsPollDescriptor(fd uintptr) bool {
	link, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(int(fd)))
	return link == "anon_inode:[eventpoll]" || link == "anon_inode:[eventfd]"
}
`,
	"fdtest/fdtest.go": `package fdtest

import "syscall"

func Exists(fd uintptr) bool {
	var s syscall.Stat_t
	return syscall.Fstat(int(fd), &s) != syscall.EBADF
}
`,
}

// TestDropIn holds the exported names of this package against os/exec's: each
// of those is here, of the same kind and type.
func TestDropIn(t *testing.T) {
	ours, theirs := reflect.TypeFor[corral.Cmd](), reflect.TypeFor[exec.Cmd]()
	for _, field := range reflect.VisibleFields(theirs) {
		if !field.IsExported() {
			continue
		}
		if have, ok := ours.FieldByName(field.Name); !ok || have.Type != field.Type {
			t.Errorf("field %s %s: have %v", field.Name, field.Type, have.Type)
		}
	}
	ours, theirs = reflect.PointerTo(ours), reflect.PointerTo(theirs)
	for i := range theirs.NumMethod() {
		want := theirs.Method(i)
		have, ok := ours.MethodByName(want.Name)
		if !ok || strings.Replace(have.Type.String(), "corral.", "exec.", 1) != want.Type.String() {
			t.Errorf("method %s: have %v, want %v", want.Name, have.Type, want.Type)
		}
	}
	have := exported(t, ".")
	for name := range exported(t, filepath.Join(goroot(t), "src", "os", "exec")) {
		if !have[name] {
			t.Errorf("os/exec has %s, this package has not", name)
		}
	}
}

// exported returns the exported package-level names of the Go files in dir.
func exported(t *testing.T, dir string) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no Go files in %s (%v)", dir, err)
	}
	files = slices.DeleteFunc(files, func(name string) bool {
		return strings.HasSuffix(name, "_test.go") || strings.HasSuffix(name, "read3.go")
	})
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range f.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil {
					names[d.Name.Name] = d.Name.IsExported()
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch s := spec.(type) {
					case *ast.TypeSpec:
						names[s.Name.Name] = s.Name.IsExported()
					case *ast.ValueSpec:
						for _, id := range s.Names {
							names[id.Name] = id.IsExported()
						}
					}
				}
			}
		}
	}
	for name, ok := range names {
		if !ok {
			delete(names, name)
		}
	}
	return names
}

func goroot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Skipf("SKIPPED, needs the go command and its sources: %v", err)
	}
	root := strings.TrimSpace(string(out))
	if _, err := os.Stat(filepath.Join(root, "src", "os", "exec", "exec_test.go")); err != nil {
		t.Skipf("SKIPPED, needs the toolchain's own tests: %v (%s)", err, runtime.Version())
	}
	return root
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t *testing.T, name string, text []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, text, 0o666); err != nil {
		t.Fatal(err)
	}
}
