package corral_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/windows"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
)

func init() {
	// scope-owner holds what its command has left, says who that is, and stays.
	escape.Register("scope-owner", func([]string) {
		scope := new(corral.Scope)
		cmd := inJob("leave")
		cmd.Scope, cmd.Leftovers = scope, corral.HoldLeftovers
		out, err := cmd.Output()
		fmt.Printf("%s %v\n", strings.TrimSpace(string(out)), err)
		time.Sleep(escape.Lifetime)
	})
}

// TestScopeWindows: Wait returns while what the command has left lives on. It can be
// listed, and is stopped one by one and by Close.
func TestScopeWindows(t *testing.T) {
	scope := new(corral.Scope)
	var held []*corral.Cmd
	for range 2 {
		cmd := inJob("leave")
		cmd.Scope, cmd.Leftovers = scope, corral.HoldLeftovers
		cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Second}}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		members, err := cmd.Members()
		if err != nil || len(members) != 1 || strconv.Itoa(members[0].PID) != strings.TrimSpace(string(out)) {
			t.Fatalf("members %v, %v; want %s", members, err, out)
		}
		held = append(held, cmd)
	}
	all, err := scope.Processes()
	if err != nil || len(all) != 2 || len(scope.Runs()) != 2 {
		t.Fatalf("held: %v, %v", all, err)
	}
	first := held[0].Report().Leftovers[0]
	if first.Fate != corral.Held {
		t.Errorf("%+v", first)
	}
	if err := scope.Signal(first.Process, syscall.SIGTERM); err == nil {
		t.Error("a single process has been sent a signal, which Windows has not")
	}
	if err := scope.Signal(first.Process, os.Kill); err != nil {
		t.Error(err)
	}
	eventually(t, "the end of the first", func() bool { return len(scope.Runs()) == 1 })
	if err := scope.Signal(first.Process, os.Kill); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("of one that has ended: %v", err)
	}
	report, err := scope.Close(t.Context())
	if err != nil || len(report.Leftovers) != 1 || report.Leftovers[0].PID != held[1].Report().Leftovers[0].PID {
		t.Errorf("Close: %+v, %v", report, err)
	}
	if left, err := scope.Processes(); len(left) > 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
	if err := scope.Command("cmd", "/c", "exit").Start(); !errors.Is(err, corral.ErrScopeClosed) {
		t.Errorf("Start after Close: %v", err)
	}
}

// TestScopeOwnerWindows: what a Scope holds ends with its owner, however that ends.
func TestScopeOwnerWindows(t *testing.T) {
	owner := command("scope-owner")
	out, err := owner.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := owner.Start(); err != nil {
		t.Fatal(err)
	}
	defer owner.Wait()
	defer owner.Process.Kill()
	said, err := bufio.NewReader(out).ReadString('\n')
	var pid int
	if _, serr := fmt.Sscanf(said, "%d <nil>", &pid); err != nil || serr != nil || pid <= 0 {
		t.Fatalf("it says %q, %v", said, err)
	}
	h, err := windows.OpenProcess(windows.SYNCHRONIZE, false, uint32(pid))
	if err != nil {
		t.Fatal(err)
	}
	defer windows.CloseHandle(h)
	if event, err := windows.WaitForSingleObject(h, 0); event != uint32(windows.WAIT_TIMEOUT) {
		t.Fatalf("it is not held: %d, %v", event, err)
	}
	owner.Process.Kill()
	if event, err := windows.WaitForSingleObject(h, 20_000); event != windows.WAIT_OBJECT_0 {
		t.Errorf("it outlives the owner: %d, %v", event, err)
	}
}
