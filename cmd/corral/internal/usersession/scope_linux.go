package usersession

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/cgroup"
)

// Patience is how long Enter takes at most. A manager that is slower may still move
// the process later on; that is harmless, as what has been started by then stays where
// it is.
const Patience = 5 * time.Second

// Request says what a scope is to be like.
type Request struct {
	// Description is what systemctl shows.
	Description string
	// StopTimeout is how long the manager waits before it kills what is left, from
	// when it wants the scope to end: at the end of the user's last session, or by
	// systemctl stop.
	StopTimeout time.Duration
	// Stop is called when the manager wants the scope to end, perhaps more than once.
	// It must not block.
	Stop func()
}

// Scope is the scope that this process is in.
type Scope struct {
	Unit string // its name
	Path string // the directory of the control group in it that this process is in
	// Asks says that the manager calls Stop. Otherwise it has no bus to do so, and
	// sends SIGTERM to all processes in the scope, this one among them.
	Asks bool

	*line
}

// Unavailable is an error that says what there is not, as on many machines. Any other
// one means that something which is there does not work.
type Unavailable struct{ what string }

func (u *Unavailable) Error() string { return u.what }

func isUnavailable(err error) bool {
	var u *Unavailable
	return errors.As(err, &u)
}

func unavailable(format string, args ...any) error { return &Unavailable{fmt.Sprintf(format, args...)} }

// Needed reports whether this process has a control group, but cannot make others in
// it. It asks no other process.
func Needed() bool {
	own, err := cgroup.Own()
	return err == nil && unix.Faccessat(unix.AT_FDCWD, own, unix.W_OK, unix.AT_EACCESS) == unix.EACCES
}

// Enter moves this process into a new scope of the user's manager, and there into a
// control group of its own, so that the scope can hand controllers on to others. The
// scope ends when no process is left in it. It is for a process that has started
// nothing yet, and is in a login session: a service's limits, and its end, are to hold
// what the service has started.
func Enter(ctx context.Context, r Request) (*Scope, error) {
	return newEntrance().enter(ctx, r)
}

// entrance is what Enter depends on.
type entrance struct {
	dir   string // the user's runtime directory
	uid   int
	own   func() (string, error)           // the directory of this process's control group
	aside func(dir string) (string, error) // moves this process to one below

	patience time.Duration
}

func newEntrance() *entrance {
	return &entrance{dir: os.Getenv("XDG_RUNTIME_DIR"), uid: os.Geteuid(), own: cgroup.Own, aside: stepAside, patience: Patience}
}

func (e *entrance) enter(ctx context.Context, r Request) (*Scope, error) {
	ctx, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	before, err := e.own()
	if err != nil {
		return nil, unavailable("%v", err)
	}
	if err := checkSession(before); err != nil {
		return nil, err
	}
	l, err := e.call(ctx)
	if err != nil {
		return nil, err
	}
	s := &Scope{Unit: unitName(), Asks: l.name != "", line: l}
	if err := l.start(ctx, s.Unit, r); err != nil {
		l.Close()
		return nil, l.explain(ctx, err)
	}
	if s.Path, err = e.arrive(s.Unit); err != nil {
		l.Close()
		return nil, err
	}
	l.settle(r.Stop)
	return s, nil
}

// arrive checks where this process is, whatever the manager says, and steps aside.
func (e *entrance) arrive(unit string) (string, error) {
	path, err := e.own()
	if err != nil {
		return "", err
	}
	if filepath.Base(path) != unit {
		return "", fmt.Errorf("the manager says that it has started %s, but this process is in %s", unit, path)
	}
	return e.aside(path)
}

// stepAside moves this process to a control group in dir. Nobody else has one there
// yet. The library hands controllers on in dir if it has been marked as delegated, which
// systemd before 251 does so that only root can see it.
func stepAside(dir string) (string, error) {
	if d, err := cgroup.Open(dir); err == nil {
		d.MarkDelegated() // where there are no extended attributes, limits will say so
		d.Close()
	}
	path := filepath.Join(dir, "main")
	return path, cgroup.Enter(path)
}

// checkSession returns why a control group may not be left. A login's session is
// called session-ID.scope, in the slice of a user: see systemd-logind.service(8).
func checkSession(own string) error {
	slice, scope := filepath.Base(filepath.Dir(own)), filepath.Base(own)
	if strings.HasPrefix(scope, "session-") && strings.HasSuffix(scope, ".scope") &&
		strings.HasPrefix(slice, "user-") && strings.HasSuffix(slice, ".slice") {
		return nil
	}
	return unavailable("%s is not the control group of a login session, and corral does not leave a unit that is to hold it", own)
}

