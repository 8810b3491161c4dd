//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/registry"
)

// A run in the background has an owner of its own: another corral, in a session of its
// own, which does what `corral run` does, writes the output to a log, and leaves a
// record of how the run ended. Both are in a private directory of the user, which
// outlives a reboot:
//
//	ID.json         the record: the run's entry, and Ended once it has
//	ID.log          the output, the newest of it
//	ID.log.1        what came before that
const (
	recordSuffix = ".json"
	logSuffix    = ".log"
	olderSuffix  = ".log.1"
)

// stateDir opens the directory of the records. With an error that is fs.ErrNotExist
// there has been no run in the background.
func stateDir(create bool) (*registry.Dir, error) {
	if err := registry.Supported(); err != nil {
		return nil, err
	}
	base, err := stateHome(os.Geteuid(), homeOf)
	if err != nil {
		return nil, err
	}
	if create {
		if err := os.MkdirAll(base, 0o700); err != nil {
			return nil, err
		}
	}
	return registry.OpenDir(filepath.Join(base, "corral"), os.Geteuid(), create)
}

// stateHome is $XDG_STATE_HOME, or its default in the home directory, as the XDG Base
// Directory Specification has them. What is another user's is as if it were not set.
func stateHome(uid int, homeOf func(uid int) string) (string, error) {
	const local = ".local/state"
	places := []string{os.Getenv("XDG_STATE_HOME")}
	if home := os.Getenv("HOME"); filepath.IsAbs(home) {
		places = append(places, filepath.Join(home, local))
		if registry.Foreign(home, uid) {
			places = append(places, filepath.Join(homeOf(uid), local))
		}
	}
	for _, place := range places {
		if filepath.IsAbs(place) && !registry.Foreign(place, uid) {
			return place, nil
		}
	}
	return "", fmt.Errorf("there is no place for logs: set XDG_STATE_HOME or HOME to a directory of user %d: %w", uid, fs.ErrNotExist)
}

// homeOf is the home directory that the system has for a user, or empty.
func homeOf(uid int) string {
	u, err := user.LookupId(strconv.Itoa(uid))
	if err != nil {
		return ""
	}
	return u.HomeDir
}

// ready is what the corral that stays with the run tells the one that has started it.
type ready struct {
	Status  int    `json:"status"`
	Error   string `json:"error,omitempty"`
	Warning string `json:"warning,omitempty"`
}

// detachRun starts another corral by the same command line, and returns when that has
// started the command, or could not.
func detachRun(c *cobra.Command) error {
	dir, err := stateDir(true)
	if err != nil {
		return &exitError{statusOwn, fmt.Errorf("--detach: %w", err)}
	}
	defer dir.Close()
	id := registry.NewID()
	log, err := dir.Open(id+logSuffix, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return &exitError{statusOwn, fmt.Errorf("--detach: %w", err)}
	}
	defer log.Close()
	said, err := startStaying(id, log)
	if err == nil && said.Status != 0 {
		err = &exitError{said.Status, errors.New(said.Error)}
	}
	if err != nil {
		dir.Delete(id + logSuffix)
		return err
	}
	if said.Warning != "" {
		say(c.ErrOrStderr(), "%s", said.Warning)
	}
	if _, err := fmt.Fprintln(c.OutOrStdout(), id); err != nil {
		return &exitError{statusOwn, err}
	}
	return nil
}

// startStaying starts the corral that stays with the run, and returns what it says.
func startStaying(id string, log *os.File) (said ready, err error) {
	program, err := os.Executable()
	if err != nil {
		return said, &exitError{statusOwn, err}
	}
	r, w, err := os.Pipe()
	if err != nil {
		return said, &exitError{statusOwn, err}
	}
	defer r.Close()
	cmd := exec.Command(program, append([]string{"--" + detachedFlag + "=" + id}, os.Args[1:]...)...)
	cmd.Args[0] = "corral"                          // whatever the file is called
	cmd.Stdin, cmd.Stdout, cmd.Stderr = w, log, log // see readyFlag
	ownSession(cmd)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return said, &exitError{statusOwn, err}
	}
	b, err := io.ReadAll(r)
	if err == nil {
		err = json.Unmarshal(b, &said)
	}
	if err != nil || said.Status != 0 {
		cmd.Wait()
	}
	if err != nil {
		err = &exitError{statusOwn, errors.New("--detach: the corral that was to stay with the run has been killed")}
	}
	return said, err
}

// background is what a run in the background has besides. Its methods do nothing but
// the obvious for a run that is not.
type background struct {
	id    string
	ready *os.File
	dir   *registry.Dir
	log   *logFile
	entry registry.Entry
}

// context is for a command that is to have the ID that the log has, or nil.
func (b *background) context() context.Context {
	if b == nil {
		return nil
	}
	return registry.WithID(context.Background(), b.id)
}

// stayWith is the other corral: it runs the command.
func (o *runFlags) stayWith(args []string) error {
	if !registry.IsID(o.register.detached) {
		return fmt.Errorf("--%s is not for people: use --%s", detachedFlag, detachFlag)
	}
	from, err := takeStdin()
	if err != nil {
		return &exitError{statusOwn, err}
	}
	b := &background{id: o.register.detached, ready: from}
	if err = b.open(); err == nil {
		err = o.run(b.log, args, b)
	}
	if b.ready == nil { // it has been told
		return err
	}
	said := ready{Status: statusOwn, Error: err.Error()}
	var e *exitError
	if errors.As(err, &e) {
		said.Status = e.status
	}
	b.tell(said)
	return &exitError{status: said.Status}
}

func (b *background) open() (err error) {
	if b.dir, err = stateDir(false); err != nil {
		return err
	}
	b.log, err = openLog(b.dir, b.id+logSuffix)
	return err
}

// tell tells the corral that has started this one, once.
func (b *background) tell(said ready) {
	json.NewEncoder(b.ready).Encode(said) // it may have been killed, which is no reason not to go on
	b.ready.Close()
	b.ready = nil
}

// started leaves the record, and tells that the command has been started.
func (b *background) started(cmd *corral.Cmd) {
	if b == nil {
		return
	}
	var said ready
	owner, err := registry.Self()
	b.entry = registry.Entry{
		Version: registry.Version, ID: b.id, Name: cmd.Name, Labels: cmd.Labels, Redacted: cmd.Redact,
		Command: registry.Shown(cmd.Args, cmd.Redact), Owner: owner, Program: "corral", Started: time.Now(),
		Leader: registry.Process{PID: cmd.Process.Pid},
	}
	b.entry.Dir, _ = os.Getwd()
	if err == nil {
		err = b.dir.WriteRoomy(b.id+recordSuffix, &b.entry)
	}
	if err != nil {
		said.Warning = fmt.Sprintf("there is no record of the run, so its exit status will not be known: %v", err)
	}
	if _, err := cmd.RunID(); err != nil {
		said.Warning = fmt.Sprintf("the run is not registered, so 'corral ps' does not show it: %v", err)
	}
	b.tell(said)
}

// ended completes the record.
func (b *background) ended(status int, r *corral.Report) {
	if b == nil {
		return
	}
	b.log.close()
	b.entry.Containment = string(r.Containment)
	b.entry.Ended = &registry.Ended{Time: time.Now(), Status: status, Ending: string(r.Ending), Signal: r.Signal}
	if err := b.dir.Complete(b.id+recordSuffix, &b.entry); err != nil {
		fmt.Fprintf(os.Stderr, "corral: there is no record of how the run ended: %v\n", err)
	}
}
