package corral_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

func init() { escape.Register("idler", idler) }

// idler is an owner with one run, that of cat, which lives as long as the
// owner's own standard input.
func idler(args []string) {
	cmd := corral.Command("cat")
	cmd.Containment, cmd.Require = corral.Containment(args[0]), corral.Containment(args[0])
	cmd.Stdin = os.Stdin
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "idler:", err)
		os.Exit(1)
	}
	fmt.Println(cmd.Process.Pid)
	if err := cmd.Wait(); err != nil {
		fmt.Fprintln(os.Stderr, "idler:", err)
		os.Exit(1)
	}
}

// TestIdle: while a run goes on, owner, guard and keeper do nothing, not even a
// system call, and a helper is small.
func TestIdle(t *testing.T) {
	const (
		idle    = 5 * time.Second
		largest = 9 << 20
	)
	for _, cont := range containments {
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			t.Parallel()
			path, args := escape.Command("idler", string(cont))
			owner := exec.Command(path, args...)
			owner.Stderr = os.Stderr
			stdin, err := owner.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			stdout, err := owner.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := owner.Start(); err != nil {
				t.Fatal(err)
			}
			defer owner.Wait()
			defer stdin.Close()
			line, err := bufio.NewReader(stdout).ReadString('\n')
			leader, cerr := strconv.Atoi(strings.TrimSpace(line))
			if err != nil || cerr != nil {
				t.Fatal(err, cerr)
			}

			pids := []int{owner.Process.Pid}
			children, err := proctree.ChildPIDs(owner.Process.Pid)
			if err != nil {
				t.Fatal(err)
			}
			for _, pid := range children {
				if pid != leader {
					pids = append(pids, pid)
				}
			}
			if want := 2; cont != corral.Group && len(pids) != want {
				t.Fatalf("processes %v, want owner and helper", pids)
			}
			for _, pid := range pids[1:] {
				row, err := proctree.Lookup(pid)
				if t.Logf("helper %v: %d bytes resident", row.Args, row.RSS); err != nil {
					t.Error(err)
				}
				if row.RSS > largest && !inMemory(t) && !raceEnabled { // the race detector takes more than that
					t.Errorf("helper %v takes more than %d bytes", row.Args, largest)
				}
			}
			// A runtime that has just started has this and that to do for a while.
			// A thread that makes a system call while nothing happens has to wake
			// up for it first.
			deadline := time.Now().Add(time.Minute)
			for before := switches(t, pids); ; {
				time.Sleep(idle)
				after := switches(t, pids)
				if after == before {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("never idle for %v: context switches %s, then %s", idle, before, after)
				}
				before = after
			}
		})
	}
}

// inMemory reports whether the program's file system is in memory, where the
// kernel maps more of a file than has been asked for.
func inMemory(t *testing.T) bool {
	var fs unix.Statfs_t
	if err := unix.Statfs("/proc/self/exe", &fs); err != nil {
		t.Fatal(err)
	}
	kind := uint32(fs.Type) // it is signed, and 32 bits wide on some machines
	return kind == unix.TMPFS_MAGIC || kind == unix.RAMFS_MAGIC
}

// switches returns how often each thread of the processes has been given a
// processor.
func switches(t *testing.T, pids []int) string {
	t.Helper()
	var all strings.Builder
	for _, pid := range pids {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil || len(threads) == 0 {
			t.Fatalf("no threads of %d: %v", pid, err)
		}
		for _, thread := range threads {
			b, err := os.ReadFile(thread)
			if err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(string(b)) {
				if name, count, _ := strings.Cut(line, ":"); strings.HasSuffix(name, "ctxt_switches") {
					fmt.Fprintf(&all, "%s ", strings.TrimSpace(count))
				}
			}
		}
		all.WriteString("/ ")
	}
	return all.String()
}
