package corral

import (
	"slices"
	"testing"

	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/event"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/stop"
)

// TestEventsSettle: whatever has been told before the end, in the end it is what the
// Report says, each thing told once, and nothing after that.
func TestEventsSettle(t *testing.T) {
	var told []event.Event
	e := &events{
		run: "r", sink: func(ev event.Event) { told = append(told, ev) },
		met: make(map[proctree.ID]bool), fates: make(map[proctree.ID]Fate),
	}
	leftover := func(pid int, fate Fate) Leftover {
		return Leftover{Process: Process{PID: pid, Start: 1, Command: []string{"c"}}, Fate: fate}
	}
	s := stop.New(nil, nil, 0, discard)
	e.watch(s, Stopped, nil)
	id := func(pid int) proctree.ID { return proctree.ID{PID: pid, Start: 1} }
	s.OnMet(stop.Met{Leftover: stop.Leftover{ID: id(7), Name: "helper"}})
	s.OnMet(stop.Met{Leftover: stop.Leftover{ID: id(5), Name: "c"}, Executable: "/c"})
	s.OnStep(stop.Taken{Number: 1, Signal: "SIGTERM", Members: 3})
	s.OnStep(stop.Taken{Number: 2, Signal: stop.Kill, Members: -1})
	e.settle([]Leftover{leftover(4, Held), leftover(5, Forced)})
	e.settle([]Leftover{leftover(4, Held), leftover(5, Forced)}) // again
	r := &run{leader: id(3), cont: new(choice), cmd: new(Cmd)}
	survivor := leftover(6, Survived)
	survivor.Reason = "because"
	rep := &Report{Ending: Stopped, Leftovers: []Leftover{leftover(4, Forced), leftover(5, Forced), survivor, leftover(8, Kept), leftover(9, Signalled)}}
	e.end(r, rep)
	e.end(r, rep)
	e.settle([]Leftover{leftover(10, Kept)})
	s.OnMet(stop.Met{Leftover: stop.Leftover{ID: id(11)}})
	s.OnStep(stop.Taken{Number: 3})

	var got []string
	pids := make(map[string][]int)
	for _, ev := range told {
		kind := string(ev.Common().Kind)
		got = append(got, kind)
		switch ev := ev.(type) {
		case *event.Leftover:
			if ev.Retracted {
				kind = "retracted"
			}
			pids[kind] = append(pids[kind], ev.PID)
		case *event.Killed:
			pids[kind] = append(pids[kind], ev.PID)
		case *event.Unkillable:
			if pids[kind] = append(pids[kind], ev.PID); ev.Reason != "because" {
				t.Errorf("the reason is %q", ev.Reason)
			}
		case *event.Kept:
			pids[kind+" "+ev.Fate] = append(pids[kind+" "+ev.Fate], ev.PID)
		case *event.StopStep:
			if (ev.Members == nil) != (ev.Step == 2) {
				t.Errorf("step %d: members %v", ev.Step, ev.Members)
			}
		case *event.LeaderEnded:
			if ev.ExitCode != nil || ev.Usage != nil {
				t.Errorf("what is not known is told: %+v", ev)
			}
		}
	}
	for kind := range pids {
		slices.Sort(pids[kind])
	}
	want := map[string][]int{"leftover": {4, 5, 6, 7, 8, 9}, "retracted": {7}, "killed": {4, 5}, "unkillable": {6}, "kept held": {4}, "kept kept": {8}}
	if d := diff.Of(want, pids); d != "" {
		t.Error(d)
	}
	if got[len(got)-1] != "run-ended" || !slices.Contains(got, "leader-ended") {
		t.Errorf("they are %q", got)
	}
	last := told[len(told)-1].(*event.RunEnded)
	if d := diff.Of(map[string]int{"forced": 2, "survived": 1, "kept": 1, "signalled": 1}, last.Fates); d != "" || last.Leftovers != 5 {
		t.Errorf("%d leftovers: %s", last.Leftovers, d)
	}
}
