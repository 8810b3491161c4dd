//go:build linux || darwin || freebsd

package reach

import (
	"cmp"
	"errors"
	"io"
	"math"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// TestLook: an empty list is believed only with a word for it.
func TestLook(t *testing.T) {
	row := proctree.Process{ID: proctree.ID{PID: 5, Start: 6}}
	for name, tt := range map[string]struct {
		empty   int // how often the list is empty at first
		none    bool
		err     error
		looks   int // 0: as many as it takes
		rows    int
		failure bool
	}{
		"somebody":                 {looks: 1, rows: 1},
		"nobody":                   {empty: 1, none: true, looks: 1},
		"somebody after some time": {empty: 5, looks: 6, rows: 1},
		"always gone":              {empty: math.MaxInt, failure: true},
		"an error":                 {empty: 1, err: io.EOF, looks: 1, failure: true},
	} {
		looks := 0
		var rows []proctree.Process
		var err error
		// In the bubble the time that Look gives is that of the looks alone.
		synctest.Test(t, func(*testing.T) {
			rows, err = Look(func() ([]proctree.Process, bool, error) {
				time.Sleep(time.Millisecond)
				if looks++; looks <= tt.empty {
					return nil, tt.none, tt.err
				}
				return []proctree.Process{row}, false, nil
			})
		})
		if len(rows) != tt.rows || (err != nil) != tt.failure || tt.looks > 0 && looks != tt.looks || tt.looks == 0 && looks < 2 {
			t.Errorf("%s: %v, %v after %d looks", name, rows, err, looks)
		}
		if tt.err != nil && !errors.Is(err, tt.err) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// start starts a child that ends with the test, at the latest.
func start(t *testing.T) (*exec.Cmd, proctree.Process) {
	cmd := exec.Command("cat")
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
	id, err := proctree.Identify(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return cmd, proctree.Process{ID: id}
}

// TestSignal: those that turn up in a later look get the signal too.
func TestSignal(t *testing.T) {
	one, first := start(t)
	other, second := start(t)
	looks := 0
	var err error
	// In the bubble time stands still: Signal does not look for long, and a busy machine
	// would use that up.
	synctest.Test(t, func(*testing.T) {
		err = Signal(func() ([]proctree.Process, error) {
			if looks++; looks == 1 {
				return []proctree.Process{first}, nil
			}
			return []proctree.Process{first, second}, nil
		}, syscall.SIGTERM)
	})
	if err != nil || looks != 3 {
		t.Errorf("%v after %d looks, want 3", err, looks)
	}
	for _, cmd := range []*exec.Cmd{one, other} {
		if looks < 2 {
			break // it would not end
		}
		cmd.Wait()
		if status := cmd.ProcessState.Sys().(syscall.WaitStatus); !status.Signaled() || status.Signal() != syscall.SIGTERM {
			t.Errorf("%v", cmd.ProcessState)
		}
	}
	// Both have been reaped.
	if err := Signal(func() ([]proctree.Process, error) { return []proctree.Process{first, second}, nil }, syscall.SIGTERM); err != os.ErrProcessDone {
		t.Errorf("with nobody left: %v", err)
	}
}

// TestSignalNobody: nobody, and an error, are told apart.
func TestSignalNobody(t *testing.T) {
	if err := Signal(func() ([]proctree.Process, error) { return nil, nil }, syscall.SIGTERM); err != os.ErrProcessDone {
		t.Errorf("nobody: %v", err)
	}
	if err := Signal(func() ([]proctree.Process, error) { return nil, io.EOF }, syscall.SIGTERM); err != io.EOF {
		t.Errorf("a look that fails: %v", err)
	}
}

// TestSignalProcessRefuses: numbers that stand for more than a process, or for
// init, are refused before anything is opened.
func TestSignalProcessRefuses(t *testing.T) {
	for _, pid := range []int{1, 0, -1, -5} {
		if err := SignalProcess(proctree.ID{PID: pid}, syscall.Signal(0)); err == nil || errors.Is(err, proctree.ErrGone) {
			t.Errorf("PID %d: %v", pid, err)
		}
	}
}

// TestEach: whoever comes in between two looks is sent to, nobody twice, and what
// cannot be sent is told.
func TestEach(t *testing.T) {
	rows := func(pids ...int) (rows []proctree.Process) {
		for _, pid := range pids {
			rows = append(rows, proctree.Process{ID: proctree.ID{PID: pid, Start: 1}})
		}
		return rows
	}
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		looks   [][]proctree.Process
		lookErr error // of the look after these
		errs    map[int]error
		most    int // looks; 0 for enough
		sent    []int
		reached bool
		want    error
	}{
		"none":               {looks: [][]proctree.Process{nil}},
		"no one new":         {looks: [][]proctree.Process{rows(7, 8), rows(8, 7)}, sent: []int{7, 8}, reached: true},
		"new ones":           {looks: [][]proctree.Process{rows(7), rows(7, 8), rows(8, 9), rows(9)}, sent: []int{7, 8, 9}, reached: true},
		"gone meanwhile":     {looks: [][]proctree.Process{rows(7), nil}, errs: map[int]error{7: proctree.ErrGone}, sent: []int{7}},
		"none may be sent":   {looks: [][]proctree.Process{rows(7), rows(7)}, errs: map[int]error{7: os.ErrPermission}, sent: []int{7}, want: os.ErrPermission},
		"some may be sent":   {looks: [][]proctree.Process{rows(7, 8), rows(7)}, errs: map[int]error{7: os.ErrPermission}, sent: []int{7, 8}, reached: true},
		"no descriptors":     {looks: [][]proctree.Process{rows(7, 8)}, errs: map[int]error{7: broken}, sent: []int{7}, want: broken},
		"a look that failed": {looks: [][]proctree.Process{rows(7)}, lookErr: broken, sent: []int{7}, reached: true, want: broken},
		"no end":             {looks: [][]proctree.Process{rows(7), rows(8), rows(9)}, most: 2, sent: []int{7, 8}, reached: true},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []int
			at := -1
			look := func() ([]proctree.Process, error) {
				if at++; at == len(test.looks) {
					return nil, test.lookErr
				}
				return test.looks[at], nil
			}
			reached, err := Each(look, cmp.Or(test.most, 100), time.Hour, func(p proctree.Process) error {
				sent = append(sent, p.PID)
				return test.errs[p.PID]
			})
			if !slices.Equal(sent, test.sent) || reached != test.reached || !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("sent to %v, %v, error %v; want %v, %v, %v", sent, reached, err, test.sent, test.reached, test.want)
			}
		})
	}
}

