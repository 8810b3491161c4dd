package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

func TestMain(m *testing.M) {
	escape.Main()
	// The table's are for peers that leave something. Here nothing does that somebody
	// could still stop, so that these only keep a slow machine from telling otherwise.
	patience, mercy = 30*time.Second, 30*time.Second
	if len(os.Args) == 3 && os.Args[1] == trialRole {
		inCage(os.Args[2])
	}
	os.Exit(m.Run())
}

// cages skips the test where a trial cannot have namespaces of its own.
func cages(t *testing.T) *bench {
	t.Helper()
	args := []string{"--pid", "--fork", "--mount", "--mount-proc", "--", "true"}
	if os.Geteuid() != 0 {
		args = append([]string{"--user", "--map-root-user"}, args...)
	}
	if out, err := exec.Command("unshare", args...).CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: unshare: %v: %s", err, out)
	}
	return &bench{dir: t.TempDir()}
}

// TestCounts: what is known to leave something does so, and is said to; what is known
// to leave nothing is not.
func TestCounts(t *testing.T) {
	b := cages(t)
	for _, tt := range []struct {
		peer, child, scenario string
		want                  []string
	}{
		{"os/exec", "setsid", ends, []string{"session"}},
		{"os/exec", "setsid", stop, []string{"session"}},
		{"os/exec", "setsid", sigkill, []string{"leader", "session"}},
		// It holds no pipe, so only the process table has it.
		{"os/exec", "close-fds", ends, []string{"closer"}},
		{"corral, library", "setsid", ends, nil},
		{"corral, library", "setsid", stop, nil},
		{"corral, library", "setsid", sigkill, nil},
		{"corral, library", "close-fds", ends, nil},
	} {
		t.Run(tt.peer+" "+tt.child+" "+tt.scenario, func(t *testing.T) {
			t.Parallel()
			left, err := b.try(trial{Peer: tt.peer, Child: tt.child, Scenario: tt.scenario})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(left, tt.want) {
				t.Errorf("left: %q, want %q", left, tt.want)
			}
		})
	}
}

// TestNoTree: a peer that does not get its command started has not held it.
func TestNoTree(t *testing.T) {
	b := cages(t) // without the owners that it would run
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("SKIPPED: ", err)
	}
	t.Parallel()
	left, err := b.try(trial{Peer: "Python subprocess", Child: "plain", Scenario: ends})
	if err == nil {
		t.Errorf("left: %q, and no error", left)
	}
}

// TestNamed: a peer that cannot be had here is said by its name, and why. So is one that
// nobody has tried.
func TestNamed(t *testing.T) {
	b := &bench{dir: t.TempDir(), modules: filepath.Join(t.TempDir(), "none")}
	t.Setenv("PATH", "/none")
	wanted := regexp.MustCompile("^(tini|bwrap|execa|tree-kill|Bun|Deno|Java|s6|processkit-go)")
	var out strings.Builder
	if err := table(&out, b, wanted, regexp.MustCompile("^plain$"), 1); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tini", "bwrap", "execa", "tree-kill", "Bun child_process", "Deno child_process", "Java ProcessHandle", "s6", "processkit-go"} {
		if _, skipped, _ := strings.Cut(out.String(), "Skipped:\n"); !strings.Contains(skipped, "\n- "+name+": ") {
			t.Errorf("%s is not said to be skipped:\n%s", name, &out)
		}
	}
}

// TestIsEnding: a process that has a signal to come is not counted yet.
func TestIsEnding(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	look := func() proctree.Process {
		row, err := proctree.Lookup(cmd.Process.Pid)
		if err != nil {
			t.Fatal(err)
		}
		return row
	}
	if isEnding(look()) {
		t.Error("it is said to be ending, and nobody has told it to")
	}
	// Stopped, it does not get to it.
	cmd.Process.Signal(syscall.SIGSTOP)
	for look().State != proctree.Stopped {
		time.Sleep(time.Millisecond)
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if !isEnding(look()) {
		t.Error("it has SIGTERM to come, and is not said to be ending")
	}
}
