package main

import (
	"fmt"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/bench/internal/peer"
	"github.com/corral-run/corral/bench/internal/slowinit"
)

// row is one line of the table.
type row struct {
	figure, goal string
	containment  corral.Containment // which the row needs, "" if none
	tool         *peer.Tool         // which the row needs, nil if none
	root         bool               // the row needs root
	measure      func() (result, error)
}

type result struct{ reached, spread, peer string }

// noGrace sends SIGTERM and kills at once.
var noGrace = corral.StopPlan{{Signal: syscall.SIGTERM}}

var osExec = "os/exec, " + runtime.Version()

var (
	everyone = []corral.Containment{corral.Group, corral.Cgroup, corral.Keeper, corral.PIDNS}
	// Nothing escapes from these.
	held = []corral.Containment{corral.Cgroup, corral.Keeper, corral.PIDNS}
)

// rows are all lines. What they need is built in dir.
func rows(e effort, dir string) []row {
	corralProgram := &peer.Program{Module: "github.com/corral-run/corral", Name: "corral", To: dir}
	return slices.Concat(
		nothingRows(e, dir),
		libraryRows(e),
		heapRows(e),
		helperPathRows(e, corralProgram, dir),
		containRows(e, corralProgram),
		commandRows(e, corralProgram),
		lastWordRows(e),
		stopRows(e),
		flatRows(e),
		memoryRows(e),
		orphanRows(e),
		idleRows(e),
		helperRows(e),
	)
}

// rowOf is a row about a containment.
func rowOf(cont corral.Containment, figure, goal string, measure func() (result, error)) row {
	return row{
		figure:      fmt.Sprintf("%s, %s", figure, cont),
		goal:        goal,
		containment: cont,
		measure:     measure,
	}
}

// rowsOf are the same row for each of the containments.
func rowsOf(conts []corral.Containment, figure, goal string,
	measure func(corral.Containment) (result, error)) (all []row) {
	for _, cont := range conts {
		all = append(all, rowOf(cont, figure, goal, func() (result, error) { return measure(cont) }))
	}
	return all
}

func nothingRows(e effort, dir string) []row {
	nothing := &peer.Program{Module: "github.com/corral-run/corral/bench", Name: "nothing", To: dir}
	return []row{{
		figure:  "for comparison: a Go program that does nothing, whole process",
		measure: func() (result, error) { return overTrue(nothing, e.rounds) },
	}}
}

// The goals of a run of /bin/true by the library.
var libraryGoals = map[corral.Containment]string{corral.Group: "1.06x", corral.Cgroup: "1.06x", corral.Keeper: "1.8x"}

func libraryRows(e effort) (all []row) {
	for _, atOnce := range []int{1, 2, 16} {
		for _, cont := range everyone {
			figure := fmt.Sprintf("library: /bin/true, %d at once", atOnce)
			all = append(all, rowOf(cont, figure, libraryGoals[cont], func() (result, error) {
				return library(owner{Containment: cont, Rounds: e.rounds, Runs: atOnce})
			}))
		}
	}
	return all
}

func heapRows(e effort) (all []row) {
	// A keeper is started for each run, so what that takes may grow with the owner.
	onlyKeeper := []corral.Containment{corral.Keeper}
	for _, of := range []struct {
		heap  int // MiB
		conts []corral.Containment
	}{
		{e.size(30, 3), onlyKeeper},
		{e.size(100, 10), onlyKeeper},
		{e.size(1024, 64), everyone},
	} {
		figure := fmt.Sprintf("library: /bin/true, owner with %d MiB heap and 1,000 goroutines", of.heap)
		for _, cont := range of.conts {
			goal := libraryGoals[cont]
			if cont == corral.Keeper {
				goal = "2.6x"
			}
			all = append(all, rowOf(cont, figure, goal, func() (result, error) {
				return library(owner{Containment: cont, Rounds: e.rounds, Runs: 1, Heap: of.heap << 20, Goroutines: 1000})
			}))
		}
	}
	return all
}

// helperPathRows are about what a keeper initialises that is started from the
// owner's program, or from an installed corral.
func helperPathRows(e effort, corralProgram *peer.Program, dir string) []row {
	o := owner{Containment: corral.Keeper, Rounds: e.rounds, Runs: 1}
	slow := func(measure func(owner) (result, error)) func() (result, error) {
		return func() (result, error) {
			path, err := slowOwner(dir)
			if err != nil {
				return result{}, err
			}
			o := o
			o.Program = path
			return measure(o)
		}
	}
	small := "library: /bin/true, 1 at once"
	large := fmt.Sprintf("library: /bin/true, owner with %d ms of init functions", slowinit.Time.Milliseconds())
	const installed = ", HelperPath an installed corral"
	return []row{
		rowOf(corral.Keeper, small+installed, "", func() (result, error) { return asHelper(corralProgram, o) }),
		rowOf(corral.Keeper, large, "3x", slow(library)),
		rowOf(corral.Keeper, large+installed, "", slow(func(o owner) (result, error) { return asHelper(corralProgram, o) })),
	}
}

