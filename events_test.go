//go:build linux || darwin || freebsd

package corral_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/diff"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/event"
	"github.com/corral-run/corral/internal/event/eventtest"
	"github.com/corral-run/corral/internal/leak"
	"github.com/corral-run/corral/internal/promise"
)

// listener records the events of one run, as lines and as records of log/slog.
type listener struct {
	mu    sync.Mutex
	lines []map[string]any
	raw   [][]byte
	log   bytes.Buffer
	news  chan struct{} // closed, and replaced, when there is more

	cmd    *corral.Cmd
	cancel context.CancelFunc // of its context
}

func newListener() *listener { return &listener{news: make(chan struct{})} }

// context is for the command that is listened to.
func (l *listener) context(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	l.cancel = cancel
	return event.With(ctx, func(e event.Event) {
		line, err := event.Line(e)
		if err != nil {
			panic(err)
		}
		var fields map[string]any
		if err := json.Unmarshal(line, &fields); err != nil {
			panic(err)
		}
		if fields["event"] == "stop-step" && fields["signal"] == "SIGTERM" {
			l.awaitObeyed()
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines, l.raw = append(l.lines, fields), append(l.raw, line)
		l.tell()
	})
}

// awaitObeyed waits until those that obey SIGTERM are gone: one does not. The stop is
// held up as long, so that none of them is late on a busy machine, and killed.
func (l *listener) awaitObeyed() {
	for late := time.Now().Add(escape.Lifetime / 2); time.Now().Before(late); time.Sleep(time.Millisecond) {
		if members, err := l.cmd.Members(); err == nil && len(members) <= 1 {
			return
		}
	}
}

// tell is called with mu held.
func (l *listener) tell() {
	close(l.news)
	l.news = make(chan struct{})
}

// Write is for the log.
func (l *listener) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.tell()
	return l.log.Write(b)
}

// command returns a command that is listened to in both ways.
func (l *listener) command(t *testing.T, cont corral.Containment, script string) *corral.Cmd {
	cmd := corral.CommandContext(l.context(t), "sh", "-c", script)
	l.cmd = cmd
	cmd.Containment, cmd.Require = cont, cont
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
	cmd.Logger = slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return cmd
}

// await waits for an event of the kind, also in the log, and returns it.
func (l *listener) await(t *testing.T, kind string) map[string]any {
	t.Helper()
	late := time.After(escape.Lifetime)
	for {
		l.mu.Lock()
		i := slices.IndexFunc(l.lines, func(e map[string]any) bool { return e["event"] == kind })
		logged, news := strings.Contains(l.log.String(), `"event":"`+kind+`"`), l.news
		if i >= 0 && logged {
			defer l.mu.Unlock()
			return l.lines[i]
		}
		l.mu.Unlock()
		select {
		case <-news:
		case <-late:
			t.Fatalf("there is no %s", kind)
		}
	}
}

// awaitLog waits until the log has a text.
func (l *listener) awaitLog(t *testing.T, text string) {
	t.Helper()
	late := time.After(escape.Lifetime)
	for {
		l.mu.Lock()
		log, news := l.log.String(), l.news
		l.mu.Unlock()
		if strings.Contains(log, text) {
			return
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("the log does not say %q: %s", text, log)
		}
	}
}

// kinds are the kinds of all events so far.
func (l *listener) kinds() (kinds []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.lines {
		kinds = append(kinds, e["event"].(string))
	}
	return kinds
}

// who names the processes of the events of a kind, without those retracted, sorted.
func (l *listener) who(kind string, also ...string) (who []string) {
	for _, e := range l.lines {
		if e["event"] != kind {
			continue
		}
		name := fmt.Sprintf("%.0f/%.0f", e["pid"], e["start"])
		for _, field := range also {
			name += fmt.Sprint(" ", e[field])
		}
		if e["retracted"] == true {
			who = slices.DeleteFunc(who, func(w string) bool { return w == name })
			continue
		}
		who = append(who, name)
	}
	slices.Sort(who)
	return who
}

