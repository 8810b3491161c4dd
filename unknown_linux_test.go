package corral_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
)

const blindRole = "blind"

func init() { escape.Register(blindRole, runBlind) }

// cover mounts something over /proc, in a mount namespace of this process's own.
func cover() {
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount("none", "/proc", "tmpfs", 0, "")); err != nil {
		panic(err)
	}
}

// runBlind is an owner that cannot look at its members, from before the start or
// from after it.
func runBlind(args []string) {
	when, cont, then := args[0], corral.Containment(args[1]), args[2]
	cmd := corral.Command("sh", "-c", "sleep 30 >/dev/null & echo $!; exec >/dev/null; cat")
	cmd.Containment, cmd.Require = cont, cont
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: 300 * time.Millisecond}}
	if then == "keep" {
		cmd.Leftovers = corral.KeepLeftovers
	}
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "oracle")}
	syscall.CloseOnExec(3)
	feed, err := cmd.StdinPipe()
	if err != nil {
		panic(err)
	}
	ready, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if when == "before" {
		cover()
	}
	if err := cmd.Start(); err != nil {
		var refused *corral.ContainmentError
		fmt.Printf("refused in words: %v: %v\n", errors.As(err, &refused), err)
		return
	}
	sleep, err := bufio.NewReader(ready).ReadString('\n')
	if err != nil {
		panic(err)
	}
	if when == "after" {
		cover()
	}
	if then == "stop" {
		cmd.Stop(context.Background())
	}
	feed.Close()
	err = cmd.Wait()
	var survivors *corral.SurvivorError
	fmt.Printf("unknown: %v, %v: %v\n%s", errors.As(err, &survivors) && survivors.Unknown != nil, cmd.Report().Unknown != "", err, sleep)
}

// TestBlind: who cannot see the members does not say that there are none. Where it
// is seen before the start, nothing is started.
func TestBlind(t *testing.T) {
	escape.Command(blindRole) // it counts as used also where the test is skipped
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to mount something over /proc")
	}
	for _, tt := range []struct {
		when, cont, then string
		want             string
		left             bool
	}{
		{"before", "group", "stop", "refused in words: true", false},
		{"after", "group", "keep", "unknown: true, true", true},
		{"after", "group", "stop", "unknown: ", false},
		{"after", "cgroup", "stop", "unknown: false, false", false},
		// The keeper has a descriptor of the right /proc, and the kernel's word.
		{"before", "keeper", "stop", "refused in words: true", false},
		{"after", "keeper", "stop", "unknown: false, false", false},
		{"after", "keeper", "wait", "unknown: false, false", false},
	} {
		t.Run(tt.when+" "+tt.cont+" "+tt.then, func(t *testing.T) {
			path, args := escape.Command(blindRole, tt.when, tt.cont, tt.then)
			cmd := exec.Command(path, args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			cmd.ExtraFiles = []*os.File{w}
			out, err := cmd.Output()
			w.Close()
			if errors.Is(err, os.ErrPermission) {
				t.Skip("SKIPPED: no mount namespaces: ", err)
			}
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if strings.Contains(string(out), "cgroup: ") && tt.cont == "cgroup" && strings.HasPrefix(string(out), "refused") {
				t.Skipf("SKIPPED: %s", out)
			}
			if !strings.HasPrefix(string(out), tt.want) {
				t.Errorf("it said %q, want %q", out, tt.want)
			}
			r.SetReadDeadline(time.Now().Add(2 * time.Second))
			_, err = io.Copy(io.Discard, r)
			if left := err != nil; left != tt.left {
				t.Errorf("something is left: %v, want %v", left, tt.left)
			} else if left { // it has the pipe, so it is there
				lines := strings.Fields(string(out))
				if err := syscall.Kill(max(2, atoi(lines[len(lines)-1])), syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
