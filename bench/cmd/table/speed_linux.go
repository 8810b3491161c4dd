package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/bench/internal/peer"
)

func library(o owner) (result, error) {
	var pairs []pair
	if err := o.ask("owner:turns", &pairs); err != nil {
		return result{}, err
	}
	return ratio(pairs, osExec), nil
}

// asHelper is library for an owner that starts its helpers from the program p.
func asHelper(p *peer.Program, o owner) (result, error) {
	path, err := p.Path()
	if err != nil {
		return result{}, err
	}
	o.HelperPath = path
	return library(o)
}

var (
	bwrap    = peer.Tool{Argv: []string{"bwrap", "--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/", "--"}, Debian: "bubblewrap"}
	timeout  = peer.Tool{Argv: []string{"timeout", "60"}, Debian: "coreutils"}
	tini     = peer.Tool{Argv: []string{"tini", "-s", "--"}, Debian: "tini"}
	dumbInit = peer.Tool{Argv: []string{"dumb-init", "--"}, Debian: "dumb-init"}
)

// over compares the program p with a peer, as what starts /bin/true.
func over(p *peer.Program, tool *peer.Tool, cont corral.Containment, rounds int) (result, error) {
	path, err := p.Path()
	if err != nil {
		return result{}, err
	}
	name := string(cont)
	ours := []string{path, "--containment", name, "--require", name, "--", "/bin/true"}
	theirs := append(tool.Argv[:len(tool.Argv):len(tool.Argv)], "/bin/true")
	pairs, err := turns(rounds, whole(theirs), whole(ours))
	if err != nil {
		return result{}, err
	}
	return ratio(pairs, tool.Version()), nil
}

// whole measures a process from fork to exit.
func whole(argv []string) func() (time.Duration, error) {
	return timed(func() error {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", argv[0], err, out)
		}
		return nil
	})
}

// overTrue compares the program p, without arguments, with /bin/true.
func overTrue(p *peer.Program, rounds int) (result, error) {
	path, err := p.Path()
	if err != nil {
		return result{}, err
	}
	pairs, err := turns(rounds, whole([]string{"/bin/true"}), whole([]string{path}))
	if err != nil {
		return result{}, err
	}
	return ratio(pairs, "/bin/true"), nil
}

// lastWord measures from when a leader wrote down the time until Wait returned. The
// leader still had to exit, so this is an upper bound.
func lastWord(cont corral.Containment, rounds int) (result, error) {
	pairs, err := turns(rounds,
		func() (time.Duration, error) {
			c := exec.Command("date", "+%s%N")
			return sinceWord(c, &c.Stdout)
		},
		func() (time.Duration, error) {
			c := contained(cont, "date", "+%s%N")
			return sinceWord(c, &c.Stdout)
		})
	if err != nil {
		return result{}, err
	}
	return beside(pairs, osExec, withTail), nil
}

// lastLeftover is lastWord for a process that outlives its leader.
func lastLeftover(cont corral.Containment, rounds int) (result, error) {
	var all []time.Duration
	for range rounds {
		c := contained(cont, "sh", "-c", "(sleep .01; exec date +%s%N) &")
		c.Leftovers = corral.WaitForLeftovers
		d, err := sinceWord(c, &c.Stdout)
		if err != nil {
			return result{}, err
		}
		all = append(all, d)
	}
	return withTail(all), nil
}

// sinceWord runs a command that writes the time, and returns how long ago that was
// when Wait has returned.
func sinceWord(c runner, stdout *io.Writer) (time.Duration, error) {
	r, w, err := os.Pipe() // a file, so that Wait has nothing to copy
	if err != nil {
		return 0, err
	}
	defer r.Close()
	defer w.Close()
	*stdout = w
	if err := startWait(c); err != nil {
		return 0, err
	}
	now := time.Now().UnixNano()
	buf := make([]byte, 64)
	n, err := r.Read(buf)
	if err != nil {
		return 0, err
	}
	word, err := strconv.ParseInt(strings.TrimSpace(string(buf[:n])), 10, 64)
	return time.Duration(now - word), err
}
