//go:build linux || darwin || freebsd

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/reach"
	"github.com/corral-run/corral/internal/registry"
	"github.com/corral-run/corral/internal/stop"
)

// live is a command that goes on showing something. One goroutine, that of run, has
// the screen and the model; the others send it what they have.
type live struct {
	*liveModel
	source source
	screen *liveScreen
	pause  time.Duration
	colour bool
	typed  keyReader

	pictures chan looked
	keys     chan []byte
	hungUp   chan struct{}
	results  chan result
	panics   chan string
	again    chan struct{} // asks for a look
	stopping int           // how many are
}

type looked struct {
	pic *picture
	err error
}

// result is what became of one that was to be stopped.
type result struct {
	target target
	said   string
	err    error
}

func (r result) String() string {
	if r.err != nil {
		return fmt.Sprintf("cannot stop %s: %v", r.target, r.err)
	}
	return fmt.Sprintf("%s: %s", r.target, r.said)
}

// goLive shows a source until a key or a signal ends that. The terminal is what it was
// then. What q leaves being stopped is waited for.
func goLive(c *cobra.Command, s source, screen *liveScreen, pause time.Duration) error {
	l := &live{
		liveModel: newModel(c, s), source: s, screen: screen, pause: pause, colour: os.Getenv("NO_COLOR") == "",
		pictures: make(chan looked), keys: make(chan []byte), hungUp: make(chan struct{}), results: make(chan result),
		panics: make(chan string), again: make(chan struct{}, 1),
	}
	signals, stops := make(chan os.Signal, 16), make(chan os.Signal, 1)
	signal.Notify(signals, append(timeoutSignals(0), syscall.SIGWINCH, syscall.SIGCONT)...)
	if !disposition.Ignored(syscall.SIGTSTP) {
		signal.Notify(stops, syscall.SIGTSTP)
	}
	ended, err := l.run(c.Context(), signals, stops)
	switch {
	case errors.Is(err, errHungUp):
		disposition.EndLike(syscall.WaitStatus(syscall.SIGHUP))
	case err != nil:
		return &exitError{statusOwn, err}
	case ended != 0:
		disposition.EndLike(syscall.WaitStatus(ended))
	}
	failed := false
	for ; l.stopping > 0; l.stopping-- {
		select {
		case r := <-l.results:
			if r.err != nil {
				failed = true
				say(c.ErrOrStderr(), "%s", r)
			} else if _, err := fmt.Fprintln(c.OutOrStdout(), printable(r.String())); err != nil {
				return &exitError{statusOwn, err}
			}
		case trace := <-l.panics:
			panic(trace)
		case sig := <-signals:
			if sig == syscall.SIGWINCH || sig == syscall.SIGCONT {
				l.stopping++ // it is none of them
				continue
			}
			disposition.EndLike(syscall.WaitStatus(sig.(syscall.Signal)))
		}
	}
	if failed {
		return &exitError{status: statusStuck}
	}
	return nil
}

