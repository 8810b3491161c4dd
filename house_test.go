//go:build linux || darwin || freebsd

package corral_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestHouse: every package is in the table of CONTRIBUTING.md, and none imports
// what does not run where it runs, however many packages are in between.
func TestHouse(t *testing.T) {
	const module = "github.com/corral-run/corral"
	text, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		t.Fatal(err)
	}
	runsIn := map[string]string{module: "owner", module + "/procgroup": "owner", module + "/corraltest": "owner"}
	for _, row := range regexp.MustCompile(`(?m)^\| (`+"`"+`.*?) \| (owner|helper|both|command|tests) \|`).FindAllStringSubmatch(string(text), -1) {
		for _, name := range regexp.MustCompile("`(.*?)`").FindAllStringSubmatch(row[1], -1) {
			pkg := module + "/internal/" + name[1]
			if runsIn[pkg] != "" {
				t.Errorf("the table has %s twice", name[1])
			}
			runsIn[pkg] = row[2]
		}
	}
	// Whom a package may import that runs there.
	may := map[string][]string{
		"both":    {"both"},
		"owner":   {"owner", "both"},
		"helper":  {"helper", "both"},
		"command": {"owner", "both", "command"},
		"tests":   {"owner", "both", "tests"},
	}
	listed := make(map[string]bool)
	for _, system := range []string{"linux", "darwin", "freebsd", "windows"} {
		list := exec.Command(filepath.Join(goroot(t), "bin", "go"), "list", "-f", "{{.ImportPath}}:{{range .Imports}} {{.}}{{end}}", "./...")
		list.Env = append(os.Environ(), "GOOS="+system, "CGO_ENABLED=0")
		out, err := list.Output()
		if err != nil {
			t.Fatalf("%s: %v", system, err)
		}
		for line := range strings.Lines(string(out)) {
			pkg, imports, _ := strings.Cut(strings.TrimSpace(line), ":")
			listed[pkg] = true
			if runsIn[pkg] == "" {
				t.Errorf("%s is not in the table", pkg)
			}
			for _, imported := range strings.Fields(imports) {
				if !strings.HasPrefix(imported, module) || pkg == module && strings.HasPrefix(imported, module+"/internal/roles/") {
					continue
				}
				if !slices.Contains(may[runsIn[pkg]], runsIn[imported]) {
					t.Errorf("%s: %s, of the %s, imports %s, of the %s", system, pkg, runsIn[pkg], imported, runsIn[imported])
				}
			}
		}
	}
	for pkg := range runsIn {
		if !listed[pkg] {
			t.Errorf("the table has %s, which is none", pkg)
		}
	}
}
