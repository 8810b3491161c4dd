package corral_test

import (
	"context"
	"encoding/json"
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

func init() { escape.Register("exhausted", exhausted) }

// exhausted is an owner that has no descriptor left once its run has started. Its
// own descriptor 3 goes to the run alone.
func exhausted(args []string) {
	unix.CloseOnExec(3)
	oracle := os.NewFile(3, "oracle")
	cont, end := corral.Containment(args[0]), args[1]
	limit := unix.Rlimit{Cur: 128, Max: 128}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		panic(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	away := "setsid "
	if cont == corral.Group {
		away = "" // it would be away
	}
	cmd := corral.CommandContext(ctx, "sh", "-c", "sleep 304 & "+away+"sh -c 'trap \"\" TERM; sleep 304' & sleep 304")
	cmd.Containment, cmd.Require = cont, cont
	cmd.ExtraFiles = []*os.File{oracle}
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Second}}
	const pause = time.Second
	if end == "timeout" {
		cmd.Timeout = pause
	}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "exhausted:", err)
		os.Exit(1)
	}
	oracle.Close()
	time.Sleep(pause / 2) // the shell is to have started what it starts
	for {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err == unix.EMFILE {
			break
		} else if err != nil {
			panic(err)
		}
	}
	if end == "none" { // the limit is below what is open, too
		limit.Cur = 0
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			panic(err)
		}
	}
	stopped := "-"
	switch end {
	case "cancel", "none":
		time.AfterFunc(pause/2, cancel)
	case "stop":
		time.AfterFunc(pause/2, func() { stopped = fmt.Sprint(cmd.Stop(context.Background())) })
	case "signal":
		time.AfterFunc(pause/2, func() {
			if err := cmd.Signal(syscall.SIGTERM); err != nil {
				stopped = err.Error() // as it should say, and then a stop is not hindered
				cmd.Stop(context.Background())
			}
		})
	case "kill":
		time.AfterFunc(pause/2, func() { stopped = fmt.Sprint(cmd.Signal(os.Kill)) })
	}
	err := cmd.Wait()
	json.NewEncoder(os.Stdout).Encode(map[string]any{"err": fmt.Sprint(err), "stopped": stopped, "report": cmd.Report()})
	syscall.Exit(0)
}

// TestNoDescriptorsLeft: a stop takes what it has.
func TestNoDescriptorsLeft(t *testing.T) {
	for _, end := range []string{"cancel", "timeout", "stop", "signal", "kill", "none"} {
		t.Run(end, func(t *testing.T) {
			forEach(t, []corral.Containment{corral.Cgroup, corral.Keeper, corral.PIDNS, corral.Group}, func(t *testing.T, cont corral.Containment) {
				t.Parallel()
				oracle, theirs, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer oracle.Close()
				path, args := escape.Command("exhausted", string(cont), end)
				owner := exec.Command(path, args...)
				owner.Stderr = os.Stderr
				owner.ExtraFiles = []*os.File{theirs}
				var out strings.Builder
				owner.Stdout = &out
				if err := owner.Start(); err != nil {
					t.Fatal(err)
				}
				theirs.Close()
				oracle.SetReadDeadline(time.Now().Add(20 * time.Second))
				ended := make(chan error, 1)
				go func() { ended <- owner.Wait() }()
				if _, err := io.ReadAll(oracle); err != nil {
					t.Errorf("members are left: %v", err)
				}
				select {
				case err := <-ended:
					if err != nil || !strings.Contains(out.String(), `"report":{`) {
						t.Errorf("owner: %v, %q", err, out.String())
					}
				case <-time.After(10 * time.Second):
					t.Error("Wait has not returned")
					owner.Process.Kill()
					<-ended
				}
				var said struct{ Err, Stopped string }
				if err := json.Unmarshal([]byte(out.String()), &said); err != nil {
					t.Error(err)
				}
				t.Logf("Wait: %s; Stop or Signal: %s", said.Err, said.Stopped)
			})
		})
	}
}