// run shows until a key or a signal ends that, and returns the signal.
func (l *live) run(ctx context.Context, signals, stops chan os.Signal) (ended syscall.Signal, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer l.screen.close()
	if err := l.screen.enter(); err != nil {
		return 0, err
	}
	defer l.screen.leave() // also in a panic
	l.begin(func() { l.read(ctx) })
	l.begin(func() { l.collect(ctx) })
	for {
		l.screen.draw(func(width, height int) []string { return l.liveModel.screen(width, height, l.colour) })
		select {
		case found := <-l.pictures:
			if found.err != nil {
				l.notes = []string{found.err.Error()}
			} else {
				l.show(found.pic, time.Now())
			}
		case typed := <-l.keys:
			if quit, ended, err := l.typeKeys(typed, stops); quit || err != nil {
				return ended, err
			}
		case r := <-l.results:
			l.stopping--
			l.said = r.String()
			l.lookAgain()
		case <-stops:
			if err := l.suspend(); err != nil {
				return 0, err
			}
		case sig := <-signals:
			switch sig {
			case syscall.SIGWINCH:
			case syscall.SIGCONT:
				err = l.screen.enter()
			default:
				return sig.(syscall.Signal), nil
			}
			if err != nil {
				return 0, err
			}
		case <-l.hungUp:
			return syscall.SIGHUP, nil
		case trace := <-l.panics:
			panic(trace)
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// typeKeys does what the keys are for.
func (l *live) typeKeys(typed []byte, stops <-chan os.Signal) (quit bool, ended syscall.Signal, err error) {
	for _, k := range l.typed.keys(typed) {
		o := l.press(k)
		switch {
		case o.quit:
			return true, 0, nil
		case o.interrupt:
			return true, syscall.SIGINT, nil
		case o.abort:
			return true, syscall.SIGQUIT, nil
		case o.suspend:
			err = l.suspendJob(stops)
		case o.redraw:
			err = l.screen.enter()
		case o.stop != nil:
			l.stop(*o.stop)
		}
		if err != nil {
			return true, 0, err
		}
	}
	return false, 0, nil
}

// begin starts a goroutine, whose panic is run's: so the terminal is restored first.
func (l *live) begin(f func()) {
	go func() {
		defer func() {
			if p := recover(); p != nil {
				l.panics <- fmt.Sprintf("%v\n\n%s", p, debug.Stack())
			}
		}()
		f()
	}()
}

func (l *live) read(ctx context.Context) {
	l.screen.read(func(b []byte) {
		select {
		case l.keys <- b:
		case <-ctx.Done():
		}
	})
	close(l.hungUp)
}

// collect looks again and again. The second look comes soon, as it takes two to see
// what processes use.
func (l *live) collect(ctx context.Context) {
	pause := min(glimpse, l.pause)
	for {
		pic, err := l.source.look(ctx, lookPatience)
		select {
		case l.pictures <- looked{pic, err}:
		case <-ctx.Done():
			return
		}
		select {
		case <-time.After(pause):
		case <-l.again:
		case <-ctx.Done():
			return
		}
		pause = l.pause
	}
}

func (l *live) lookAgain() {
	select {
	case l.again <- struct{}{}:
	default: // it has been asked for
	}
}

// stop stops what has been selected. That goes on when nothing is shown any more.
func (l *live) stop(t target) {
	l.stopping++
	l.begin(func() {
		r := result{target: t}
		if t.process.PID == 0 {
			r.said, r.err = l.source.stopRun(context.Background(), t.run)
		} else if r.err = l.source.mayStop(t.process); r.err == nil {
			r.said, r.err = stopProcess(context.Background(), t.process)
		}
		l.results <- r
	})
}

// suspendJob does what the key Ctrl-Z does: it stops the job, of which corral need not
// be all.
func (l *live) suspendJob(stops <-chan os.Signal) error {
	if disposition.Ignored(syscall.SIGTSTP) {
		return nil
	}
	l.screen.leave()
	disposition.StopGroup()
	select {
	case <-stops: // it is the same one
	default:
	}
	return l.screen.enter()
}

// suspend stops this process, and draws anew when it goes on.
func (l *live) suspend() error {
	l.screen.leave()
	disposition.StopSelf()
	return l.screen.enter()
}

// newModel returns the model for a source.
func newModel(c *cobra.Command, s source) *liveModel {
	_, runs := s.(*runsSource)
	return &liveModel{name: c.CommandPath(), runs: runs, ascii: !utf8Locale(os.Getenv)}
}

// stopProcess stops a process with what is below it, as it was when it was selected: a
// later one with its PID is left alone.
func stopProcess(ctx context.Context, id proctree.ID) (string, error) {
	if err := reach.CheckID(id.PID); err != nil {
		return "", err
	}
	if id.PID == os.Getpid() {
		return "", errors.New("it is corral itself")
	}
	stopped, err := stopTree(ctx, []registry.Process{{PID: id.PID, Start: id.Start}}, stop.Plan{{Signal: syscall.SIGTERM, Wait: defaultGrace}})
	switch {
	case err != nil:
		return "", err
	case stopped == 0:
		return "it had ended already", nil
	}
	return "stopped " + processes(stopped, ""), nil
}
