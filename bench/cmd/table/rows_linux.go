package main

import (
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/corral-run/corral"
)

// row is one line of the table.
type row struct {
	figure, goal string
	containment  corral.Containment // needed
	tool         *tool              // needed, nil if none
	measure      func() (result, error)
}

type result struct{ reached, spread, peer string }

// noGrace asks once and kills at once.
var noGrace = corral.StopPlan{{Signal: syscall.SIGTERM}}

var osExec = "os/exec, " + runtime.Version()

// rows are all lines. What they need is built in the directory.
func rows(e effort, dir string) (all []row) {
	corralProgram := &program{module: "github.com/corral-run/corral", name: "corral", to: dir}
	nothing := &program{module: "github.com/corral-run/corral/bench", name: "nothing", to: dir}
	add := func(cont corral.Containment, figure, goal string, measure func() (result, error)) {
		all = append(all, row{figure: fmt.Sprintf("%s, %s", figure, cont), goal: goal, containment: cont, measure: measure})
	}
	everyone := []corral.Containment{corral.Group, corral.Cgroup, corral.Keeper, corral.PIDNS}
	held := []corral.Containment{corral.Cgroup, corral.Keeper, corral.PIDNS} // of which nothing escapes

	all = append(all, row{
		figure:  "for comparison: a Go program that does nothing, whole process",
		measure: func() (result, error) { return nothing.overTrue(e.rounds) },
	})
	goals := map[corral.Containment]string{corral.Group: "1.03x", corral.Cgroup: "1.05x", corral.Keeper: "3x"}
	for _, atOnce := range []int{1, 2, 16} {
		for _, cont := range everyone {
			add(cont, fmt.Sprintf("library: /bin/true, %d at once", atOnce), goals[cont], func() (result, error) {
				return library(owner{Containment: cont, Rounds: e.rounds, Runs: atOnce})
			})
		}
	}
	heap := e.size(1<<30, 64<<20)
	for _, cont := range everyone {
		add(cont, fmt.Sprintf("library: /bin/true, owner with %d MiB heap and 1,000 goroutines", heap>>20), goals[cont], func() (result, error) {
			return library(owner{Containment: cont, Rounds: e.rounds, Runs: 1, Heap: heap, Goroutines: 1000})
		})
	}
	for _, cli := range []struct {
		containment corral.Containment
		peer        *tool
		goal        string
	}{
		{corral.Cgroup, &bwrap, "1.0x"},
		{corral.Keeper, &bwrap, "1.2x"},
		{corral.PIDNS, &bwrap, ""},
		{corral.Cgroup, &timeout, "1.5x"},
		{corral.Keeper, &timeout, ""},
		{corral.Cgroup, &tini, ""},
		{corral.Cgroup, &dumbInit, ""},
	} {
		add(cli.containment, "command: /bin/true, whole process over "+cli.peer.argv[0], cli.goal, func() (result, error) {
			return corralProgram.over(cli.peer, cli.containment, e.rounds)
		})
		all[len(all)-1].tool = cli.peer
	}
	for _, cont := range held {
		add(cont, "the leader's last word to Wait returning", "1 ms, p99 5 ms", func() (result, error) {
			return lastWord(cont, e.rounds)
		})
		add(cont, "a leftover's last word to Wait returning", "1 ms, p99 5 ms", func() (result, error) {
			return lastLeftover(cont, e.rounds)
		})
	}
	members := e.size(1000, 50)
	add(corral.Cgroup, fmt.Sprintf("stop of %d TERM-ignoring members", members), "1.5x", func() (result, error) {
		return stopOver("bare cgroup.kill", corral.Cgroup, members, e.few(), bareCgroup)
	})
	for _, cont := range []corral.Containment{corral.Keeper, corral.PIDNS} {
		goal := ""
		if cont == corral.Keeper {
			goal = "1.5x"
		}
		add(cont, fmt.Sprintf("stop of %d TERM-ignoring members", members), goal, func() (result, error) {
			return stopOver("kill loop", cont, members, e.few(), killLoop)
		})
	}
	many := e.size(1000, 200)
	if e.heavy {
		many = 10000
	}
	for _, cont := range held {
		add(cont, fmt.Sprintf("stop of %d members, time per member over that of 100", many), "1.0x", func() (result, error) {
			return flat(cont, many, e.few())
		})
	}
	runs := e.size(1000, 20)
	for _, cont := range everyone {
		add(cont, fmt.Sprintf("%d runs at once: owner's memory, descriptors, goroutines per run", runs), "40 KiB; 3; 2", func() (result, error) {
			return perRun(owner{Containment: cont, Runs: runs}, min(e.few(), 3))
		})
	}
	killed := e.size(100, 5)
	for _, cont := range held {
		add(cont, fmt.Sprintf("owner of %d runs of 10 members SIGKILLed, until nothing is left", killed), "100 ms", func() (result, error) {
			return orphaned(owner{Containment: cont, Runs: killed, Members: 10}, e.few())
		})
	}
	idle := time.Duration(e.size(5, 1)) * time.Second
	for _, cont := range everyone {
		add(cont, fmt.Sprintf("idle for %v: times that owner or helper woke up", idle), "0", func() (result, error) {
			return idling(owner{Containment: cont, Runs: 1, Members: 1}, idle)
		})
	}
	for _, cont := range held {
		add(cont, "helper: resident memory, start-up CPU", "6 MiB, 2 ms", func() (result, error) {
			return helper(owner{Containment: cont, Runs: 1, Members: 1}, e.few())
		})
	}
	return all
}