// agree checks that the events are as docs/events.schema.json has them, and that they
// say what the Report says.
func (l *listener) agree(t *testing.T, rep *corral.Report) {
	t.Helper()
	l.await(t, "run-ended") // Wait has no more than a second for a log that is slow
	l.mu.Lock()
	defer l.mu.Unlock()
	schema, err := eventtest.Load("docs/events.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range l.raw {
		if err := schema.Check(line); err != nil {
			t.Error(err)
		}
	}
	var want []string // who is to be in which events
	for _, leftover := range rep.Leftovers {
		id := fmt.Sprintf("%d/%d", leftover.PID, leftover.Start)
		want = append(want, "leftover "+id)
		switch leftover.Fate {
		case corral.Forced:
			want = append(want, "killed "+id)
		case corral.Survived:
			want = append(want, "unkillable "+id+" "+leftover.Reason)
		case corral.Kept, corral.Detached:
			want = append(want, "kept "+id+" "+string(leftover.Fate))
		}
	}
	var got []string
	for kind, also := range map[string][]string{"leftover": nil, "killed": nil, "unkillable": {"reason"}, "kept": {"fate"}} {
		for _, who := range l.who(kind, also...) {
			if !strings.HasSuffix(who, " "+string(corral.Held)) {
				got = append(got, kind+" "+who)
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if d := diff.Of(want, got); d != "" {
		t.Errorf("the Report (want) and the events (got):\n%s", d)
	}
	l.agreeEnd(t, rep)
	l.agreeLog(t)
}

// agreeEnd checks what there is once in a run.
func (l *listener) agreeEnd(t *testing.T, rep *corral.Report) {
	t.Helper()
	first, second, last := l.lines[0], l.lines[1], l.lines[len(l.lines)-1]
	if first["event"] != "run-started" || second["event"] != "leader-started" || last["event"] != "run-ended" {
		t.Fatalf("it begins with %v, %v, and ends with %v", first, second, last)
	}
	count := make(map[any]int)
	for _, e := range l.lines {
		count[e["event"]]++
		if e["run"] != first["run"] || e["dropped"] != nil {
			t.Errorf("of another run, or some are missing: %v", e)
		}
		if e["event"] == "leader-ended" && (e["exit_code"] != float64(rep.ExitCode) || e["signal"] != any(rep.Signal) && e["signal"] != nil || (e["signal"] == nil) != (rep.Signal == "")) {
			t.Errorf("the Report has status %d, signal %q: %v", rep.ExitCode, rep.Signal, e)
		}
	}
	ended := 1
	if rep.Ending == corral.Released {
		ended = 0
	}
	if count["run-started"] != 1 || count["leader-started"] != 1 || count["run-ended"] != 1 || count["leader-ended"] != ended {
		t.Errorf("there are %v", count)
	}
	if first["containment"] != string(rep.Containment) || len(first["declined"].([]any)) != len(rep.Declined) {
		t.Errorf("the Report has %s, %v: %v", rep.Containment, rep.Declined, first)
	}
	if owner := first["owner"].(map[string]any); owner["pid"] != float64(os.Getpid()) {
		t.Errorf("the owner is %v", owner)
	}
	if second["pid"] != float64(rep.Leader.PID) || second["start"] != float64(rep.Leader.Start) {
		t.Errorf("the leader is %v: %v", rep.Leader, second)
	}
	fates := make(map[string]any)
	for _, l := range rep.Leftovers {
		n, _ := fates[string(l.Fate)].(float64)
		fates[string(l.Fate)] = n + 1
	}
	want := map[string]any{
		"ending": string(rep.Ending), "cause": rep.Cause, "exit_code": float64(rep.ExitCode), "signal": rep.Signal, "forced": rep.Forced,
		"leftovers": float64(len(rep.Leftovers)), "fates": fates, "unknown": rep.Unknown, "signal_error": rep.SignalError,
		"best_effort": rep.BestEffort, "elapsed_seconds": rep.Elapsed.Seconds(), "user_seconds": rep.UserTime.Seconds(),
		"system_seconds": rep.SystemTime.Seconds(), "peak_memory_bytes": float64(rep.PeakMemory),
	}
	want["usage"] = usageOf(t, rep)
	for name, value := range want {
		if value == "" {
			value = nil
		}
		if d := diff.Of(value, last[name]); d != "" {
			t.Errorf("run-ended, %s: %s", name, d)
		}
	}
}

// usageOf is what a Report says of the use of a run, as an event has it: without those
// of whom nothing is known.
func usageOf(t *testing.T, rep *corral.Report) any {
	t.Helper()
	if rep.Usage == nil {
		return nil
	}
	b, err := json.Marshal(rep.Usage)
	if err != nil {
		t.Fatal(err)
	}
	usage := make(map[string]any)
	if err := json.Unmarshal(b, &usage); err != nil {
		t.Fatal(err)
	}
	maps.DeleteFunc(usage, func(_ string, amounts any) bool { return len(amounts.(map[string]any)) == 0 })
	return usage
}

// agreeLog checks that the log has the same events, in the same order.
func (l *listener) agreeLog(t *testing.T) {
	t.Helper()
	var logged []map[string]any
	for line := range bytes.Lines(l.log.Bytes()) {
		var record map[string]any
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		if record["event"] == nil {
			continue
		}
		if !strings.HasPrefix(record["msg"].(string), "corral: ") {
			t.Errorf("the message is %v", record["msg"])
		}
		delete(record, "msg")
		delete(record, "level")
		logged = append(logged, record)
	}
	if d := diff.Of(l.lines, logged); d != "" {
		t.Errorf("the lines (want) and the log (got):\n%s", d)
	}
}

// lingering starts one that obeys SIGTERM and one that does not, says when they are
// there, and ends with its input.
const lingering = "sleep 58 & sh -c 'trap \"\" TERM; echo ready; exec sleep 59' & read x; exit 3"

// lingeringKnown is lingering that is there when the one that does not obey has its own
// name: a process that is executing a program has none for a moment.
const lingeringKnown = "sleep 58 & sh -c 'trap \"\" TERM; exec sleep 59' & until ps -o args= -p $! | grep -qx 'sleep 59'; do :; done; echo ready; read x; exit 3"

// listened are runs to listen to. Those without a script are lingering.
var listened = []struct {
	name, script string
	set          func(*corral.Cmd)
	do           func(*testing.T, *corral.Cmd, *listener) // instead of the end of the input
	not          []corral.Containment
	fates        string // of the leftovers, sorted
	steps        string // of the stop
}{
	{name: "nothing is left", script: "echo ready; read x; exit 3"},
	{name: "stopped leftovers", fates: "forced signalled", steps: "exited 1 SIGTERM, exited 2 kill"},
	{name: "Stop", do: func(t *testing.T, c *corral.Cmd, _ *listener) { c.Stop(t.Context()) }, fates: "forced signalled", steps: "stopped 1 SIGTERM, stopped 2 kill"},
	{name: "an empty plan", set: func(c *corral.Cmd) { c.StopPlan = corral.StopPlan{} },
		do: func(t *testing.T, c *corral.Cmd, _ *listener) { c.Stop(t.Context()) }, fates: "forced forced", steps: "stopped 1 kill"},
	{name: "two steps", set: func(c *corral.Cmd) {
		c.StopPlan = corral.StopPlan{{CloseStdin: true, Wait: grace / 3}, {Signal: syscall.SIGTERM, Wait: grace}}
	}, do: func(t *testing.T, c *corral.Cmd, _ *listener) { c.Stop(t.Context()) }, fates: "forced signalled",
		steps: "stopped 1 stdin, stopped 2 SIGTERM, stopped 3 kill"},
	{name: "the context ends", do: func(_ *testing.T, _ *corral.Cmd, l *listener) { l.cancel() },
		fates: "forced signalled", steps: "cancelled 1 SIGTERM, cancelled 2 kill"},
	{name: "Kill", do: func(_ *testing.T, c *corral.Cmd, _ *listener) { c.Kill() }, fates: "any"}, // they may be seen dying
	{name: "kept", set: func(c *corral.Cmd) { c.Leftovers = corral.KeepLeftovers }, not: []corral.Containment{corral.PIDNS}, fates: "kept kept"},
	{name: "one is kept", script: lingeringKnown, set: func(c *corral.Cmd) {
		c.StopPlan = patient // the other one obeys
		c.Keep = func(p corral.Process) bool { return slices.Contains(p.Command, "59") }
	}, not: []corral.Containment{corral.PIDNS, corral.Group}, fates: "kept signalled", steps: "exited 1 SIGTERM"},
	{name: "accounted", script: "echo ready; read x; exit 3", set: func(c *corral.Cmd) { c.Accounting = true }},
}

// TestEvents: what is told of a run while it goes on is what the Report says in the
// end, under every containment.
func TestEvents(t *testing.T) {
	for _, cont := range containments {
		for _, tt := range listened {
			t.Run(string(cont)+"/"+tt.name, func(t *testing.T) {
				if slices.Contains(tt.not, cont) {
					t.Skip("SKIPPED: ", cont, " has none of that")
				}
				need(t, cont)
				t.Parallel()
				l := newListener()
				script := tt.script
				if script == "" {
					script = lingering
				}
				cmd := l.command(t, cont, script)
				if tt.set != nil {
					tt.set(cmd)
				}
				stdin, err := cmd.StdinPipe()
				if err != nil {
					t.Fatal(err)
				}
				started(t, cmd)
				if tt.do == nil {
					stdin.Close()
				} else {
					tt.do(t, cmd, l)
				}
				cmd.Wait()
				rep := cmd.Report()
				var fates, steps []string
				for _, left := range rep.Leftovers {
					if fates = append(fates, string(left.Fate)); left.Fate == corral.Kept {
						syscall.Kill(left.PID, syscall.SIGKILL)
					}
				}
				slices.Sort(fates)
				for _, e := range l.lines {
					if e["event"] == "stop-step" {
						steps = append(steps, fmt.Sprint(e["because"], " ", e["step"], " ", e["signal"]))
					}
				}
				if tt.fates != "any" && (strings.Join(fates, " ") != tt.fates || strings.Join(steps, ", ") != tt.steps) {
					t.Errorf("fates: %v, want %s; steps: %q, want %s", fates, tt.fates, steps, tt.steps)
				}
				l.agree(t, rep)
			})
		}
	}
}

// TestEventsEarly: the leader's end is told when it happens, however long what it has
// left goes on, and whether Wait has been called or not. Where the system does not
// tell of a child that has not been waited for, Wait must have been.
func TestEventsEarly(t *testing.T) {
	for _, cont := range containments {
		for _, waits := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/waits %v", cont, waits), func(t *testing.T) {
				need(t, cont)
				t.Parallel()
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer w.Close()
				l := newListener()
				cmd := l.command(t, cont, "(read x <&3) & exit 3")
				cmd.ExtraFiles = []*os.File{r}
				cmd.Leftovers = corral.WaitForLeftovers
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				r.Close()
				waited := make(chan bool)
				wait := func() {
					cmd.Wait()
					close(waited)
				}
				if waits {
					go wait()
				} else if runtime.GOOS == "darwin" && cont == corral.Group {
					t.Skip("SKIPPED: macOS does not tell")
				}
				if e := l.await(t, "leader-ended"); e["exit_code"] != 3.0 {
					t.Errorf("it is told as %v", e)
				}
				if members, err := cmd.Members(); err != nil || len(members) != 1 {
					t.Errorf("the members: %v, %v", members, err)
				}
				if kinds := l.kinds(); slices.Contains(kinds, "run-ended") {
					t.Errorf("too much is told: %q", kinds)
				}
				w.Close()
				if !waits {
					go wait()
				}
				<-waited
				l.agree(t, cmd.Report())
			})
		}
	}
}

