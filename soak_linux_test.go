package corral_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
)

var (
	soak = flag.Int("soak", 20, "how many random trials TestSoak makes")
	seed = flag.Uint64("seed", 0, "what the trials of TestSoak are made from; 0 is a new one")
)

// trial is a random child that meets a random end in a random containment.
type trial struct {
	cont     corral.Containment
	child    escape.Child
	scenario scenario
	// early is how long after the run's start the end comes, if it does not come
	// when the child is complete.
	early time.Duration
}

func (t trial) String() string {
	when := "when ready"
	if t.early > 0 {
		when = "after " + t.early.String()
	}
	return fmt.Sprintf("%s, %s %s: %s %s", t.cont, t.scenario.name, when, t.child.Name, t.child.Doc)
}

// scenario is how a run comes to its end.
type scenario struct {
	name, then string
	end        func(*running, *escape.Probe)
	only       corral.Containment // the one in which nobody is to survive; "" is all
	timeout    bool
	killed     bool // the owner is, so it has nothing to say
}

var scenarios = []scenario{
	{name: "ends", end: func(_ *running, p *escape.Probe) { p.Release() }},
	{name: "stop", then: "stop", end: func(o *running, _ *escape.Probe) { o.cue() }},
	{name: "context", then: "context", end: func(o *running, _ *escape.Probe) { o.cue() }},
	{name: "timeout", timeout: true},
	{name: "owner exits", then: "exit", end: func(o *running, _ *escape.Probe) { o.cue() }, killed: true},
	{name: "owner killed", end: func(o *running, _ *escape.Probe) { o.kill() }, killed: true},
	{name: "owner killed", end: func(o *running, _ *escape.Probe) { o.kill() }, killed: true}, // the most important one
	{name: "guard killed", then: "stop", only: corral.Cgroup, end: func(o *running, _ *escape.Probe) {
		o.comesTo("started") // before, it is not for the run
		send(o.T, o.helper("corral-guard"), syscall.SIGKILL)
		o.cue()
	}},
	{name: "guard replaced, owner killed", only: corral.Cgroup, killed: true, end: func(o *running, _ *escape.Probe) {
		o.comesTo("started")
		guard := o.helper("corral-guard")
		send(o.T, guard, syscall.SIGKILL)
		o.helper("corral-guard", guard)
		o.kill()
	}},
	{name: "keeper killed", only: corral.PIDNS, end: func(o *running, _ *escape.Probe) {
		o.comesTo("started")
		send(o.T, o.helper("corral-keeper"), syscall.SIGKILL)
	}},
	{name: "owner and keeper killed", only: corral.PIDNS, killed: true, end: func(o *running, _ *escape.Probe) {
		o.comesTo("started")
		keeper := o.helper("corral-keeper")
		send(o.T, o.id, syscall.SIGSTOP)
		send(o.T, keeper, syscall.SIGKILL)
		o.kill()
	}},
}

// newTrial returns a trial that is expected to leave nobody.
func newTrial(r *rand.Rand, containments []corral.Containment) trial {
	t := trial{cont: containments[r.IntN(len(containments))]}
	for {
		t.scenario = scenarios[r.IntN(len(scenarios))]
		if t.scenario.only == "" || t.scenario.only == t.cont {
			break
		}
	}
	if r.IntN(2) == 0 || t.scenario.timeout {
		t.early = time.Duration(1+r.IntN(100)) * time.Millisecond
	}
	for all := escape.All(); ; {
		if r.IntN(3) > 0 {
			budget := 6
			t.child = escape.Tree(randomNodes(r, &budget)...)
			return t
		}
		t.child = all[r.IntN(len(all))]
		want := expected[t.cont][t.child.Name]
		if len(want.ends)+len(want.stop)+len(want.orphans) == 0 && t.child.Unavailable() == nil {
			return t
		}
	}
}

// randomNodes takes each process from the budget.
func randomNodes(r *rand.Rand, budget *int) []escape.Node {
	var nodes []escape.Node
	for *budget > 0 && r.IntN(3) > 0 {
		*budget--
		n := escape.Node{
			Session: r.IntN(2) == 0,
			Orphan:  r.IntN(2) == 0,
			Ignore:  r.IntN(3) == 0,
			Stopped: r.IntN(4) == 0,
		}
		n.Below = randomNodes(r, budget)
		nodes = append(nodes, n)
	}
	return nodes
}

// TestSoak tries what nobody has thought of. A trial depends on nothing but the
// seed and its number.
func TestSoak(t *testing.T) {
	if *seed == 0 {
		*seed = uint64(time.Now().UnixNano())
	}
	t.Logf("-soak %d -seed %d", *soak, *seed)
	var containments []corral.Containment
	forEach(t, strong, func(_ *testing.T, cont corral.Containment) { containments = append(containments, cont) })
	if len(containments) == 0 {
		t.Skip("SKIPPED: there is no containment that leaves nobody")
	}
	next := make(chan int)
	go func() {
		defer close(next)
		for i := range *soak {
			next <- i
		}
	}()
	var workers sync.WaitGroup
	defer workers.Wait()
	for range 4 {
		workers.Go(func() {
			for i := range next {
				t.Run(strconv.Itoa(i), func(t *testing.T) {
					newTrial(rand.New(rand.NewPCG(*seed, uint64(i))), containments).run(t)
				})
			}
		})
	}
}

func (tr trial) run(t *testing.T) {
	t.Cleanup(func() { // after all others
		if t.Failed() {
			t.Logf("-seed %d: %v", *seed, tr)
		}
	})
	escape.StartBystander(t)
	nest := newNest(t, tr.early > 0 || tr.scenario.name == "guard killed")
	probe := escape.NewProbe(t, tr.child)
	if tr.early > 0 {
		probe.Interrupt()
	}
	p := program{Containment: tr.cont, Then: tr.scenario.then}
	if tr.scenario.timeout {
		p.Timeout = tr.early
	}
	o := startOwner(t, nest, probe, p)
	o.comesTo("starting")
	switch {
	case tr.scenario.timeout:
	case tr.early > 0:
		time.Sleep(tr.early) // this is the trial, not how it is judged
		tr.scenario.end(o, probe)
	default:
		probe.Ready(t.Context())
		tr.scenario.end(o, probe)
	}
	switch {
	case tr.scenario.then == "exit":
	case tr.scenario.killed:
		o.killed()
	default:
		if r := o.result(); r.Report == nil || len(r.Report.Survivors()) > 0 {
			t.Errorf("Wait: %s, %+v", r.Err, r.Report)
		}
	}
	gone(t, probe, nil)
}