// unitName is a name that no other unit has, whatever PID namespace its process is in.
func unitName() string {
	return fmt.Sprintf("corral-%d-%08x.scope", os.Getpid(), rand.Uint32())
}

// property is one of a unit: "(sv)".
type property struct {
	Name  string
	Value dbus.Variant
}

// properties are those of the scope: systemd.scope(5), systemd.kill(5),
// systemd.resource-control(5), and org.freedesktop.systemd1(5).
func (l *line) properties(r Request) []property {
	all := []property{
		{"Description", dbus.MakeVariant(r.Description)},
		// 0 is who asks. A number might be another process's by the time that a slow
		// manager reads it, or in its PID namespace.
		{"PIDs", dbus.MakeVariant([]uint32{0})},
		{"Delegate", dbus.MakeVariant(true)},
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
		{"TimeoutStopUSec", dbus.MakeVariant(microseconds(r.StopTimeout))},
		{"SendSIGHUP", dbus.MakeVariant(false)},
	}
	if l.name != "" {
		// Whoever is the controller is asked to end the scope, and nobody in it gets a
		// signal. At the end of the last session the bus is to end later.
		all = append(all, property{"Controller", dbus.MakeVariant(l.name)}, property{"After", dbus.MakeVariant([]string{"dbus.service"})})
	}
	return all
}

func microseconds(d time.Duration) uint64 {
	if d == math.MaxInt64 {
		return math.MaxUint64 // systemd's infinity
	}
	return uint64(d / time.Microsecond)
}

const (
	systemd     = "org.freedesktop.systemd1"
	manager     = systemd + ".Manager"
	managerPath = dbus.ObjectPath("/org/freedesktop/systemd1")
	jobRemoved  = manager + ".JobRemoved"
	requestStop = systemd + ".Scope.RequestStop"
	// jobMatch are the signals about jobs, of all units.
	jobMatch = "type='signal',sender='" + systemd + "',interface='" + manager + "',member='JobRemoved'"
)

// start starts the scope, and returns when this process is in it.
func (l *line) start(ctx context.Context, unit string, r Request) error {
	if l.name != "" {
		if err := l.BusObject().CallWithContext(ctx, "org.freedesktop.DBus.AddMatch", 0, jobMatch).Err; err != nil {
			return err
		}
	}
	type auxiliary struct {
		Name       string
		Properties []property
	}
	var job dbus.ObjectPath
	err := l.Object(systemd, managerPath).CallWithContext(ctx, manager+".StartTransientUnit", 0,
		unit, "fail", l.properties(r), []auxiliary{}).Store(&job)
	if err != nil {
		return err
	}
	for {
		select {
		case sig, ok := <-l.signals:
			if !ok {
				return errors.New("the connection was closed")
			}
			if result, ours := resultOf(sig, job); ours && result != "done" {
				return fmt.Errorf("start of %s: %s", unit, result)
			} else if ours {
				return nil
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// resultOf returns the result of the job, if that is what the signal tells.
func resultOf(sig *dbus.Signal, job dbus.ObjectPath) (result string, ours bool) {
	if sig.Name != jobRemoved || len(sig.Body) != 4 {
		return "", false
	}
	path, _ := sig.Body[1].(dbus.ObjectPath)
	result, ok := sig.Body[3].(string)
	return result, ok && path == job
}

// settle ends the time limit of a line. The manager speaks only to a line by way of
// the bus from here on; another one is closed.
func (l *line) settle(stop func()) {
	if l.name == "" {
		l.Close()
		return
	}
	l.socket.SetDeadline(time.Time{})
	l.BusObject().Go("org.freedesktop.DBus.RemoveMatch", dbus.FlagNoReplyExpected, nil, jobMatch) // other jobs are none of ours
	l.socket.left.Store(mostBytes)
	go func() {
		for sig := range l.signals {
			l.socket.left.Store(mostBytes) // what has been said is dealt with
			if sig.Name == requestStop && stop != nil {
				stop()
			}
		}
	}()
}

// Controllers returns the controllers that the user's manager can hand on to a scope.
// mount is where the version 2 hierarchy is. The error says what there is not.
func Controllers(ctx context.Context, mount string) ([]string, error) {
	return newEntrance().controllers(ctx, mount)
}

func (e *entrance) controllers(ctx context.Context, mount string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, e.patience)
	defer cancel()
	l, err := e.call(ctx)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	var group string
	err = l.Object(systemd, managerPath).CallWithContext(ctx, "org.freedesktop.DBus.Properties.Get", 0, manager, "ControlGroup").Store(&group)
	if err != nil {
		return nil, l.explain(ctx, err)
	}
	b, err := os.ReadFile(filepath.Join(mount, group, "cgroup.controllers"))
	return strings.Fields(string(b)), err
}