// TestEventsHeld: the run of which a Scope holds something ends when nothing is held
// any more.
func TestEventsHeld(t *testing.T) {
	for _, cont := range containments {
		if cont == corral.Group {
			continue
		}
		t.Run(string(cont), func(t *testing.T) {
			need(t, cont)
			t.Parallel()
			l := newListener()
			cmd := l.command(t, cont, lingering)
			var scope corral.Scope
			cmd.Scope, cmd.Leftovers = &scope, corral.HoldLeftovers
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			started(t, cmd)
			stdin.Close()
			if err := cmd.Wait(); !isExit(err, 3) {
				t.Error(err)
			}
			kinds := strings.Join(l.kinds(), " ")
			if want := "run-started leader-started leader-ended leftover kept leftover kept"; kinds != want {
				t.Errorf("Wait has returned: %s, want %s", kinds, want)
			}
			if held := len(l.who("kept", "fate")); held != 2 {
				t.Errorf("%d are held", held)
			}
			if _, err := scope.Close(t.Context()); err != nil {
				t.Error(err)
			}
			l.await(t, "run-ended")
			l.agree(t, cmd.Report())
			var fates []string
			for _, left := range cmd.Report().Leftovers {
				fates = append(fates, string(left.Fate))
			}
			if slices.Sort(fates); strings.Join(fates, " ") != "forced signalled" {
				t.Errorf("fates: %q", fates)
			}
		})
	}
}

