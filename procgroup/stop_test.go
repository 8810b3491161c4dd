package procgroup

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/corral-run/corral/internal/proctree"
)

// TestSendEach: the members known are sent to first, and its errors are those of
// this package. What reach.Each does is tested there.
func TestSendEach(t *testing.T) {
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
		sent    []int
		want    error
	}{
		"new ones":         {looks: [][]proctree.Process{rows(7), rows(7, 8), rows(8, 9), rows(9)}, sent: []int{7, 8, 9}},
		"none may be sent": {looks: [][]proctree.Process{rows(7), rows(7)}, errs: map[int]error{7: &os.PathError{Err: os.ErrPermission}}, sent: []int{7}, want: os.ErrPermission},
		"some may be sent": {looks: [][]proctree.Process{rows(7, 8), rows(7)}, errs: map[int]error{7: os.ErrPermission}, sent: []int{7, 8}},
		"the look fails":   {looks: [][]proctree.Process{rows(7)}, lookErr: broken, sent: []int{7}, want: broken},
	} {
		t.Run(name, func(t *testing.T) {
			var sent []int
			at := 0
			err := sendEach(test.looks[0], func() ([]proctree.Process, error) {
				if at++; at == len(test.looks) {
					return nil, test.lookErr
				}
				return test.looks[at], nil
			}, func(p proctree.Process) error {
				sent = append(sent, p.PID)
				return test.errs[p.PID]
			})
			if !slices.Equal(sent, test.sent) || err != test.want {
				t.Errorf("sent to %v, error %v; want %v, %v", sent, err, test.sent, test.want)
			}
		})
	}
}

// TestSendEachEnds: a tree that grows with each look does not keep it for good.
func TestSendEachEnds(t *testing.T) {
	pid := 0
	look := func() ([]proctree.Process, error) {
		pid++
		return []proctree.Process{{ID: proctree.ID{PID: pid}}}, nil
	}
	live, _ := look()
	sent := 0
	err := sendEach(live, look, func(proctree.Process) error { sent++; return nil })
	if sent != maxLooks || err != nil {
		t.Errorf("sent to %d, error %v; want %d", sent, err, maxLooks)
	}
}
