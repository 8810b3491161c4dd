//go:build linux || darwin || freebsd || windows

package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"testing"
)

func TestBuildOf(t *testing.T) {
	settings := func(list ...string) (all []debug.BuildSetting) {
		for i := 0; i < len(list); i += 2 {
			all = append(all, debug.BuildSetting{Key: list[i], Value: list[i+1]})
		}
		return all
	}
	const commit = "0123456789abcdef0123456789abcdef01234567"
	const pseudo = "v0.4.1-0.20261128012345-0123456789ab"
	for _, c := range []struct {
		name            string
		version         string // by the go command
		settings        []debug.BuildSetting
		linked, linkedC string
		want            build
	}{
		{"go run", "(devel)", nil, "", "", build{"(devel)", ""}},
		{"no information", "", nil, "", "", build{"(devel)", ""}},
		{"go install, a release", "v1.2.3", nil, "", "", build{"v1.2.3", ""}},
		{"go install, a commit", pseudo, nil, "", "", build{pseudo, "0123456789ab"}},
		{"go build in a checkout", pseudo, settings("vcs.revision", commit, "vcs.modified", "false"), "", "", build{pseudo, commit}},
		{"go build, with changes", pseudo + "+dirty", settings("vcs.revision", commit, "vcs.modified", "true"), "", "", build{pseudo + "+dirty", commit + " with changes"}},
		{"a release build", "(devel)", nil, "v1.2.3", commit, build{"v1.2.3", commit}},
		{"a release build in a checkout with changes", pseudo, settings("vcs.revision", "other", "vcs.modified", "true"), "v1.2.3", commit, build{"v1.2.3", commit}},
		{"a version alone is linked in", pseudo, settings("vcs.revision", commit), "v1.2.3", "", build{"v1.2.3", commit}},
		{"no time before it", "v1.2.3-rc-0123456789ab", nil, "", "", build{"v1.2.3-rc-0123456789ab", ""}},
		{"no commit after it", "v1.2.3-20261128012345-beta56789xyz", nil, "", "", build{"v1.2.3-20261128012345-beta56789xyz", ""}},
	} {
		info := &debug.BuildInfo{Main: debug.Module{Version: c.version}, Settings: c.settings}
		if got := buildOf(info, c.linked, c.linkedC); got != c.want {
			t.Errorf("%s: %+v; want %+v", c.name, got, c.want)
		}
	}
}

// TestLinked: what a release build is told by the linker is what it says. A name
// that is misspelt there goes unnoticed otherwise.
func TestLinked(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command")
	}
	if _, err := exec.LookPath("go"); err != nil {
		t.Skip("SKIPPED, needs the go command: ", err)
	}
	path := filepath.Join(t.TempDir(), "corral.exe")
	build := exec.Command("go", "build", "-trimpath", "-o", path, "-ldflags", "-s -w -X main.linkedVersion=v1.2.3 -X main.linkedCommit=abc")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := fmt.Sprintf("corral v1.2.3 (commit abc, %s, %s/%s)\n", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, arg := range []string{"version", "--version"} {
		if out, err := exec.Command(path, arg).Output(); err != nil || string(out) != want {
			t.Errorf("corral %s: %q, %v; want %q", arg, out, err, want)
		}
	}
	const wantTimeout = "timeout (corral) v1.2.3\n"
	if out, err := exec.Command(path, "timeout", "--version").Output(); err != nil || string(out) != wantTimeout {
		t.Errorf("corral timeout --version: %q, %v; want %q", out, err, wantTimeout)
	}
}
