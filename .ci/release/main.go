// Command release makes the files of a release of the command corral, and
// publishes nothing:
//
//	.ci/outside .ci/release go run . -version v1.2.3 -out DIR
//
// It makes archives for all systems with man pages and completions, packages for
// Debian, RPM and Alpine, a container image, packages for npm, a Homebrew formula,
// a bill of materials for each program, and checksums. Without -version it makes a
// snapshot, with a version made from the time of the commit.
//
// Two releases of one commit by one version of Go are equal to the byte: no path,
// no clock and no order of a map gets into them. Times are those of the commit.
//
// It is not GoReleaser, which needs 1,788 packages of 326 modules where this needs
// some 400, and would take most of the time that CI has.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// System is one that has release files.
type System struct{ OS, Arch string }

func (s System) String() string { return s.OS + "/" + s.Arch }

// program is the name of the executable.
func (s System) program() string {
	if s.OS == "windows" {
		return "corral.exe"
	}
	return "corral"
}

// systems are those that the README has a containment for.
var systems = []System{
	{"linux", "amd64"}, {"linux", "arm64"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"freebsd", "amd64"}, {"freebsd", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

// Release is one release, and where it is made.
type Release struct {
	root    string // of the checkout
	out     string
	tmp     string
	version string // v1.2.3
	commit  string
	time    time.Time // of the commit
	systems []System
	progs   map[System]string // where they are
	texts   []File            // man pages, completions, licence: the same for all systems
}

// number is the version without the v, as most package managers want it.
func (r *Release) number() string { return strings.TrimPrefix(r.version, "v") }

func main() {
	version := flag.String("version", "", "the `version`, as v1.2.3 or v1.2.3-rc1; a snapshot's if empty")
	out := flag.String("out", "", "the `directory` for the files, which must not exist or be empty")
	only := flag.String("systems", "", "a `list` as linux/amd64,windows/arm64; all if empty")
	root := flag.String("root", "../..", "the `checkout` that is released")
	flag.Parse()
	if err := run(*root, *version, *out, *only, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(root, version, out, only string, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("there is no argument %q; -h tells the flags", args[0])
	}
	r := &Release{version: version, progs: make(map[System]string)}
	var err error
	if r.systems, err = parseSystems(only); err != nil {
		return err
	}
	if r.out, err = emptyDir(out); err != nil {
		return err
	}
	if r.root, err = filepath.Abs(root); err != nil {
		return err
	}
	if err := r.ask(); err != nil {
		return err
	}
	if r.tmp, err = os.MkdirTemp("", "release"); err != nil {
		return err
	}
	defer os.RemoveAll(r.tmp)
	for _, step := range []func() error{
		r.build, r.collect, r.archives, r.packages, r.image, r.npm, r.formula, r.checksums,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func parseSystems(list string) ([]System, error) {
	if list == "" {
		return systems, nil
	}
	var chosen []System
	for _, name := range strings.Split(list, ",") {
		i := slices.IndexFunc(systems, func(s System) bool { return s.String() == name })
		if i < 0 {
			return nil, fmt.Errorf("no release for the system %q; there are %v", name, systems)
		}
		chosen = append(chosen, systems[i])
	}
	return chosen, nil
}

func emptyDir(dir string) (string, error) {
	if dir == "" {
		return "", errors.New("-out has to name a directory")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(list) > 0 {
		return "", fmt.Errorf("%s is not empty", dir)
	}
	return filepath.Abs(dir)
}

// versions are those that every package manager orders as semantic versioning does:
// Alpine's has nothing but these words before a release, and digits after them.
var versions = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-(alpha|beta|rc|git)\d+)?$`)

// ask asks git what is released.
func (r *Release) ask() error {
	git := func(args ...string) (string, error) {
		out, err := exec.Command("git", append([]string{"-C", r.root, "-c", "safe.directory=*", "-c", "log.showSignature=false"}, args...)...).Output()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
			return "", fmt.Errorf("git %s: %v: %s", strings.Join(args, " "), err, exit.Stderr)
		}
		return strings.TrimSpace(string(out)), err
	}
	about, err := git("log", "-1", "--format=%H %ct")
	if err != nil {
		return err
	}
	commit, stamp, _ := strings.Cut(about, " ")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil {
		return fmt.Errorf("the time of commit %s: %v", commit, err)
	}
	r.commit, r.time = commit, time.Unix(seconds, 0).UTC()
	changes, err := git("status", "--porcelain", "--untracked-files=normal")
	if err != nil {
		return err
	}
	switch {
	case changes == "":
	case r.version == "":
		r.commit += " with changes"
	default:
		return fmt.Errorf("a release has a commit, and these files are in none:\n%s", changes)
	}
	if r.version == "" {
		r.version = "v0.0.0-git" + r.time.Format("20060102150405")
		return nil
	}
	if !versions.MatchString(r.version) {
		return fmt.Errorf("version %q; want vX.Y.Z, or that with -alphaN, -betaN or -rcN", r.version)
	}
	tags, err := git("tag", "--points-at", "HEAD")
	if err != nil {
		return err
	}
	if want := "cmd/corral/" + r.version; !slices.Contains(strings.Fields(tags), want) {
		return fmt.Errorf("commit %s does not have the tag %s", r.commit, want)
	}
	return r.titled()
}

// titled checks that the first section of the changelog is this version's.
func (r *Release) titled() error {
	text, err := os.ReadFile(filepath.Join(r.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	_, rest, _ := strings.Cut(string(text), "\n## ")
	title, _, _ := strings.Cut(rest, "\n")
	if title != r.number() {
		return fmt.Errorf("the first section of CHANGELOG.md is %q; want %q", title, r.number())
	}
	return nil
}

// checksums writes the sums of all files, as sha256sum -c reads them.
func (r *Release) checksums() error {
	var sums strings.Builder
	err := filepath.WalkDir(r.out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(r.out, path)
		if err != nil {
			return err
		}
		if !strings.Contains(name, string(filepath.Separator)) { // what is to be packed by npm is no file to download
			fmt.Fprintf(&sums, "%s  %s\n", sumOf(text), name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "checksums.txt"), []byte(sums.String()), 0o644)
}

func sumOf(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}
