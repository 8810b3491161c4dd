package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/corral-run/corral"
)

func library(o owner) (result, error) {
	var pairs []pair
	if err := o.ask("owner:turns", &pairs); err != nil {
		return result{}, err
	}
	return ratio(pairs, osExec), nil
}

// asHelper is library for an owner that starts its helpers from the program.
func (p *program) asHelper(o owner) (result, error) {
	path, err := p.path()
	if err != nil {
		return result{}, err
	}
	o.HelperPath = path
	return library(o)
}

// tool is a program that a user would pick instead.
type tool struct {
	argv   []string // what comes before the command
	debian string   // package
}

var (
	bwrap    = tool{[]string{"bwrap", "--unshare-pid", "--die-with-parent", "--dev-bind", "/", "/", "--"}, "bubblewrap"}
	timeout  = tool{[]string{"timeout", "60"}, "coreutils"}
	tini     = tool{[]string{"tini", "-s", "--"}, "tini"}
	dumbInit = tool{[]string{"dumb-init", "--"}, "dumb-init"}
)

// version returns the first line of what the tool says of itself.
func (t *tool) version() string {
	out, err := exec.Command(t.argv[0], "--version").CombinedOutput()
	if line, _, _ := strings.Cut(string(out), "\n"); err == nil {
		return line
	}
	return t.argv[0] + ", version unknown"
}

// program is a command of a module, built when first needed.
type program struct {
	module, name string
	to           string // a directory
	built        sync.Once
	err          error
}

// path returns where the program is, which it builds if that has not been done.
func (p *program) path() (string, error) {
	path := filepath.Join(p.to, p.name)
	p.built.Do(func() {
		var root []byte
		if root, p.err = exec.Command("go", "list", "-m", "-f", "{{.Dir}}", p.module).Output(); p.err != nil {
			p.err = fmt.Errorf("where is the source of %s? %w: run this in the directory bench", p.name, p.err)
			return
		}
		linked := path + ".linked"
		build := exec.Command("go", "build", "-trimpath", "-o", linked, "./cmd/"+p.name)
		build.Dir = strings.TrimSpace(string(root))
		// As docs/containers.md builds it.
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		var out []byte
		if out, p.err = build.CombinedOutput(); p.err != nil {
			p.err = fmt.Errorf("%w: %s", p.err, out)
			return
		}
		p.err = install(linked, path)
	})
	return path, p.err
}

// install copies a program as an installation does it. A file that the linker has
// written, page by page, is in the cache in pages, and starts a tenth slower than
// one written at once.
func install(from, to string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}

// over compares the program with a peer, as what starts /bin/true.
func (p *program) over(peer *tool, cont corral.Containment, rounds int) (result, error) {
	path, err := p.path()
	if err != nil {
		return result{}, err
	}
	name := string(cont)
	ours := []string{path, "--containment", name, "--require", name, "--", "/bin/true"}
	theirs := append(peer.argv[:len(peer.argv):len(peer.argv)], "/bin/true")
	pairs, err := turns(rounds, whole(theirs), whole(ours))
	if err != nil {
		return result{}, err
	}
	return ratio(pairs, peer.version()), nil
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

// overTrue compares the program, without arguments, with /bin/true.
func (p *program) overTrue(rounds int) (result, error) {
	path, err := p.path()
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
