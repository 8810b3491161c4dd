//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
)

func leftover(pid int, fate corral.Fate, command ...string) corral.Leftover {
	l := corral.Leftover{Process: corral.Process{PID: pid, Command: command}, Fate: fate}
	if fate == corral.Survived {
		l.Reason = "operation not permitted"
	}
	return l
}

func TestSummary(t *testing.T) {
	var seven []corral.Leftover
	for i := range 7 {
		seven = append(seven, leftover(100+i, corral.Signalled, "sleep", fmt.Sprint(i)))
	}
	sleep := func(fate corral.Fate) corral.Leftover { return leftover(123, fate, "sleep", "300") }
	for _, tt := range []struct {
		ending    corral.Ending
		forced    bool
		leftovers []corral.Leftover
		want      string
	}{
		{corral.Exited, false, nil, ""},
		{corral.Exited, false, []corral.Leftover{sleep(corral.Signalled), leftover(124, corral.Signalled, "sleep", "301")},
			"stopped 2 leftover processes: sleep 300 (pid 123), sleep 301 (pid 124)"},
		{corral.Exited, true, []corral.Leftover{sleep(corral.Forced)},
			"stopped 1 leftover process by force: sleep 300 (pid 123)"},
		{corral.Exited, true, []corral.Leftover{sleep(corral.Signalled), leftover(124, corral.Forced, "hang")},
			"stopped 1 leftover process: sleep 300 (pid 123); stopped 1 leftover process by force: hang (pid 124)"},
		{corral.Exited, false, []corral.Leftover{sleep(corral.Kept)},
			"left 1 process running: sleep 300 (pid 123)"},
		{corral.Exited, true, []corral.Leftover{sleep(corral.Ended), leftover(124, corral.Forced, "hang")},
			"stopped 1 leftover process by force: hang (pid 124); waited for 1 process that may not be stopped: sleep 300 (pid 123)"},
		{corral.Exited, true, []corral.Leftover{sleep(corral.Survived)},
			"could not stop 1 process: sleep 300 (pid 123: operation not permitted)"},
		{corral.Exited, true, []corral.Leftover{sleep(corral.Signalled), leftover(124, corral.Survived, "su")},
			"stopped 1 leftover process: sleep 300 (pid 123); could not stop 1 process: su (pid 124: operation not permitted)"},
		{corral.Exited, false, seven,
			"stopped 7 leftover processes: sleep 0 (pid 100), sleep 1 (pid 101), sleep 2 (pid 102), sleep 3 (pid 103), sleep 4 (pid 104) and 2 more"},
		{corral.Exited, false, []corral.Leftover{leftover(9, corral.Signalled, "sh", "-c", "printf '\x1b[2J'\n"+strings.Repeat("x", 100))},
			`stopped 1 leftover process: sh -c printf '\x1b[2J'\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx... (pid 9)`},
		{corral.TimedOut, false, nil, "timed out after 5s"},
		{corral.TimedOut, true, nil, "timed out after 5s and had to be killed"},
		{corral.TimedOut, false, []corral.Leftover{sleep(corral.Signalled)},
			"timed out after 5s; stopped 1 more process: sleep 300 (pid 123)"},
		{corral.Idle, false, nil, "no output for 5s"},
		{corral.Idle, true, []corral.Leftover{sleep(corral.Forced)},
			"no output for 5s and had to be killed; stopped 1 more process by force: sleep 300 (pid 123)"},
		{corral.Stopped, true, nil, ""},
		{corral.Stopped, false, []corral.Leftover{sleep(corral.Signalled)},
			"stopped 1 more process: sleep 300 (pid 123)"},
	} {
		r := &corral.Report{Ending: tt.ending, Cause: (&corral.IdleError{IdleTimeout: 5 * time.Second}).Error(), Forced: tt.forced, Leftovers: tt.leftovers}
		if got := summary(r, 5*time.Second); got != tt.want {
			t.Errorf("%s, forced %v:\ngot  %s\nwant %s", tt.ending, tt.forced, got, tt.want)
		}
	}
}

// TestSayWeaker: what everybody has to do without is not worth a word.
func TestSayWeaker(t *testing.T) {
	for _, tt := range []struct {
		containment corral.Containment
		reason      error
		said        bool
	}{
		{corral.Cgroup, &fs.PathError{Op: "mkdir", Path: "/x", Err: syscall.EACCES}, false},
		{corral.Cgroup, &fs.PathError{Op: "mkdir", Path: "/x", Err: syscall.EROFS}, false},
		{corral.PIDNS, syscall.EPERM, false},
		{corral.Cgroup, fmt.Errorf("%w: no cgroup2 file system is mounted", errors.ErrUnsupported), false},
		{corral.Cgroup, &fs.PathError{Op: "open", Path: "/proc/self/cgroup", Err: syscall.ENOENT}, true},
		{corral.Cgroup, &fs.PathError{Op: "mkdir", Path: "/x", Err: syscall.EAGAIN}, true},
		{corral.Cgroup, errors.New("start the guard in /x: it was killed at its birth"), true},
		{corral.Keeper, syscall.EPERM, true}, // needs no privileges
	} {
		var said []string
		r := &corral.Report{Containment: corral.Group, Declined: []corral.Declined{{Containment: tt.containment, Reason: tt.reason.Error()}}}
		sayWeaker(func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }, r)
		if (len(said) == 1) != tt.said || tt.said && !strings.Contains(said[0], tt.reason.Error()) {
			t.Errorf("%s, %v: said %q", tt.containment, tt.reason, said)
		}
	}
}
