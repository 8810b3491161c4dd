//go:build linux || darwin || freebsd

package procgroup

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/pgroup/pgtest"
	"github.com/corral-run/corral/internal/proctree"
)

var roles = map[string]func([]string){
	"stop as another user": stopAsAnotherUser,
	"join a new group":     joinNewGroup,
	"detach":               detach,
	"stop own tree":        stopOwnTree,
}

func TestMain(m *testing.M) { pgtest.Main(m, roles) }

// long is a grace period that no test waits for: one that ends has not been
// waited for, and one that does not shows as a test that takes too long.
const long = 40 * time.Second

// short is a grace period for those who will not obey.
const short = 300 * time.Millisecond

type spec = pgtest.Spec

// alive returns the processes of a tree that are alive at this moment.
func alive(tree *pgtest.Tree) (live []int) {
	for _, id := range tree.IDs {
		if _, ok := proctree.Live(id); ok {
			live = append(live, id.PID)
		}
	}
	return live
}

// TestRefused: what must not be signalled is refused.
func TestRefused(t *testing.T) {
	bystander := pgtest.StartBystander(t)
	// In the group of this test, which a mistaken call would reach.
	mate := pgtest.Bystander{Tree: pgtest.Start(t, spec{Mode: pgtest.Count})}
	for name, call := range callsByID(t) {
		t.Run(name, func(t *testing.T) {
			refused := func(id, want int) {
				t.Helper()
				var e *RefusedError
				if err := call(id); !errors.As(err, &e) {
					t.Errorf("%d: %v, want it refused", id, err)
				} else if e.ID != want || e.Reason == "" || !strings.HasPrefix(err.Error(), "procgroup: ") {
					t.Errorf("%d: %#v (%v), want it refused because of %d", id, e, err, want)
				}
			}
			for _, id := range impossibleIDs() {
				refused(id, id)
			}
			refused(os.Getpid(), os.Getpid())
			switch name {
			case "KillProcess": // one process may be killed in the own group
			case "KillGroup", "SignalGroup":
				refused(syscall.Getpgrp(), syscall.Getpgrp())
			case "KillCmd":
			default:
				refused(mate.PID, syscall.Getpgrp())
			}
		})
	}
	t.Run("of a command", func(t *testing.T) {
		var e *RefusedError
		if err := KillCmd(mate.Cmd()); !errors.As(err, &e) || e.ID != syscall.Getpgrp() {
			t.Errorf("a command in the own group: %v, want it refused", err)
		}
		if err := KillCmd(exec.Command("true")); err == nil {
			t.Error("no error for a command that has not been started")
		}
	})
	mate.Unharmed(t)
	bystander.Unharmed(t)
}

// impossibleIDs returns numbers that no PID or PGID has.
func impossibleIDs() []int {
	impossible := []int{0, 1, -1, -2, -os.Getpid(), math.MinInt32, math.MinInt}
	if strconv.IntSize == 64 {
		for _, id := range []int64{math.MaxInt64, 1<<32 - 1, 1 << 32, 1<<32 + 1, math.MaxInt32 + 1} {
			impossible = append(impossible, int(id))
		}
	}
	return impossible
}

// callsByID returns what signals whom a number stands for.
func callsByID(t *testing.T) map[string]func(int) error {
	return map[string]func(int) error{
		"KillGroup":     KillGroup,
		"SignalGroup":   func(id int) error { return SignalGroup(id, Term) },
		"KillGroupOf":   KillGroupOf,
		"SignalGroupOf": func(id int) error { return SignalGroupOf(id, Int) },
		"KillProcess":   KillProcess,
		"KillCmd":       func(id int) error { return KillCmd(&exec.Cmd{Process: &os.Process{Pid: id}}) },
		"GracefulKill": func(id int) error {
			result, err := GracefulKill(id, Term, 0)
			if result != Error {
				err = fmt.Errorf("result %v, %w", result, err)
			}
			return err
		},
		"GracefulKillDefault": func(id int) error { _, err := GracefulKillDefault(id); return err },
		"GracefulKillTree": func(id int) error {
			_, err := GracefulKillTree(t.Context(), id, Term, 0)
			return err
		},
	}
}