// containRows are about commands that os/exec starts after corral.Contain: what that
// starts is the owner's program once more, or an installed corral.
func containRows(e effort, corralProgram *peer.Program) (all []row) {
	for _, cont := range []corral.Containment{corral.Cgroup, corral.Keeper} {
		o := owner{Containment: cont, Rounds: e.rounds, Runs: 1, ByOthers: true}
		const figure = "Contain: /bin/true"
		all = append(all,
			rowOf(cont, figure, "", func() (result, error) { return library(o) }),
			rowOf(cont, figure+", HelperPath an installed corral", "", func() (result, error) { return asHelper(corralProgram, o) }))
	}
	return all
}

func commandRows(e effort, corralProgram *peer.Program) (all []row) {
	for _, cli := range []struct {
		containment corral.Containment
		peer        *peer.Tool
		goal        string
	}{
		{corral.Cgroup, &bwrap, "0.9x"},
		{corral.Keeper, &bwrap, "1.0x"},
		{corral.PIDNS, &bwrap, ""},
		{corral.Cgroup, &timeout, "1.6x"},
		{corral.Keeper, &timeout, "1.8x"},
		{corral.Cgroup, &tini, ""},
		{corral.Cgroup, &dumbInit, ""},
	} {
		figure := "command: /bin/true, whole process over " + cli.peer.Argv[0]
		r := rowOf(cli.containment, figure, cli.goal, func() (result, error) {
			return over(corralProgram, cli.peer, cli.containment, e.rounds)
		})
		r.tool = cli.peer
		all = append(all, r)
	}
	return all
}

func lastWordRows(e effort) (all []row) {
	const goal = "1 ms, p99 5 ms"
	for _, cont := range held {
		all = append(all,
			rowOf(cont, "the leader's last word to Wait returning", goal, func() (result, error) {
				return lastWord(cont, e.rounds)
			}),
			rowOf(cont, "a leftover's last word to Wait returning", goal, func() (result, error) {
				return lastLeftover(cont, e.rounds)
			}))
	}
	return all
}

func stopRows(e effort) []row {
	members := e.size(1000, 50)
	figure := fmt.Sprintf("stop of %d TERM-ignoring members", members)
	loop := func(cont corral.Containment) func() (result, error) {
		return func() (result, error) { return stopOver("kill loop", cont, members, e.few(), killLoop) }
	}
	return []row{
		rowOf(corral.Cgroup, figure, "1.5x", func() (result, error) {
			return stopOver("bare cgroup.kill", corral.Cgroup, members, e.few(), bareCgroup)
		}),
		rowOf(corral.Keeper, figure, "1.5x", loop(corral.Keeper)),
		rowOf(corral.PIDNS, figure, "", loop(corral.PIDNS)),
	}
}

func flatRows(e effort) []row {
	members := e.size(1000, 200)
	if e.heavy {
		members = 10000
	}
	figure := fmt.Sprintf("stop of %d members, time per member over that of 100", members)
	return rowsOf(held, figure, "1.0x", func(cont corral.Containment) (result, error) {
		return flat(cont, members, e.few())
	})
}

func memoryRows(e effort) []row {
	runs := e.size(1000, 20)
	figure := fmt.Sprintf("%d runs at once: owner's memory, descriptors, goroutines per run", runs)
	return rowsOf(everyone, figure, "40 KiB; 3; 2", func(cont corral.Containment) (result, error) {
		return perRun(owner{Containment: cont, Runs: runs}, min(e.few(), 3))
	})
}

func orphanRows(e effort) []row {
	runs := e.size(100, 5)
	figure := fmt.Sprintf("owner of %d runs of 10 members SIGKILLed, until nothing is left", runs)
	return rowsOf(held, figure, "1.5x", func(cont corral.Containment) (result, error) {
		return orphaned(owner{Containment: cont, Runs: runs, Members: 10}, e.few())
	})
}

func idleRows(e effort) []row {
	idle := time.Duration(e.size(5, 1)) * time.Second
	figure := fmt.Sprintf("idle for %v: times that owner or helper woke up", idle)
	return rowsOf(everyone, figure, "0", func(cont corral.Containment) (result, error) {
		return idling(owner{Containment: cont, Runs: 1, Members: 1}, idle)
	})
}

func helperRows(e effort) []row {
	all := rowsOf(held, "helper: memory of its own (Pss), start-up CPU", "0.5 MiB, 2 ms", func(cont corral.Containment) (result, error) {
		return helper(owner{Containment: cont, Runs: 1, Members: 1}, e.few())
	})
	for i := range all {
		all[i].root = true
	}
	return all
}
