package escape

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

func TestMain(m *testing.M) {
	Register("test-owner", func(args []string) {
		leader := exec.Command(args[0], args[1:]...)
		leader.ExtraFiles = Inherited()
		if err := leader.Start(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(failed)
		}
		leader.Wait()
	})
	Main()
	code := m.Run()
	if code == 0 {
		if err := CheckUsed(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

func TestUnavailable(t *testing.T) {
	defer func() {
		usedMu.Lock()
		delete(used, "nothing")
		usedMu.Unlock()
	}()
	use("nothing", false)
	lacking := errors.New("lacking")
	c := Child{Name: "nothing", needs: func() error { return lacking }}
	if err := c.Unavailable(); !errors.Is(err, lacking) || !strings.Contains(err.Error(), c.Name) {
		t.Errorf("error %v", err)
	}
	if names := unused(); slices.Contains(names, "nothing") {
		t.Errorf("unused: %v", names)
	}
	c.needs = nil
	if err := c.Unavailable(); err != nil {
		t.Error(err)
	}
}

// TestLifetime: a tree that nobody stops ends at its deadline. The test shortens
// it.
func TestLifetime(t *testing.T) {
	// It takes long to start, and is made of the same as others.
	pending := slices.DeleteFunc(All(), func(c Child) bool {
		err := c.Unavailable()
		if err != nil {
			t.Log("SKIPPED:", err)
		}
		return c.Name == "wide" || err != nil
	})
	for life := 3 * time.Second; len(pending) > 0; life *= 2 {
		var trees []*tree
		var tests []*recorder
		for _, c := range pending {
			r := &recorder{TB: t}
			p := NewProbe(r, c)
			p.args[1] = strconv.FormatInt(time.Now().Add(life).UnixMilli(), 10)
			trees, tests = append(trees, launch(t, p)), append(tests, r)
			p.Started()
		}
		pending = nil
		ctx := timeout(t, life+20*time.Second)
		for i, tr := range trees {
			if err := tr.await(ctx, nil); err != nil {
				t.Error(err)
			}
			members, _ := tr.known()
			said := tests[i].end()
			switch {
			case len(members) >= tr.child.Members:
				if said != "" {
					t.Error(said)
				}
			case life < 30*time.Second:
				// It was not complete when it ended, so that proves little.
				pending = append(pending, tr.child)
			default:
				t.Errorf("%s: %d of %d members after %v: %s", tr.child.Name, len(members), tr.child.Members, life, said)
			}
		}
	}
}

// TestLifetimeStopped: the init of a namespace does not live longer either when it
// has been stopped.
func TestLifetimeStopped(t *testing.T) {
	c := find(t, "own-ns")
	for life := 5 * time.Second; !stoppedInTime(t, c, life); life *= 2 {
		if life > 20*time.Second {
			t.Fatalf("not stopped within %v", life)
		}
	}
}

// stoppedInTime starts c, which is to live for so long, and reports whether its
// "ns-init" was seen to be stopped before it ended. If it was, all of c has to end.
func stoppedInTime(t *testing.T, c Child, life time.Duration) (stopped bool) {
	t.Helper()
	r := &recorder{TB: t}
	p := NewProbe(r, c)
	p.args[1] = strconv.FormatInt(time.Now().Add(life).UnixMilli(), 10)
	tr := launch(t, p)
	p.Started()
	ctx := timeout(t, life+20*time.Second)
	select {
	case <-p.ready:
	case <-ctx.Done():
	}
	if members, _ := p.known(); len(members) >= c.Members {
		i := slices.IndexFunc(members, func(m Member) bool { return m.Role == "ns-init" })
		stopped = stop(t, members[i].ID)
	}
	if err := tr.await(ctx, nil); err != nil {
		t.Error(err)
	}
	if said := r.end(); said != "" && stopped {
		t.Error(said) // else it may have ended before it was complete
	}
	return stopped
}

// stop stops a process, and reports whether it got that far before it ended.
func stop(t *testing.T, id proctree.ID) bool {
	t.Helper()
	h, err := proctree.Open(id)
	if err == nil {
		defer h.Close()
		err = h.Signal(syscall.SIGSTOP)
	}
	for ; err == nil; time.Sleep(time.Millisecond) {
		var row proctree.Process
		row, err = proctree.Lookup(id.PID)
		if err != nil || row.ID != id || !row.Alive() {
			break
		}
		if row.State == proctree.Stopped {
			return true
		}
	}
	if err != nil && !errors.Is(err, proctree.ErrGone) {
		t.Error(err)
	}
	return false
}

func TestRegisterTwice(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	Register("plain", func([]string) {})
}

func TestUnused(t *testing.T) {
	use("nothing", false)
	defer func() {
		usedMu.Lock()
		delete(used, "nothing")
		usedMu.Unlock()
	}()
	if names := unused(); !slices.Contains(names, "nothing") {
		t.Errorf("unused: %v", names)
	}
}
