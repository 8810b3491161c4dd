//go:build linux || darwin || freebsd

package corral

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/osproc"
	"github.com/corral-run/corral/internal/wire"
)

// errNoProcessLimits is why there are no limits for each process: there are.
var errNoProcessLimits error

// limiter is the owner's side of a helper that sets the resource limits of the
// command. Nothing that is started by os/exec, or by a keeper, has them before it
// executes its program, and this process must not change its own. So the helper is
// what is started in the command's place, in whatever containment. It sets its limits
// and executes the command: package roles/limiter.
type limiter struct {
	spec    *wire.LimiterSpec
	program string
	line    *os.File
	theirs  *os.File
}

// newLimiter changes cmd so that it starts the helper.
func newLimiter(l Limits, cmd *exec.Cmd) (*limiter, error) {
	if slices.ContainsFunc(cmd.Env, func(e string) bool { return strings.ContainsRune(e, 0) }) {
		return nil, errors.New("exec: environment variable contains NUL")
	}
	attr := osproc.CopyAttr(cmd.SysProcAttr)
	if attr.Ptrace {
		return nil, errors.New("corral: SysProcAttr.Ptrace would make the helper that sets Limits the traced process")
	}
	program, err := helper.Program(HelperPath)
	if err != nil {
		return nil, err
	}
	line, theirs, err := helper.Line(wire.LimiterRole)
	if err != nil {
		return nil, err
	}
	args := cmd.Args
	if len(args) == 0 {
		args = []string{cmd.Path}
	}
	lim := &limiter{
		program: program, line: line, theirs: theirs,
		spec: &wire.LimiterSpec{
			Path: cmd.Path, Dir: cmd.Dir, Args: args, Env: cmd.Environ(), Ignored: helper.IgnoredSignals(),
			Attr: osproc.CopyAttr(attr), Limits: limitValues(l),
		},
	}
	// What these change, the helper needs as it was: its program may be out of reach.
	attr.Chroot, attr.Credential = "", nil
	withoutAmbient(attr)
	cmd.ExtraFiles = append(slices.Clone(cmd.ExtraFiles), theirs)
	cmd.Path, cmd.Args = program, []string{wire.LimiterRole, strconv.Itoa(2 + len(cmd.ExtraFiles))}
	if HelperPath != "" {
		cmd.Args = append(cmd.Args, helper.NamedByOwner)
	}
	cmd.Env, cmd.Dir, cmd.SysProcAttr = helper.Environ(), "", attr
	return lim, nil
}

// limitValues has a limit for each resource that has one.
func limitValues(l Limits) (values []wire.Limit) {
	for _, limit := range []struct {
		resource int
		value    int64
	}{{syscall.RLIMIT_NOFILE, l.OpenFiles}, {syscall.RLIMIT_FSIZE, l.FileSize}, {syscall.RLIMIT_CORE, l.Core}} {
		if limit.value != 0 {
			values = append(values, wire.Limit{Resource: limit.resource, Value: max(0, limit.value)})
		}
	}
	return values
}

// launchTime is how long the helper may take, on a machine however busy.
const launchTime = time.Minute

// launch has the helper, which has been started, become the command. It calls ready
// when the helper needs no more memory and threads than the command.
func (l *limiter) launch(ready func() error) error {
	l.theirs.Close()
	l.line.SetDeadline(time.Now().Add(launchTime))
	if _, err := l.line.Write(wire.Frame(l.spec)); err != nil {
		return lostLimiter(err)
	}
	if err := l.hear(true); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	if _, err := l.line.Write([]byte{wire.LimiterGo}); err != nil {
		return lostLimiter(err)
	}
	return l.hear(false)
}

// lostLimiter says that the helper has ended, or says nothing.
func lostLimiter(err error) error {
	if HelperPath != "" {
		err = fmt.Errorf("%w (does HelperPath, %s, import this version of this package?)", err, HelperPath)
	}
	return fmt.Errorf("corral: the helper that sets Limits has not started the command: %w", err)
}

// hear waits for the helper to say that it is ready, or, if it has said so, for its
// end of the line to be closed: then it has executed the command, or has been killed,
// which is told as the command's end.
func (l *limiter) hear(ready bool) error {
	var event wire.LimiterEvent
	err := wire.Receive(l.line, &event, wire.MaxEvent)
	switch {
	case err == io.EOF && !ready:
		return nil
	case err != nil:
		return lostLimiter(err)
	case event.Ready && ready:
		return nil
	case event.Errno != 0 && event.Text == "":
		return &fs.PathError{Op: "fork/exec", Path: l.spec.Path, Err: event.Errno}
	case event.Errno != 0:
		return fmt.Errorf("corral: %s: %w", event.Text, event.Errno)
	}
	return errors.New("corral: the helper that sets Limits says nothing that is known")
}

// failure is an error of starting the helper, which must not be taken for one of the
// command.
func (l *limiter) failure(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && path.Path == l.program {
		return fmt.Errorf("corral: cannot start the helper that sets Limits, %s: %v", l.program, path.Err)
	}
	return err
}

func (l *limiter) close() {
	l.theirs.Close()
	l.line.Close()
}