// TestEventsReleased: a run that has been let go ends so.
func TestEventsReleased(t *testing.T) {
	l := newListener()
	cmd := l.command(t, corral.Group, "echo ready; exec sleep 57")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer stdout.Close()
	awaitLine(t, stdout)
	pid := cmd.Process.Pid
	defer syscall.Kill(pid, syscall.SIGKILL)
	cmd.Process.Release()
	l.await(t, "run-ended")
	l.agree(t, cmd.Report())
	if kinds := strings.Join(l.kinds(), " "); kinds != "run-started leader-started leftover kept run-ended" {
		t.Error(kinds)
	}
}

// TestEventsNotStarted: of a command that cannot be started nothing is told.
func TestEventsNotStarted(t *testing.T) {
	l := newListener()
	cmd := l.command(t, corral.Group, "")
	cmd.Path = "/corral/no/such"
	if err := cmd.Run(); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	if kinds := l.kinds(); len(kinds) > 0 {
		t.Errorf("there are %q", kinds)
	}
}

// TestEventsLimits: the limits of a run are told when it starts, if it has any. 0 is one.
func TestEventsLimits(t *testing.T) {
	for _, tt := range []struct {
		limits corral.Limits
		want   any
	}{
		{corral.Limits{}, nil},
		{corral.Limits{OpenFiles: 64, Core: corral.LimitToZero}, map[string]any{"open_files": 64.0, "core_bytes": 0.0}},
	} {
		l := newListener()
		cmd := l.command(t, corral.Group, "exit 0")
		cmd.Limits = tt.limits
		if err := cmd.Run(); err != nil {
			t.Fatal(err)
		}
		if d := diff.Of(tt.want, l.await(t, "run-started")["limits"]); d != "" {
			t.Errorf("%+v: %s", tt.limits, d)
		}
		l.await(t, "run-ended")
		l.agree(t, cmd.Report())
	}
}

