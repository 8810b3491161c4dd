//go:build linux

// Package engines has only tests. They run the command corral under what starts
// commands on other machines, in containers and in CI, and take that away from it.
// Each has a control: the same without corral, which leaves something behind. They
// skip what is not installed.
package engines_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
)

// grace is what corral gives the members to obey SIGTERM. One of them does not, so
// it takes that long until all are gone.
const grace = time.Second

// limit is how long after the loss of the connection something has to be left
// without corral. With corral it has longer (patience): most of the limit is grace,
// and a busy machine takes the rest.
var limit time.Duration

func init() {
	flag.DurationVar(&limit, "limit", grace+time.Second, "how long after the loss of the connection something has to be left without corral, for machines that are emulated")
}

// patience is for what should happen at once.
const patience = 20 * time.Second

// home is a directory for all tests, which everybody may read.
var home string

func TestMain(m *testing.M) {
	escape.Main()
	os.Exit(func() int {
		var err error
		if home, err = os.MkdirTemp("", "engines-"); err == nil {
			err = os.Chmod(home, 0o755)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(home)
		return m.Run()
	}())
}

// program returns the path of the command corral, built for the tests. A machine
// without Go has it in PATH.
var program = sync.OnceValues(func() (string, error) {
	if _, err := exec.LookPath("go"); err != nil {
		return exec.LookPath("corral")
	}
	path := filepath.Join(home, "corral")
	cmd := exec.Command("go", "build", "-o", path, "../cmd/corral")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

// job is a command that an engine runs, as a test sees it: a tree of processes. One
// of them is in a session of its own; another one is in another session and ignores
// SIGHUP, SIGINT and SIGTERM. The parents of both are gone. When the test ends it
// kills what is left.
type job struct {
	*escape.Probe
	t      *testing.T
	report string    // the file of corral's report
	ends   time.Time // the tree may end by itself from then on
}

var tree = escape.Tree(
	escape.Node{},
	escape.Node{Session: true, Orphan: true},
	escape.Node{Session: true, Orphan: true, Ignore: true},
)

func newJob(t *testing.T) *job {
	t.Helper()
	return newJobOf(t, tree)
}

// newJobOf is for another tree.
func newJobOf(t *testing.T, tree escape.Child) *job {
	t.Helper()
	ends := time.Now().Add(escape.Lifetime - time.Second) // sleep(1) gets whole seconds
	return &job{escape.NewProbe(t, tree), t, filepath.Join(t.TempDir(), "report"), ends}
}

// alone returns the command line of the tree. It needs no descriptors of the test.
// It works wherever the test's processes are visible and the user is the test's.
func (j *job) alone() []string {
	path, args, files := j.Command()
	script := `exec "$0" "$@"`
	for i, to := range []string{"3>", "4>", "5<"} {
		script += fmt.Sprintf(" %s/proc/%d/fd/%d", to, os.Getpid(), files[i].Fd())
	}
	return append([]string{"sh", "-c", script, path}, args...)
}

// corralled returns the command line of corral with more flags and a command, in
// most cases the tree.
func (j *job) corralled(command []string, flags ...string) []string {
	j.t.Helper()
	path, err := program()
	if err != nil {
		j.t.Fatal(err)
	}
	args := append([]string{path, "--quiet", "--grace", grace.String(), "--report", j.report}, flags...)
	return append(append(args, "--"), command...)
}

// complete returns when all of the tree is there.
func (j *job) complete() {
	j.t.Helper()
	ctx, cancel := context.WithTimeout(j.t.Context(), patience)
	defer cancel()
	j.Ready(ctx)
	j.Started()
}

// goneBy checks that nothing is left of the tree in time, and logs how long it took.
func (j *job) goneBy(since time.Time, limit time.Duration) {
	j.t.Helper()
	late := since.Add(limit)
	if last := j.ends.Add(-5 * time.Second); late.After(last) {
		late = last // a tree that ends by itself shows nothing
	}
	ctx, cancel := context.WithDeadline(j.t.Context(), late)
	defer cancel()
	err := j.Gone(ctx)
	took := time.Since(since).Round(10 * time.Millisecond)
	if err != nil {
		j.t.Errorf("%v after: %v", took, err)
		return
	}
	j.t.Logf("all gone after %v", took)
}

// stays is the control of goneBy: it checks that some of the tree is left at the
// end of the time. That nobody is going to stop it has no event.
func (j *job) stays(since time.Time, limit time.Duration) {
	j.t.Helper()
	time.Sleep(time.Until(since.Add(limit)))
	left := j.Survivors()
	j.t.Logf("left after %v: %v", limit, left)
	if len(left) == 0 {
		j.t.Errorf("nothing is left without corral either: the test shows nothing")
	}
}

// ended waits for corral's report and returns it.
func (j *job) ended() *corral.Report {
	j.t.Helper()
	r := new(corral.Report)
	eventually(j.t, "there is no report", func() error {
		text, err := os.ReadFile(j.report)
		if err == nil {
			err = json.Unmarshal(text, r)
		}
		return err
	})
	return r
}

// eventually waits until check succeeds, for what has no event.
func eventually(t *testing.T, otherwise string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	err := check()
	for ; err != nil && time.Now().Before(deadline); err = check() {
		time.Sleep(5 * time.Millisecond)
	}
	if err != nil {
		t.Fatalf("%s: %v", otherwise, err)
	}
}

// quoted returns the command line for a shell.
func quoted(args []string) string {
	var words []string
	for _, arg := range args {
		words = append(words, "'"+strings.ReplaceAll(arg, "'", `'\''`)+"'")
	}
	return strings.Join(words, " ")
}

// need returns the path of a program, and skips the test if there is none. Daemons
// may be in directories that are not in the PATH of ordinary users.
func need(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if errors.Is(err, exec.ErrNotFound) {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	return path
}
