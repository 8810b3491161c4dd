//go:build linux

// Dropin runs the tests of real projects as they are, and again with the import
// "os/exec" replaced by Corral, and prints what differs.
//
// As root it first moves into PID and mount namespaces of its own, so that a wrong
// signal cannot reach anything outside, and nothing is left behind.
package main

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	inside  = "CORRAL_DROPIN_INSIDE" // set in the namespaces
	asUser  = "as-nobody"            // the first argument under go test -exec
	nobody  = 65534
	library = "github.com/corral-run/corral"
)

func main() {
	if len(os.Args) > 2 && os.Args[1] == asUser {
		fatal(becomeNobody(os.Args[2:]))
	}
	if os.Getuid() == 0 && os.Getenv(inside) == "" {
		fatal(moveIn())
	}
	d := dropin{}
	flag.StringVar(&d.corral, "corral", "", "checkout of Corral to test; empty is the one that the working directory is in")
	flag.BoolVar(&d.short, "short", false, "only the two quickest projects")
	flag.StringVar(&d.only, "projects", "", "only these, separated by commas")
	flag.StringVar(&d.onlyWays, "ways", "", "only these, separated by commas: root, nobody, keeper, user")
	flag.IntVar(&d.rounds, "rounds", 1, "how often each test is run")
	flag.StringVar(&d.run, "run", "", "only tests that match this, as in go test")
	flag.BoolVar(&d.verbose, "v", false, "also print what fails with os/exec, and why")
	flag.StringVar(&d.work, "work", "", "directory to work in, which is kept; empty is a temporary one")
	flag.Parse()
	ok, err := d.all()
	if err != nil {
		fatal(err)
	}
	if !ok {
		os.Exit(1)
	}
}

func fatal(err error) {
	fmt.Fprintln(os.Stderr, "dropin:", err)
	os.Exit(2)
}

// moveIn executes this program again in namespaces of its own. PID 1 there is a
// shell, which reaps orphans as an init does.
func moveIn() error {
	unshare, err := exec.LookPath("unshare")
	if err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	argv := append([]string{"unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc", "--",
		"bash", "-c", `"$@"; exit $?`, "dropin", self}, os.Args[1:]...)
	return syscall.Exec(unshare, argv, append(os.Environ(), inside+"=1"))
}

// becomeNobody executes the test binary argv[0] as nobody. It opens the directory
// in which the go command has built it, which is closed to others.
func becomeNobody(argv []string) error {
	home := os.Getenv("DROPIN_NOBODY")
	return errors.Join(
		os.Setenv("HOME", home), os.Setenv("TMPDIR", home+"/tmp"),
		os.Chmod(filepath.Dir(filepath.Dir(argv[0])), 0o755),
		syscall.Setgroups(nil), syscall.Setgid(nobody), syscall.Setuid(nobody),
		syscall.Exec(argv[0], argv, os.Environ()))
}

// way is a way to run tests: as which user, and with which wish for a containment.
type way struct {
	name   string
	nobody bool
	env    []string
	held   string // the containment that Auto gives
}

type dropin struct {
	corral, only, onlyWays, run, work string
	short, verbose                    bool
	rounds                            int

	ways   []way
	failed bool
}

func (d *dropin) all() (ok bool, err error) {
	if d.corral, err = checkout(d.corral); err != nil {
		return false, err
	}
	if d.work == "" {
		if d.work, err = os.MkdirTemp("", "dropin-"); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, removeAll(d.work)) }()
	}
	if d.work, err = filepath.Abs(d.work); err != nil {
		return false, err
	}
	for _, dir := range []string{"", "root/tmp", "nobody/tmp"} {
		if err := os.MkdirAll(filepath.Join(d.work, dir), 0o755); err != nil {
			return false, err
		}
	}
	if err := errors.Join(os.Chmod(d.work, 0o755), d.give(filepath.Join(d.work, "nobody"), true)); err != nil {
		return false, err
	}
	syscall.Umask(0) // so that nobody can use the go command's cache, too
	if err := d.probe(); err != nil {
		return false, err
	}
	if len(d.ways) == 0 {
		return false, errors.New("there is no way to run anything")
	}
	begin := time.Now()
	fmt.Printf("%-28s %-8s %-8s %-24s %-24s\n", "project", "as", "held by", "os/exec", "corral")
	for _, p := range projects {
		if d.wanted(p) {
			if err := d.compare(p); err != nil {
				return false, fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	fmt.Printf("%v\n", time.Since(begin).Round(time.Second))
	return !d.failed, nil
}

func (d *dropin) wanted(p project) bool {
	switch {
	case d.only != "":
		return slices.Contains(strings.Split(d.only, ","), p.name)
	case d.short:
		return p.short
	}
	return true
}

// checkout returns the directory of the library, by default the one above.
func checkout(dir string) (string, error) {
	if dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	for ; err == nil && dir != "/"; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(mod), "module "+library+"\n") {
			return dir, nil
		}
	}
	return "", cmp.Or(err, errors.New("not in a checkout of "+library+": use -corral"))
}

