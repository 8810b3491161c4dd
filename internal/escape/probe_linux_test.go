package escape

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestGoneErrors(t *testing.T) {
	tr := launch(t, NewProbe(t, find(t, "plain")))
	tr.ready = tr.Ready(tr.ctx)
	at := func() context.Context { return timeout(t, 10*time.Millisecond) }
	check := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	check(tr.Gone(at()), "2 still alive")
	check(tr.Gone(at(), "child"), "1 still alive: [leader (")
	tr.leave("child")
	tr.signal("child", syscall.SIGTERM)
	if err := tr.watch(tr.ctx, nil); err != nil {
		t.Fatal(err)
	}
	check(tr.Gone(at()), "not reported")
	tr.Started()
	check(tr.Gone(tr.ctx, "child"), "none of these has survived: [child]")
	tr.expect()
}

// TestReadyOfChain: a tree that goes on has the same members when it is complete,
// however late the test looks.
func TestReadyOfChain(t *testing.T) {
	tr := launch(t, NewProbe(t, find(t, "chain")))
	tr.Started()
	seen := []Member{tr.next("link")}
	for range 3 {
		seen = append(seen, tr.next("link", seen...))
	}
	members := tr.Ready(tr.ctx)
	if len(members) != 2 || members[0].Role != "leader" || members[1] != seen[0] {
		t.Errorf("members %v, want the leader and %v", members, seen[0])
	}
}
