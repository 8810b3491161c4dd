package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/escape"
)

// What happens when a child is complete.
const (
	ends    = "ends"    // the command is told to end
	stop    = "stop"    // the peer gets SIGTERM, and SIGKILL if that does not end it
	sigkill = "sigkill" // the peer gets SIGKILL
)

// mercy is how long a peer may take to end by SIGTERM.
var mercy = 5 * time.Second

var scenarios = []string{ends, stop, sigkill}

// trial is one child under one peer.
type trial struct {
	Peer, Scenario, Child string
	Dir, Modules          string // of the bench
}

// result is what a trial says on its standard output.
type result struct {
	Left  []string // roles
	Error string
}

const trialRole = "survivors:trial"

// try makes a trial in PID and mount namespaces of its own. What a peer leaves there
// ends with them, and nothing in there can signal what is outside.
func (b *bench) try(t trial) (left []string, err error) {
	t.Dir, t.Modules = b.dir, b.modules
	spec, err := json.Marshal(t)
	if err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"--pid", "--fork", "--kill-child", "--mount", "--mount-proc"}
	if os.Geteuid() != 0 {
		args = append(args, "--user", "--map-root-user")
	}
	// The shell is PID 1, and reaps orphans as an init would.
	args = append(args, "--", "sh", "-c", `"$@"; exit $?`, "sh", self, trialRole, string(spec))
	ctx, cancel := context.WithTimeout(context.Background(), 2*escape.Lifetime)
	defer cancel()
	cage := exec.CommandContext(ctx, "unshare", args...)
	var stdout, stderr bytes.Buffer
	cage.Stdout, cage.Stderr = &stdout, &stderr
	cage.WaitDelay = 30 * time.Second // to read what has been said
	// --kill-child is a parent-death signal, so the whole cage ends with unshare.
	if err := cage.Run(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(stderr.String()))
	}
	var r result
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		return nil, fmt.Errorf("the trial says %q: %w", stdout.String(), err)
	}
	if r.Error != "" {
		return nil, errors.New(r.Error)
	}
	return r.Left, nil
}

// inCage makes a trial in this process, which is alone in its namespaces, and ends it.
func inCage(spec string) {
	var t trial
	var r result
	err := json.Unmarshal([]byte(spec), &t)
	if err == nil {
		r.Left, err = t.run()
	}
	if err != nil {
		r.Error = err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(r)
	os.Exit(0)
}

func (t trial) run() (left []string, err error) {
	b := &bench{dir: t.Dir, modules: t.Modules}
	peers, children := b.peers(), escape.All()
	p := slices.IndexFunc(peers, func(p peerOf) bool { return p.name == t.Peer })
	c := slices.IndexFunc(children, func(c escape.Child) bool { return c.Name == t.Child })
	if p < 0 || c < 0 {
		return nil, fmt.Errorf("no peer %q, or no child %q", t.Peer, t.Child)
	}
	dir, err := os.MkdirTemp(t.Dir, "trial-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	err = judged(func(tb *judge) {
		s := &subject{dir: dir, peer: peers[p], probe: escape.NewProbe(tb, children[c])}
		defer s.kill()
		if err := s.start(); err != nil {
			tb.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		s.members = s.probe.Ready(ctx)
		s.probe.Started() // for one that opens the pipes itself
		s.probe.Interrupt()
		if err := s.act(t.Scenario); err != nil {
			tb.Fatal(err)
		}
		if left, err = s.left(); err != nil {
			tb.Fatal(err)
		}
		s.kill()
	})
	if err != nil {
		said, _ := os.ReadFile(filepath.Join(dir, "said"))
		return nil, fmt.Errorf("%w; the peer said %q", err, said)
	}
	return left, nil
}

// judge is a test, for the Probe, in a program that is none.
type judge struct {
	testing.TB
	errs     []error
	cleanups []func()
}

// over is what Fatal panics with.
type over struct{}

func (j *judge) Helper()             {}
func (j *judge) Cleanup(f func())    { j.cleanups = append(j.cleanups, f) }
func (j *judge) Logf(string, ...any) {}
func (j *judge) Error(args ...any)   { j.errs = append(j.errs, errors.New(fmt.Sprint(args...))) }
func (j *judge) Fatal(args ...any)   { j.Error(args...); panic(over{}) }
func (j *judge) Errorf(format string, args ...any) {
	j.errs = append(j.errs, fmt.Errorf(format, args...))
}
func (j *judge) Fatalf(format string, args ...any) { j.Errorf(format, args...); panic(over{}) }

// judged runs f and then its cleanups.
func judged(f func(*judge)) error {
	j := new(judge)
	protected := func(f func()) {
		defer func() {
			if r := recover(); r != nil && r != any(over{}) {
				panic(r)
			}
		}()
		f()
	}
	protected(func() { f(j) })
	for _, f := range slices.Backward(j.cleanups) {
		protected(f)
	}
	return errors.Join(j.errs...)
}

// subject is a peer that runs a child.
type subject struct {
	dir     string
	peer    peerOf
	probe   *escape.Probe
	members []escape.Member
	process *os.Process
	ended   chan struct{} // closed when the peer has been reaped
}

func (s *subject) start() error {
	path, args, files := s.probe.Command()
	if s.peer.closes {
		script, err := opener(s.dir, path, args, files)
		if err != nil {
			return err
		}
		path, args = script, nil
	}
	argv, err := s.peer.argv(path, args)
	if err != nil {
		return err
	}
	said, err := os.Create(filepath.Join(s.dir, "said"))
	if err != nil {
		return err
	}
	defer said.Close()
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = said, said
	// timeout signals its own group.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if !s.peer.closes {
		escape.Attach(cmd, files)
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	if !s.peer.closes {
		s.probe.Started()
	}
	s.process, s.ended = cmd.Process, make(chan struct{})
	go func() {
		cmd.Wait()
		close(s.ended)
	}()
	return nil
}

// opener writes a script that becomes the leader, with the descriptors that it would
// have inherited.
func opener(dir, path string, args []string, files []*os.File) (string, error) {
	var text strings.Builder
	text.WriteString("#!/bin/sh\nexec")
	for i, f := range files {
		direction := ">"
		if i == len(files)-1 { // the control pipe, which the child reads
			direction = "<"
		}
		fmt.Fprintf(&text, " %d%s/proc/%d/fd/%d", 3+i, direction, os.Getpid(), f.Fd())
	}
	text.WriteString("\nexec")
	for _, word := range append([]string{path}, args...) {
		text.WriteString(" '" + strings.ReplaceAll(word, "'", `'\''`) + "'")
	}
	script := filepath.Join(dir, "leader")
	return script, os.WriteFile(script, []byte(text.String()+"\n"), 0o755)
}

// act does what the scenario is about, and returns when the peer has ended. When its
// command has ended, it may go on, as supervisord does.
func (s *subject) act(scenario string) error {
	switch scenario {
	case ends:
		s.probe.Release()
		s.wait(2 * time.Second)
	case stop:
		if err := s.process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		if !s.wait(mercy) {
			s.kill()
		}
	case sigkill:
		s.kill()
	}
	return nil
}

func (s *subject) wait(most time.Duration) bool {
	select {
	case <-s.ended:
		return true
	case <-time.After(most):
		return false
	}
}

// kill ends the peer itself, if it has not ended.
func (s *subject) kill() {
	if s.process == nil {
		return
	}
	s.process.Kill()
	<-s.ended
}