// TestPermission: EPERM is reported.
func TestPermission(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, needs root, to have processes of two users")
	}
	const other = 65534
	for _, test := range []struct {
		name       string
		tree       spec
		unkillable []int // of the tree
	}{
		{"all", spec{Mode: pgtest.Count, Group: true, Children: []spec{{Mode: pgtest.Count}}}, []int{0, 1}},
		{"some", spec{Mode: pgtest.Count, Group: true, Children: []spec{{User: other}}}, []int{0}},
	} {
		for _, call := range []string{"KillGroup", "SignalGroupOf", "GracefulKill", "GracefulKillTree"} {
			t.Run(test.name+"/"+call, func(t *testing.T) {
				tree := pgtest.Start(t, test.tree)
				asker := pgtest.Start(t, spec{Role: "stop as another user", Session: true, User: other, Args: []string{call, strconv.Itoa(tree.PID)}})
				said := asker.Line(t)
				if !strings.HasPrefix(said, "permission: ") || !strings.Contains(said, "result error") {
					t.Errorf("%s: %s", call, said)
				}
				for i, id := range tree.IDs {
					named := strings.Contains(said, fmt.Sprintf("process %d (", id.PID))
					if want := slices.Contains(test.unkillable, i); named != want {
						t.Errorf("%s: process %d is named: %v, want %v: %s", call, id.PID, named, want, said)
					}
					if !slices.Contains(test.unkillable, i) {
						tree.Ended(t, i)
					}
				}
				pgtest.Bystander{Tree: tree}.Unharmed(t)
			})
		}
	}
}

func stopAsAnotherUser(args []string) {
	pid, _ := strconv.Atoi(args[1])
	pgtest.Say("ready", os.Getpid())
	var err error
	result := Error
	switch args[0] {
	case "KillGroup":
		err = KillGroup(pid)
	case "SignalGroupOf":
		err = SignalGroupOf(pid, Term)
	case "GracefulKill":
		result, err = GracefulKill(pid, Term, long)
	case "GracefulKillTree":
		result, err = GracefulKillTree(context.Background(), pid, Term, long)
	}
	kind := "other"
	if errors.Is(err, os.ErrPermission) {
		kind = "permission"
	}
	pgtest.Say(kind+": result", result, err)
}

func TestSignalGroup(t *testing.T) {
	for name, call := range map[string]func(*pgtest.Tree, Signal) error{
		"SignalGroup":   func(tree *pgtest.Tree, sig Signal) error { return SignalGroup(tree.PID, sig) },
		"SignalGroupOf": func(tree *pgtest.Tree, sig Signal) error { return SignalGroupOf(tree.IDs[1].PID, sig) },
		"SignalCmd":     func(tree *pgtest.Tree, sig Signal) error { return SignalCmd(tree.Cmd(), sig) },
	} {
		t.Run(name, func(t *testing.T) {
			bystander := pgtest.StartBystander(t)
			tree := pgtest.Start(t, spec{Mode: pgtest.Count, Group: true, Children: []spec{{Mode: pgtest.Count}}})
			for sig, want := range map[Signal]syscall.Signal{Int: syscall.SIGINT, Term: syscall.SIGTERM} {
				if err := call(tree, sig); err != nil {
					t.Error(err)
				}
				said := []string{tree.Line(t), tree.Line(t)}
				for _, id := range tree.IDs {
					if line := fmt.Sprint("got ", id.PID, " ", want); !slices.Contains(said, line) {
						t.Errorf("%v: the processes said %q, want %q among it", sig, said, line)
					}
				}
			}
			if err := call(tree, 7); err == nil {
				t.Error("no error for an unknown signal")
			}
			if err := call(tree, Kill); err != nil {
				t.Error(err)
			}
			tree.Gone(t)
			for range 2 { // the leader a zombie, and reaped
				for sig := Kill; sig <= Term; sig++ {
					if err := call(tree, sig); err != nil {
						t.Errorf("%v to a group that is gone: %v", sig, err)
					}
				}
				tree.Reap()
			}
			bystander.Unharmed(t)
		})
	}
}

