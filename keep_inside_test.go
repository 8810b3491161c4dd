package corral

import (
	"context"
	"os"
	"testing"
	"testing/synctest"

	"github.com/corral-run/corral/internal/proctree"
)

// TestKnowHangs: a process whose executable is on a file system that does not answer
// holds up nobody for long.
func TestKnowHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rows := []proctree.Process{{ID: proctree.ID{PID: 5, Start: 7}, Name: "a"}, {ID: proctree.ID{PID: 6, Start: 8}, Name: "b"}}
		hang := make(chan bool)
		defer close(hang)
		know := func(rows []proctree.Process) []Process {
			<-hang
			return make([]Process, len(rows))
		}
		ctx, cancel := context.WithTimeout(t.Context(), keepPatience)
		defer cancel()
		if _, yes, answered := ask(ctx, rows[0], know, func(Process) bool { return true }); yes || answered {
			t.Errorf("Keep is asked: %v, %v", yes, answered)
		}
		all := soon(rows, know)
		if len(all) != 2 || all[0].PID != 5 || all[0].Start != 7 || all[1].String() != "6 ([b])" {
			t.Errorf("known are %+v", all)
		}
	})
}

// TestExecuted: a process that has no command line yet is looked at until it has one,
// one that has ended is not.
func TestExecuted(t *testing.T) {
	own, err := proctree.Brief(os.Getpid())
	if err != nil {
		t.Skip("SKIPPED: ", err)
	}
	gone := own
	gone.Start++
	for _, tt := range []struct {
		name         string
		row          proctree.Process
		after, looks int
	}{{"at once", own, 1, 1}, {"soon", own, 4, 4}, {"never", own, 1000, 101}, {"gone", gone, 1000, 2}} {
		t.Run(tt.name, func(t *testing.T) {
			looks := 0
			got := executed(tt.row, func(p proctree.Process) proctree.Process {
				if looks++; looks >= tt.after {
					p.Args = []string{"sh"}
				}
				return p
			})
			if got.ID != tt.row.ID || (len(got.Args) > 0) != (tt.after <= tt.looks) || looks != tt.looks {
				t.Errorf("%+v after %d looks", got, looks)
			}
		})
	}
}