// TestSignalFrom: it starts with those seen, and looks for others unless nobody has
// been born.
func TestSignalFrom(t *testing.T) {
	const none = syscall.Signal(0)
	self, err := proctree.Brief(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	seen := []proctree.Process{self}
	looks := 0
	look := func(known []proctree.Process) ([]proctree.Process, error) {
		looks++
		return seen, nil
	}
	if err := SignalFrom(seen, 0, look, none); err != nil || looks != 1 {
		t.Errorf("%d looks, error %v; want one for others", looks, err)
	}
	if looks = 0; SignalFrom(nil, 0, look, none) != nil || looks < 1 {
		t.Errorf("%d looks, want one at least", looks)
	}
	births := proctree.Births()
	if births == 0 {
		t.Skip("SKIPPED: this system does not tell whether anybody has been born")
	}
	if err := exec.Command("true").Run(); err != nil {
		t.Fatal(err)
	}
	if proctree.Births() == births {
		t.Errorf("a process has been born, and the number is still %d", births)
	}
	if looks = 0; SignalFrom(seen, births, look, none) != nil || looks == 0 {
		t.Error("no look, though somebody has been born")
	}
	for range 1000 { // others may be born at any time
		if looks = 0; SignalFrom(seen, proctree.Births(), look, none) != nil {
			t.Fatal("not signalled")
		}
		if looks == 0 {
			return
		}
	}
	t.Error("always a look, though nobody is born")
}