const probe = `package main

import (
	"fmt"
	"os"

	"github.com/corral-run/corral"
)

func main() {
	cmd := corral.Command("true")
	if err := cmd.Run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(cmd.Report().Containment)
}
`

// probe finds out which ways there are here, by a program that does one run. As the
// program does not belong to the library, it needs what every importer needs.
func (d *dropin) probe() error {
	dir := filepath.Join(d.work, "probe")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	err := errors.Join(
		os.WriteFile(filepath.Join(dir, "main.go"), []byte(probe), 0o644),
		os.WriteFile(filepath.Join(dir, "go.mod"), []byte("module probe\n\ngo 1.25.0\n"), 0o644),
		d.require(dir))
	if err != nil {
		return err
	}
	if _, err := d.goTool(dir, nil, "build", "-o", "bin/x/probe", "."); err != nil {
		return err
	}
	all := []way{
		{name: "root", held: "cgroup"},
		{name: "nobody", nobody: true, held: "keeper"},
		{name: "keeper", env: []string{"CORRAL_AUTO=keeper"}, held: "keeper"},
	}
	if os.Getuid() != 0 {
		all = []way{{name: "user"}, all[2]}
	}
	for _, w := range all {
		if d.onlyWays != "" && !slices.Contains(strings.Split(d.onlyWays, ","), w.name) {
			continue
		}
		argv := append(d.prefix(w), filepath.Join(dir, "bin/x/probe"))
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = d.environ(w.env...)
		out, err := cmd.Output()
		switch held := string(out); {
		case err != nil:
			return fmt.Errorf("a run as %s: %w", w.name, err)
		case w.held != "" && held != w.held:
			fmt.Printf("SKIPPED: as %s, a run is held by %s here, not by %s\n", w.name, held, w.held)
		default:
			w.held = held
			d.ways = append(d.ways, w)
		}
	}
	return nil
}

// prefix returns what comes before a command line to run it in this way.
func (d *dropin) prefix(w way) []string {
	if !w.nobody {
		return nil
	}
	self, _ := os.Executable()
	return []string{self, asUser}
}

// environ returns the environment of all that this program starts. It keeps them
// from the caller's home, but for the go command's caches.
func (d *dropin) environ(more ...string) []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "CORRAL_") || strings.HasPrefix(v, "GO111MODULE=")
	})
	return append(append(env,
		"GOWORK=off", "GOTOOLCHAIN=local", "GOFLAGS=", "GOENV=off",
		"GOMODCACHE="+filepath.Join(d.work, "mod"), "GOCACHE="+filepath.Join(d.work, "cache"),
		"GOPROXY="+goProxy(), "HOME="+filepath.Join(d.work, "root"), "TMPDIR="+filepath.Join(d.work, "root/tmp"),
		"DROPIN_NOBODY="+filepath.Join(d.work, "nobody"), "GIT_CONFIG_GLOBAL=/dev/null"), more...)
}

// give gives a tree to nobody, or takes it back.
func (d *dropin) give(dir string, toNobody bool) error {
	if os.Getuid() != 0 {
		return nil
	}
	id := 0
	if toNobody {
		id = nobody
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, id, id)
	})
}

// removeAll removes a tree with the module cache in it, which is read-only.
func removeAll(dir string) error {
	_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.IsDir() {
			return os.Chmod(path, 0o755)
		}
		return nil
	})
	return os.RemoveAll(dir)
}
