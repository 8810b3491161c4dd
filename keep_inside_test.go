package corral

import (
	"context"
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
