//go:build linux

package corral_test

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestComparison shows what the README says of other tools: the same script,
// once under each. The oracle is a pipe that only the process inherits which
// should not be left.
func TestComparison(t *testing.T) {
	const (
		leftover = "sleep 60 & echo $!"
		// The shell obeys SIGTERM, its child does not. The child is there when
		// the shell has read its line.
		deaf = `sh -c 'trap "" TERM; echo $$; exec sleep 60' | { read x; echo $x; exec sleep 60; }`
	)
	for _, tt := range []struct {
		name, script string
		under        []string // the tool's command line; nil for os/exec
		tool         string
		timesOut     bool
	}{
		{"a leftover under os/exec", leftover, nil, "sh", false},
		{"a leftover under timeout", leftover, []string{"timeout", "50"}, "timeout", false},
		{"a leftover under tini", leftover, []string{"tini", "-s", "-g", "--"}, "tini", false},
		{"a child that ignores TERM, under timeout", deaf, []string{"timeout"}, "timeout", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := exec.LookPath(tt.tool); err != nil {
				t.Skipf("SKIPPED, not installed: %v", err)
			}
			for _, ours := range []bool{false, true} {
				if tt.timesOut {
					// The PID is there when its process ignores SIGTERM.
					inTime(t, time.Second, func(timeout time.Duration) bool {
						under := []string{tt.under[0], fmt.Sprint(timeout.Seconds())}
						return compare(t, ours, under, tt.script, timeout)
					})
				} else if !compare(t, ours, tt.under, tt.script, 0) {
					t.Fatalf("no PID from %q", tt.script)
				}
			}
		})
	}
}

// compare runs script by this package or under the tool, and expects its child to be
// gone or not. It returns false, and has judged nothing, if the script has not said
// the child's PID.
func compare(t *testing.T, ours bool, under []string, script string, timeout time.Duration) bool {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	out, err := os.Create(t.TempDir() + "/out") // what stays does not hold a file
	if err != nil {
		t.Fatal(err)
	}
	patience := 200 * time.Millisecond // would be enough for an end-of-file to come that should not
	if ours {
		patience = 20 * time.Second // end-of-file has come already; the child would live longer
		cmd := sh(script)
		cmd.Timeout = timeout
		cmd.Stdout, cmd.ExtraFiles = out, []*os.File{w}
		cmd.Run()
	} else {
		argv := append(slices.Clone(under), "sh", "-c", script)
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Stdout, cmd.ExtraFiles = out, []*os.File{w}
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // timeout signals its own group
		cmd.Run()
	}
	w.Close()
	out.Close()
	pid := atoi(strings.TrimSpace(string(readFile(t, out.Name()))))
	if pid <= 1 {
		return false
	}
	r.SetReadDeadline(time.Now().Add(patience))
	_, err = r.Read(make([]byte, 1))
	gone := errors.Is(err, io.EOF)
	if gone != ours {
		t.Errorf("by corral: %v, gone: %v (%v)", ours, gone, err)
	}
	if !gone {
		syscall.Kill(pid, syscall.SIGKILL) // it holds the pipe, so it is there
	}
	return true
}
