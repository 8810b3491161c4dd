package corral_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/diff"
)

// TestMigrateGuide writes the files of the second half of docs/migrate.md, and runs
// its commands. Each prints what the guide says, but for the numbers.
func TestMigrateGuide(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs")
	}
	_, guide, found := strings.Cut(string(readFile(t, "docs/migrate.md")), "\n# From other ways to stop a tree\n")
	if !found {
		t.Fatal("no such part of the guide")
	}
	dir := t.TempDir()
	files := regexp.MustCompile("(?ms)^`([^`\n]+)`:\n\n```\\w+\n(.*?)^```$").FindAllStringSubmatch(guide, -1)
	for _, f := range files {
		path := filepath.Join(dir, f[1])
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, []byte(f[2]))
	}
	guideModule(t, dir)
	for _, tool := range []string{"ps", "setsid", "timeout"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip("SKIPPED: ", err)
		}
	}
	commands := 0
	for _, block := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(guide, -1) {
		for _, part := range strings.Split("\n"+block[1], "\n$ ")[1:] {
			commands++
			line, want, _ := strings.Cut(part, "\n")
			t.Run(line, func(t *testing.T) { guideCommand(t, dir, line, strings.TrimSpace(want)) })
		}
	}
	if len(files) < 6 || commands < 10 {
		t.Errorf("%d files and %d commands in the guide", len(files), commands)
	}
}

// guideModule makes dir a module with this library, in which there is the command
// corral.
func guideModule(t *testing.T, dir string) {
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	mod, _, _ := strings.Cut(strings.Replace(string(readFile(t, "go.mod")), "module github.com/corral-run/corral", "module a.example/guide", 1), "\ntool ")
	mod += "\nrequire github.com/corral-run/corral v0.0.0\nreplace github.com/corral-run/corral => " + root + "\n"
	writeFile(t, filepath.Join(dir, "go.mod"), []byte(mod))
	writeFile(t, filepath.Join(dir, "go.sum"), readFile(t, "go.sum"))
	build := exec.Command(filepath.Join(goroot(t), "bin", "go"), "build", "-o", filepath.Join(dir, "bin", "corral"), "./cmd/corral")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PATH", strings.Join([]string{filepath.Join(dir, "bin"), filepath.Join(goroot(t), "bin"), os.Getenv("PATH")}, string(os.PathListSeparator)))
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", "-mod=mod")
	t.Setenv("CORRAL_AUTO", "")
	compile := exec.Command("go", "vet", "./before", "./after")
	compile.Dir = dir
	if out, err := compile.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// guideCommand runs a line of the guide. What it leaves names itself in the file pid,
// and is ended if the line has shown that it is there.
func guideCommand(t *testing.T, dir, line, want string) {
	words := strings.Fields(line)
	if _, err := exec.LookPath(words[0]); err != nil {
		t.Skip("SKIPPED: ", err)
	}
	if words[0] == "node" {
		needTreeKill(t, dir)
	}
	pidFile := filepath.Join(dir, "pid")
	os.Remove(pidFile)
	got := guideOutput(t, dir, line)
	// The second that each has may be over before a busy machine has come so far.
	for try := 0; try < 3 && !exists(pidFile); try++ {
		got = guideOutput(t, dir, line)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(readFile(t, pidFile))))
	if err != nil || pid <= 1 {
		t.Fatalf("%v; output %q", err, got)
	}
	if strings.HasSuffix("\n"+got, "\nsleep 59") || strings.HasSuffix("\n"+got, "\nsleep 58") {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	pids := regexp.MustCompile(`pid \d+`)
	if d := diff.Of(pids.ReplaceAllString(want, "pid N"), pids.ReplaceAllString(got, "pid N")); d != "" {
		t.Errorf("the guide and what happens:\n%s", d)
	}
}

// guideOutput is what a line prints.
func guideOutput(t *testing.T, dir, line string) string {
	out, err := os.Create(filepath.Join(t.TempDir(), "out")) // what stays does not hold a file
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Run() // ps finds nobody, mostly
	// Some shells tell how a job has ended.
	text := strings.ReplaceAll("\n"+string(readFile(t, out.Name()))+"\n", "\nTerminated\n", "\n")
	return strings.TrimSpace(text)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// needTreeKill skips the test where the package is not to be had.
func needTreeKill(t *testing.T, dir string) {
	if exists(filepath.Join(dir, "node_modules", "tree-kill")) {
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	install := exec.CommandContext(ctx, "npm", "install", "--no-audit", "--no-fund", "--silent", "--fetch-retries=0", "tree-kill@1.2.2")
	install.Dir, install.WaitDelay = dir, time.Second
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: tree-kill is not to be had: %v\n%s", err, out)
	}
}
