//go:build linux || darwin || freebsd || windows

package main

import (
	"slices"
	"strings"
	"testing"
)

// TestAsCommandLine: what programs say to a shell, and what is not for one.
func TestAsCommandLine(t *testing.T) {
	const same = "same"
	for args, want := range map[string]string{
		// As they call it: npm, system(3), make, tmux; just; make in POSIX mode; login shells of agents; vim.
		"-c STRING":              "-c -- STRING",
		"-c STRING NAME -x":      "-c -- STRING NAME -x",
		"-cu STRING":             "--command --shell-option=-u -- STRING",
		"-ec STRING":             "--command --shell-option=-e -- STRING",
		"-lc STRING":             "--command --shell-option=-l -- STRING",
		"-c -l STRING":           "-c --shell-option=-l -- STRING",
		"-i -c STRING":           "--shell-option=-i -c -- STRING",
		"-eu -o pipefail -c S":   "--shell-option=-eu --shell-option=-o --shell-option=pipefail -c -- S",
		"-ceuo pipefail STRING":  "--command --shell-option=-euo --shell-option=pipefail -- STRING",
		"-euxo pipefail -c S":    "--shell-option=-euxo --shell-option=pipefail -c -- S",
		"--norc --login -c S":    "--shell-option=--norc --shell-option=--login -c -- S",
		"-O extglob +e -c S":     "--shell-option=-O --shell-option=extglob --shell-option=+e -c -- S",
		"-c -- STRING":           "-c -- STRING",
		"-c -- -STRING":          "-c -- -STRING",
		"-c":                     "-c --",
		"-c kill":                "-c -- kill",
		"-c run -c":              "-c -- run -c",
		"-c +STRING":             "-c -- +STRING",
		"run -c kill":            "run -c -- kill",
		"-q run -ec kill":        "-q run --command --shell-option=-e -- kill",
		"--command STRING":       "--command -- STRING",
		"-t 5 -c STRING":         "-t 5 -c -- STRING",
		"-c -t 5 STRING":         "-c -t 5 -- STRING",
		"--timeout=5 -qc STRING": "--timeout=5 -qc -- STRING",
		"-ct 5 STRING":           "-ct 5 -- STRING",
		"-c -o":                  same, // it lacks its name
		"-co":                    same,
		"-O -c STRING":           same,

		// A word all of whose letters are corral's is corral's.
		"-vc STRING":    "-vc -- STRING",
		"-v -c S":       "-v -c -- S",
		"-ve -c STRING": "--shell-option=-ve -c -- STRING",

		// Not for a shell.
		"sh -c STRING":              same,
		"-q sh -c STRING":           same,
		"-- -c":                     same,
		"run sh -c STRING":          same,
		"run run -c":                same,
		"run -- -c":                 same,
		"kill -c":                   same,
		"timeout -c 5":              same,
		"-e STRING":                 same,
		"-Zc STRING":                same,
		"-sc STRING":                same, // the signal c
		"--frob -c STRING":          same,
		"--containment cgroup true": same,
		"--report -c STRING":        same,
		"-qt 5 -c":                  "-qt 5 -c --",
	} {
		words := strings.Fields(args)
		before := slices.Clone(words)
		root := newRoot()
		got := asCommandLine(root, nil, words)
		if !slices.Equal(words, before) {
			t.Errorf("%s: the arguments themselves are now %q", args, words)
		}
		if want == same {
			want = args
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %s; want %s", args, strings.Join(got, " "), want)
		}
		if again := asCommandLine(root, nil, got); !slices.Equal(again, got) {
			t.Errorf("%s: once more, it is %q", args, again)
		}
	}
}

// TestNamesCommand: whether a #! line of corral names what reads the script.
func TestNamesCommand(t *testing.T) {
	for args, want := range map[string]bool{
		"": false, "-q": false, "--": false, "-t 5 --": false, "-c": false, "-ec": false, "run": false, "run -q": false, "init --all": false, "timeout 5": false, "timeout -k 1 5": false,
		"sh": true, "-q sh": true, "-t 5 -- sh -e": true, "run sh": true, "timeout 5 sh": true, "-c STRING": true, "--frob": true, "kill": true, "tree": true, "doctor --json": true,
	} {
		if got := namesCommand(strings.Fields(args)); got != want {
			t.Errorf("%q: %v", args, got)
		}
	}
}

// TestAfterEnv: what env(1) runs.
func TestAfterEnv(t *testing.T) {
	for args, want := range map[string]string{
		"corral": "corral", "-S corral -q": "corral -q", "-Scorral -q": "corral -q", "-i A=b corral sh": "corral sh", "-S -i A=b corral sh": "corral sh", "-i": "", "": "",
		"-S -u NAME corral": "corral", "-Su NAME corral": "u NAME corral", "-u NAME corral -q": "corral -q", "-uNAME corral": "corral", "-iu NAME -C /tmp A=b corral": "corral", "-S --unset NAME corral": "corral",
		"-S --unset=NAME --chdir=/ corral": "corral", "--uns NAME corral": "corral", "--split-string=corral -q": "corral -q", "-vS -u NAME corral": "corral", "-S-u NAME corral": "corral",
		"-S --block-signal=PIPE -- corral sh": "corral sh", "-S --debug --ignore-environment corral": "corral", "-S --argv0 x corral": "corral", "-u": "", "-S --unset": "", "-L root/daemon corral": "corral", "-": "",
	} {
		if got := strings.Join(afterEnv(strings.Fields(args)), " "); got != want {
			t.Errorf("%q: %q; want %q", args, got, want)
		}
	}
}