// TestEventsOwnerDeath: what the owner's death is said to do is what is promised.
func TestEventsOwnerDeath(t *testing.T) {
	does := map[string]string{
		"the keeper stops all, the kernel the rest": "stop", "the guard stops all": "stop", "the keeper stops all": "stop",
		"the keeper stops what it knows": "stop", "the kernel kills all": "kill", "only the leader is killed": "leader", "nothing is killed": "nothing",
	}
	for _, p := range promise.On(runtime.GOOS) {
		cont := corral.Containment(p.Containment)
		t.Run(p.Containment, func(t *testing.T) {
			need(t, cont)
			for _, tt := range []struct {
				want string
				set  func(*corral.Cmd)
			}{
				{does[p.OwnerKilled], func(*corral.Cmd) {}},
				{strings.Replace(does[p.OwnerKilled], "stop", "kill", 1), func(c *corral.Cmd) { c.StopPlan = corral.StopPlan{} }},
				{"nothing", func(c *corral.Cmd) { c.Leftovers = corral.DetachLeftovers }},
			} {
				l := newListener()
				cmd := l.command(t, cont, ":")
				tt.set(cmd)
				if err := cmd.Run(); err != nil {
					if cont == corral.PIDNS && cmd.Leftovers == corral.DetachLeftovers {
						continue
					}
					t.Fatal(err)
				}
				if got := l.await(t, "run-started")["owner_death"]; got != tt.want {
					t.Errorf("%v, want %s", got, tt.want)
				}
			}
		})
	}
}

// badHandler is a handler of log/slog that does something else.
type badHandler struct {
	slog.Handler
	do func()
}

func (h badHandler) Enabled(context.Context, slog.Level) bool { h.do(); return true }

func (h badHandler) Handle(context.Context, slog.Record) error { h.do(); return nil }

// TestLoggerBad: a handler that never returns, panics, ends its goroutine or asks for
// the run holds up nothing, and breaks nothing. No goroutine is left when it returns.
func TestLoggerBad(t *testing.T) {
	for name, do := range map[string]func(*corral.Cmd, chan bool){
		"hangs":  func(_ *corral.Cmd, over chan bool) { <-over },
		"panics": func(*corral.Cmd, chan bool) { panic("as it happens") },
		"exits":  func(*corral.Cmd, chan bool) { runtime.Goexit() },
		"asks":   func(c *corral.Cmd, _ chan bool) { c.Members(); c.Report() },
	} {
		t.Run(name, func(t *testing.T) {
			before := leak.Now()
			over := make(chan bool)
			cmd, left := sh(lingering), 2
			if name != "hangs" {
				cmd, left = sh("echo ready; read x; exit 3"), 0
			}
			cmd.Logger = slog.New(badHandler{slog.DiscardHandler, func() { do(cmd, over) }})
			stdin, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			started(t, cmd)
			stdin.Close()
			began := time.Now()
			err = cmd.Wait()
			// The stop takes grace, and the flush a second. Who is held up has no end.
			if took := time.Since(began); !isExit(err, 3) || took > 30*time.Second {
				t.Errorf("Wait: %v, after %v", err, took)
			}
			if got := cmd.Report().Leftovers; len(got) != left {
				t.Errorf("leftovers: %v, want %d", got, left)
			}
			close(over)
			if err := leak.Since(before); err != nil {
				t.Error(err)
			}
		})
	}
}