// TestKillCmd: the command may be waited for, before and at the same time.
func TestKillCmd(t *testing.T) {
	t.Run("reaped", func(t *testing.T) {
		tree := pgtest.Start(t, spec{Mode: pgtest.Exit, Group: true, Children: []spec{{}}})
		tree.Reap()
		if err := KillCmd(tree.Cmd()); err != nil {
			t.Error(err)
		}
		tree.Gone(t)
	})
	t.Run("being reaped", func(t *testing.T) {
		tree := pgtest.Start(t, spec{Group: true})
		reaped := make(chan struct{})
		go func() { defer close(reaped); tree.Reap() }()
		for done := false; !done; {
			if err := KillCmd(tree.Cmd()); err != nil {
				t.Fatal(err)
			}
			select {
			case <-reaped:
				done = true
			default:
			}
		}
	})
	t.Run("without a group", func(t *testing.T) {
		tree := pgtest.Start(t, spec{Mode: pgtest.Exit})
		tree.Reap()
		var e *RefusedError
		if err := KillCmd(tree.Cmd()); !errors.As(err, &e) {
			t.Errorf("%v, want it refused", err)
		}
	})
}

func TestKillProcess(t *testing.T) {
	tree := pgtest.Start(t, spec{Group: true, Children: []spec{{Mode: pgtest.Count}}})
	if err := KillProcess(tree.PID); err != nil {
		t.Error(err)
	}
	tree.Ended(t, 0)
	if live := alive(tree); !slices.Equal(live, []int{tree.IDs[1].PID}) {
		t.Errorf("alive: %v, want only the member %d", live, tree.IDs[1].PID)
	}
	for range 2 { // a zombie, and reaped
		if err := KillProcess(tree.PID); err != nil {
			t.Error("already gone:", err)
		}
		if state := tree.Reap(); state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Error("it ended otherwise:", state)
		}
	}
}

