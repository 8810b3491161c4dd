package promise

import (
	"flag"
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/corral-run/corral/internal/diff"
)

var update = flag.Bool("update", false, "write the tables of doc.go, README.md and docs/guarantees.md anew")

const library = "../.."

// systems are those with a promise, with the names that people know, and some of
// the others that the library is built for, without a name.
var systems = map[string]string{
	"linux": "Linux", "windows": "Windows", "freebsd": "FreeBSD", "darwin": "macOS",
	"android": "", "openbsd": "", "netbsd": "", "dragonfly": "", "solaris": "", "illumos": "", "aix": "", "plan9": "", "js": "", "wasip1": "",
}

// TestTables: the tables of the documentation say what is promised.
func TestTables(t *testing.T) {
	for name, table := range map[string]struct{ prefix, text string }{
		"doc.go":             {"//\t", commentTable()},
		"docs/guarantees.md": {"|", markdownTable()},
		"README.md":          {"|", briefTable(t)},
	} {
		path := filepath.Join(library, name)
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.SplitAfter(string(b), "\n")
		heading, _, _ := strings.Cut(table.text, "containment")
		begin := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, heading+"containment ") })
		if begin < 0 {
			t.Fatalf("%s has no table of the containments", name)
		}
		end := begin
		for strings.HasPrefix(lines[end], table.prefix) {
			end++
		}
		if *update {
			text := strings.Join(lines[:begin], "") + table.text + strings.Join(lines[end:], "")
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if diff := diff.Of(table.text, strings.Join(lines[begin:end], "")); diff != "" {
			t.Errorf("%s (go test ./internal/promise -update writes it):\n%s", name, diff)
		}
	}
}

func commentTable() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(cells ...string) { fmt.Fprintln(w, strings.Join(cells, "\t")) }
	row("containment", "where", "can escape, owner alive", "owner gets SIGKILL", "state")
	for _, p := range all {
		row(p.Containment, systems[p.OS], p.Escapes, p.OwnerKilled, string(p.State))
	}
	w.Flush()
	return "//\t" + strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\n", "\n//\t") + "\n"
}

func markdownTable() string {
	var b strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row("containment", "where", "needs", "can escape while the owner lives", "the owner gets SIGKILL", "state")
	row("---", "---", "---", "---", "---", "---")
	for _, p := range all {
		row(p.Containment, systems[p.OS], p.Needs, p.Escapes, p.OwnerKilled, string(p.State))
	}
	return b.String()
}

// brief has a word for each promise, for those who have a minute.
var brief = map[string]string{
	"nothing": "nothing",
	// what it needs
	"/proc, root or user namespaces; on request":        "namespaces",
	"/proc, Linux 5.7, a cgroup2 directory to write to": "cgroup2",
	"/proc": "/proc",
	// what escapes
	"a privileged member":                  "root",
	"nothing, unless the keeper is killed": "nothing",
	"a quick double fork":                  "daemons",
	"setsid, setpgid":                      "setsid",
	// what ends with its owner
	"the keeper stops all, the kernel the rest": "all",
	"the kernel kills all":                      "all",
	"the guard stops all":                       "all",
	"the keeper stops all":                      "all",
	"the keeper stops what it knows":            "most",
	"only the leader is killed":                 "leader",
	"nothing is killed":                         "none",
	// state
	string(Tested):    "yes",
	string(UnderWine): "Wine",
	string(NotRun):    "built",
}

// briefTable is for README.md: a word a cell.
func briefTable(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	row := func(cells ...string) { fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | ")) }
	row("containment", "system", "needs", "escapes", "ends with you", "tested")
	row("---", "---", "---", "---", "---", "---")
	for _, p := range all {
		cells := []string{p.Containment, systems[p.OS]}
		for _, long := range []string{p.Needs, p.Escapes, p.OwnerKilled, string(p.State)} {
			if brief[long] == "" {
				t.Errorf("there is no short word for %q: add it to brief", long)
			}
			cells = append(cells, brief[long])
		}
		row(cells...)
	}
	return b.String()
}

// TestLadders: every system has the rungs that are promised for it, in this order.
// TestEscape tries all that are said to be tested, and none that is not promised.
func TestLadders(t *testing.T) {
	for goos, name := range systems {
		var promised, ladder []string
		for _, p := range On(goos) {
			promised = append(promised, p.Containment)
		}
		for _, rung := range list(t, goos, "ladder") {
			mechanism, _, _ := strings.Cut(rung, " ")
			ladder = append(ladder, strings.ToLower(mechanism))
		}
		if diff := diff.Of(promised, ladder); diff != "" {
			t.Errorf("the ladder of %s differs from what is promised:\n%s", goos, diff)
		}
		if name == "" {
			continue
		}
		var tried []string
		for _, c := range list(t, goos, "containments") {
			tried = append(tried, strings.ToLower(c))
		}
		for _, p := range On(goos) {
			if p.State != NotRun && !slices.Contains(tried, p.Containment) {
				t.Errorf("%s is %s on %s, and TestEscape does not try it", p.Containment, p.State, name)
			}
		}
		for _, c := range tried {
			if !slices.Contains(promised, c) {
				t.Errorf("TestEscape tries %s on %s, where it is not promised", c, name)
			}
		}
	}
}

// TestComplete: the table has every containment of the library, the strongest
// first, and no system that this test does not know.
func TestComplete(t *testing.T) {
	var byStrength, names []string
	for _, name := range list(t, "linux", "byStrength") {
		byStrength = append(byStrength, strings.ToLower(name))
	}
	for _, p := range all {
		names = append(names, p.Containment)
		if systems[p.OS] == "" {
			t.Errorf("%s is on %q", p.Containment, p.OS)
		}
	}
	if diff := diff.Of(byStrength, slices.Compact(names)); diff != "" {
		t.Errorf("-library +promised:\n%s", diff)
	}
}

// list returns the elements of the library's variable of this name on goos, each as
// the names in it. It returns nothing if there is no such variable.
func list(t *testing.T, goos, variable string) []string {
	t.Helper()
	var elements []string
	for _, file := range filesOn(t, goos) {
		for _, value := range valuesOf(file, variable) {
			for _, element := range value.(*ast.CompositeLit).Elts {
				elements = append(elements, namesIn(element))
			}
		}
	}
	return elements
}

// filesOn returns the files of the library that are compiled on goos.
func filesOn(t *testing.T, goos string) []*ast.File {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(library, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	on := build.Default
	on.GOOS, on.GOARCH = goos, "amd64"
	var files []*ast.File
	for _, path := range paths {
		if ok, err := on.MatchFile(library, filepath.Base(path)); err != nil {
			t.Fatal(err)
		} else if !ok {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	return files
}

// valuesOf returns what a file gives the variable of this name, if it has one.
func valuesOf(file *ast.File, variable string) []ast.Expr {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, spec := range gen.Specs {
			if spec := spec.(*ast.ValueSpec); spec.Names[0].Name == variable {
				return spec.Values
			}
		}
	}
	return nil
}

// namesIn returns the names in an expression, without those of packages.
func namesIn(x ast.Expr) string {
	var names []string
	ast.Inspect(x, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			names = append(names, n.Sel.Name)
			return false
		case *ast.Ident:
			names = append(names, n.Name)
		}
		return true
	})
	return strings.Join(names, " ")
}
