package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/corral-run/corral/cmd/corral/internal/usersession"
)

const haveUserScopes = true

// enterScope moves corral to a scope of the user's systemd manager, if the run wants
// that and needs it. What the manager wants to end, ends as by SIGTERM. It returns why
// there is no scope.
func (j *job) enterScope(args []string, signals *inbox) error {
	if !j.wantsScope() || !usersession.Needed() {
		return nil
	}
	s, err := usersession.Enter(context.Background(), usersession.Request{
		Description: scopeDescription(args),
		StopTimeout: j.scopeTimeout(),
		Stop:        func() { signals.tell(syscall.SIGTERM) },
	})
	if err == nil && j.verbose {
		log := slog.New(slog.NewTextHandler(j.stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		log.Debug("corral: moved to a scope of the user's systemd", "unit", s.Unit, "cgroup", s.Path)
	}
	return err
}

// sayScopeless says why a run that has been started has no scope, if there should be
// one. That a machine has none is nothing unusual.
func (j *job) sayScopeless() {
	var none *usersession.Unavailable
	if j.scopeless != nil && !errors.As(j.scopeless, &none) && !j.quiet {
		say(j.stderr, "cannot move to a scope of the user's systemd: %v", j.scopeless)
	}
}

// scopeDescription is what systemctl shows. Arguments may be secret.
func scopeDescription(args []string) string { return "corral " + filepath.Base(args[0]) }

// tell has a signal answered that somebody has asked for by other means. It does not
// wait: of that many, one more is none.
func (in *inbox) tell(sig os.Signal) {
	select {
	case in.all <- sig:
	default:
	}
}

// inspectScopes tries one, with another corral: this process stays where it is.
func inspectScopes(mount string, uid int) scopes {
	s := scopes{Controllers: []string{}}
	if !usersession.Needed() {
		s.Reason = "it would be of no use here"
		return s
	}
	if u, err := user.LookupId(strconv.Itoa(uid)); err == nil {
		s.Lingers = exists(filepath.Join("/var/lib/systemd/linger", u.Username))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	controllers, err := usersession.Controllers(ctx, mount)
	if err != nil {
		s.Reason = err.Error()
		return s
	}
	s.Controllers = append(s.Controllers, controllers...)
	s.answer = tryScope(ctx)
	return s
}

// enterScopeToTry does what enterScope does for a run with limits, and returns why
// there is no scope.
func enterScopeToTry() error {
	if os.Getenv(userScopeVariable) == string(scopeNever) || !usersession.Needed() {
		return nil
	}
	_, err := usersession.Enter(context.Background(), usersession.Request{
		Description: scopeDescription([]string{"corral"}),
		StopTimeout: forever,
		Stop:        func() {}, // it ends by itself
	})
	return err
}

func tryScope(ctx context.Context) answer {
	program, err := os.Executable()
	if err != nil {
		return answer{Reason: err.Error()}
	}
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "run", "--require", "cgroup", "--quiet", "--", program, "--version")
	cmd.Args[0] = "corral"
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, runPrefix) })
	var said bytes.Buffer
	cmd.Stderr = &said
	err = cmd.Run()
	if exited := (*exec.ExitError)(nil); err == nil || errors.As(err, &exited) && exited.ExitCode() >= 0 && exited.ExitCode() != statusOwn {
		return answer{Works: true} // it ran, and that is all that was asked of it
	}
	reason := strings.TrimSpace(said.String())
	if _, why, ok := strings.Cut(reason, noScope); ok {
		reason = why
	}
	if reason == "" {
		reason = err.Error()
	}
	return answer{Reason: reason}
}