func TestSetProcessGroup(t *testing.T) {
	for name, s := range map[string]spec{"member": {}, "leader": {Group: true}, "session leader": {Session: true}} {
		t.Run(name, func(t *testing.T) {
			s.Role = "join a new group"
			tree := pgtest.Start(t, s)
			if got, want := tree.Line(t), fmt.Sprint("<nil> in group ", tree.PID); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func joinNewGroup([]string) {
	pgtest.Say("ready", os.Getpid())
	pgtest.Say(SetProcessGroup(), "in group", syscall.Getpgrp())
}

func TestDetachFromTTY(t *testing.T) {
	for name, test := range map[string]struct {
		spec
		newSession bool
	}{
		"member":         {spec{}, true},
		"leader":         {spec{Group: true}, false},
		"session leader": {spec{Session: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			test.Role = "detach"
			tree := pgtest.Start(t, test.spec)
			p, err := proctree.Lookup(os.Getpid())
			if err != nil {
				t.Fatal(err)
			}
			session := p.SID
			if test.newSession {
				session = tree.PID
			}
			if got, want := tree.Line(t), fmt.Sprint("<nil> in group ", tree.PID, " and session ", session); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func detach([]string) {
	pgtest.Say("ready", os.Getpid())
	err := DetachFromTTY()
	p, lookup := proctree.Lookup(os.Getpid())
	if lookup != nil {
		panic(lookup)
	}
	pgtest.Say(err, "in group", p.PGID, "and session", p.SID)
}

func TestCmdAttributes(t *testing.T) {
	type attr = syscall.SysProcAttr
	for _, test := range []struct {
		name     string
		set      func(*exec.Cmd) error
		have     *attr
		want     *attr
		conflict string
	}{
		{"none", SetCmdProcessGroup, nil, &attr{Setpgid: true}, ""},
		{"others", SetCmdProcessGroup, &attr{Chroot: "/x", Noctty: true}, &attr{Chroot: "/x", Noctty: true, Setpgid: true}, ""},
		{"again", SetCmdProcessGroup, &attr{Setpgid: true}, &attr{Setpgid: true}, ""},
		{"session", SetCmdProcessGroup, &attr{Setsid: true}, &attr{Setsid: true}, ""},
		{"foreground", SetCmdProcessGroup, &attr{Foreground: true, Ctty: 3}, &attr{Foreground: true, Ctty: 3, Setpgid: true}, ""},
		{"other group", SetCmdProcessGroup, &attr{Setpgid: true, Pgid: 77}, nil, "Pgid"},
		{"other group in foreground", SetCmdProcessGroup, &attr{Foreground: true, Pgid: 77}, nil, "Pgid"},

		{"none", DetachCmdFromTTY, nil, &attr{Setsid: true}, ""},
		{"others", DetachCmdFromTTY, &attr{Chroot: "/x", Noctty: true}, &attr{Chroot: "/x", Noctty: true, Setsid: true}, ""},
		{"again", DetachCmdFromTTY, &attr{Setsid: true}, &attr{Setsid: true}, ""},
		{"group", DetachCmdFromTTY, &attr{Setpgid: true}, &attr{Setsid: true}, ""},
		{"other group", DetachCmdFromTTY, &attr{Setpgid: true, Pgid: 77}, nil, "Pgid"},
		{"terminal", DetachCmdFromTTY, &attr{Setsid: true, Setctty: true}, nil, "Setctty"},
		{"foreground", DetachCmdFromTTY, &attr{Foreground: true}, nil, "Foreground"},
	} {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command("true")
			cmd.SysProcAttr = test.have
			var before attr
			if test.have != nil {
				before = *test.have
			}
			err := test.set(cmd)
			if test.have != nil && !equal(test.have, &before) {
				t.Error("attributes that other commands may share were changed")
			}
			var conflict *ConflictError
			switch {
			case test.conflict == "":
				if err != nil || !equal(cmd.SysProcAttr, test.want) {
					t.Errorf("%+v, %v, want %+v", cmd.SysProcAttr, err, test.want)
				}
			case !errors.As(err, &conflict) || conflict.Field != test.conflict:
				t.Errorf("%v, want a conflict with %s", err, test.conflict)
			case cmd.SysProcAttr != test.have:
				t.Error("the command was changed in spite of the conflict")
			}
		})
	}
}

func TestCmdAttributesStarted(t *testing.T) {
	tree := pgtest.Start(t, spec{})
	for _, set := range []func(*exec.Cmd) error{SetCmdProcessGroup, DetachCmdFromTTY, SetCmdParentDeathSignal} {
		if set(tree.Cmd()) == nil {
			t.Error("no error for a command that has been started")
		}
	}
}

// TestCmdAttributesEffect: that it works is for the system to say.
func TestCmdAttributesEffect(t *testing.T) {
	for name, set := range map[string]func(*exec.Cmd) error{"group": SetCmdProcessGroup, "session": DetachCmdFromTTY} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command("cat")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: name == "session"}
			if err := set(cmd); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			p, err := proctree.Lookup(cmd.Process.Pid)
			if err != nil || p.PGID != p.PID || (p.SID == p.PID) != (name == "session") {
				t.Errorf("group %d, session %d of process %d, %v", p.PGID, p.SID, p.PID, err)
			}
			in.Close()
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

func equal(a, b *syscall.SysProcAttr) bool { return fmt.Sprintf("%+v", a) == fmt.Sprintf("%+v", b) }

func TestStrings(t *testing.T) {
	var signal Signal
	var result Result
	if signal != Kill || result != Error {
		t.Error("the zero values are", signal, "and", result)
	}
	got := fmt.Sprintln(Kill, Int, Term, Signal(9), Error, GracefulExit, ForcefulKill, AlreadyExited, Result(9))
	if want := "kill int term Signal(9) error graceful exit forceful kill already exited Result(9)\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
