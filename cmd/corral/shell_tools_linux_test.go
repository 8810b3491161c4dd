package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// left is a line for a shell that leaves a process in the background, which has a
// session of its own and no stream of the shell's: whoever starts the shell loses
// it. It has the FIFO open, which tells whether it is there.
const left = `exec 9>fifo; setsid sleep 60 <&- >&- 2>&- & echo $! >>pids; `

// tool is a program that starts shells, in a directory of its own.
type tool struct {
	t    *testing.T
	dir  string
	fifo *os.File
}

func newTool(t *testing.T, needs ...string) *tool {
	t.Helper()
	for _, name := range needs {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("SKIPPED: no %s: %v", name, err)
		}
	}
	w := &tool{t: t, dir: t.TempDir()}
	path := filepath.Join(w.dir, "fifo")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	w.fifo = os.NewFile(uintptr(fd), path)
	t.Cleanup(func() { w.fifo.Close() })
	return w
}

func (w *tool) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o777); err != nil {
		w.t.Fatal(err)
	}
}

// run runs a program, which must exit with this status, and returns what it and the
// shells have said.
func (w *tool) run(status int, env []string, args ...string) string {
	w.t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = w.dir
	cmd.Env = append(os.Environ(), "HOME="+w.dir, "npm_config_update_notifier=false", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "MAKEFLAGS=")
	cmd.Env = append(cmd.Env, env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = lifetime
	if err := cmd.Run(); cmd.ProcessState == nil || cmd.ProcessState.ExitCode() != status {
		w.t.Fatalf("%q: %v; want status %d; %s", args, err, status, &out)
	}
	return out.String()
}

// expect says how many background processes there have been, and whether they are
// there still, and ends those that are.
func (w *tool) expect(count int, alive bool) {
	w.t.Helper()
	list, err := os.ReadFile(filepath.Join(w.dir, "pids"))
	pids := strings.Fields(string(list))
	if err != nil || len(pids) != count {
		w.t.Errorf("%d background processes, %v; want %d", len(pids), err, count)
	}
	// Without a writer there is an end, and with one nothing to be read.
	n, err := unix.Read(int(w.fifo.Fd()), make([]byte, 1))
	if there := errors.Is(err, unix.EAGAIN); there != alive || !there && (err != nil || n != 0) {
		w.t.Errorf("background processes are alive: %v; want %v (%d, %v)", there, alive, n, err)
	}
	for _, pid := range pids {
		w.end(pid)
	}
	w.write("pids", "")
}

// end kills a process that left has started: one that has the FIFO open.
func (w *tool) end(pid string) {
	n, err := strconv.Atoi(pid)
	if err != nil || n <= 1 {
		w.t.Errorf("%q is no PID: %v", pid, err)
		return
	}
	id, err := proctree.Identify(n)
	if err != nil {
		return // ended
	}
	h, err := proctree.Open(id)
	if err != nil {
		return
	}
	defer h.Close()
	if file, err := os.Readlink(filepath.Join("/proc", pid, "fd/9")); err == nil && file == w.fifo.Name() {
		h.Signal(os.Kill)
	}
}

// corralPath is the program that the test binary is.
func corralPath(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("corral")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// inContainments runs f under each containment that a user gets.
func inContainments(t *testing.T, f func(t *testing.T, env []string)) {
	for _, name := range []string{"cgroup", "keeper"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			env := []string{"CORRAL_AUTO=" + name}
			probe := exec.Command("corral", "--require", "cgroup", "--", "true")
			if name == "cgroup" && probe.Run() != nil {
				t.Skip("SKIPPED: no control groups here")
			}
			f(t, env)
		})
	}
}

// TestNPM: with corral as npm's script-shell, a script leaves nothing, and each
// corral of those in one another does what it is told.
func TestNPM(t *testing.T) {
	t.Parallel()
	corral := corralPath(t)
	pkg := fmt.Sprintf(`{"name": "a", "version": "1.0.0", "scripts": {
		"pretest": %[1]q, "test": %[2]q, "again": "npm run -s inner; echo ended with $?", "inner": %[3]q, "long": "sleep 60; true",
		"told": "corral --leftovers fail -q -c 'sleep 60 & true' || echo failed with $?; corral -c 'sleep 61 & true'; env | grep ^CORRAL_"}}`,
		left+"true", left+`echo "got $1"; exit 3`, left+"exit 4")
	newNPM := func(t *testing.T, shell string) *tool {
		w := newTool(t, "npm", "setsid")
		w.write("package.json", pkg)
		w.write(".npmrc", "script-shell="+shell+"\nloglevel=silent\n")
		return w
	}
	t.Run("control", func(t *testing.T) {
		t.Parallel()
		w := newNPM(t, "sh")
		w.run(3, nil, "npm", "test")
		w.expect(2, true)
	})
	inContainments(t, func(t *testing.T, env []string) {
		w := newNPM(t, corral)
		if out := w.run(3, env, "npm", "test", "--", "two words"); strings.Count(out, "corral: stopped 1 leftover process: ") != 2 {
			t.Errorf("npm test: %s", out)
		}
		w.expect(2, false)
		if testing.Short() {
			return
		}
		if out := w.run(0, env, "npm", "run", "-s", "again"); !strings.Contains(out, "ended with 4\n") || strings.Count(out, "stopped 1 leftover process") != 1 {
			t.Errorf("npm run in npm run: %s", out)
		}
		w.expect(1, false)
		start := time.Now()
		w.run(124, append(env, "CORRAL_TIMEOUT=0.3"), "npm", "run", "long")
		if took := time.Since(start); took > lifetime/2 {
			t.Errorf("CORRAL_TIMEOUT=0.3: it took %v", took)
		}
		// What the outer one is told, the inner ones are not; only CORRAL_AUTO is for all.
		out := w.run(0, append(env, "CORRAL_LEFTOVERS=fail", "CORRAL_GRACE=9s"), "npm", "run", "-s", "told")
		if !strings.Contains(out, "failed with 123\n") || strings.Count(out, "corral: stopped 1 leftover process: ") != 1 ||
			!strings.Contains(out, "CORRAL_AUTO=") || strings.Contains(out, "CORRAL_LEFTOVERS=") || strings.Contains(out, "CORRAL_GRACE=") {
			t.Errorf("told otherwise: %s", out)
		}
	})
}

// TestMake: with corral as make's SHELL, no line of a recipe leaves anything, also
// in a make that make has started.
func TestMake(t *testing.T) {
	t.Parallel()
	corral := corralPath(t)
	recipe := strings.ReplaceAll(left, "$", "$$")
	makefile := "all: one two\none:\n\t@" + recipe + "echo built $@\ntwo:\n\t@" + recipe + "true\n" +
		"sub:\n\t@$(MAKE) -s --no-print-directory one\nfail:\n\t@false; echo on\npipe:\n\t@false | true\n\t@echo on\nenv:\n\t@env\n"
	t.Run("control", func(t *testing.T) {
		t.Parallel()
		w := newTool(t, "make", "setsid")
		w.write("Makefile", makefile)
		w.run(0, nil, "make")
		w.expect(2, true)
	})
	inContainments(t, func(t *testing.T, env []string) {
		w := newTool(t, "make", "setsid", "bash")
		w.write("Makefile", "SHELL := "+corral+"\n"+makefile)
		if out := w.run(0, env, "make", "-j2"); strings.Count(out, "corral: stopped 1 leftover process: ") != 2 || !strings.Contains(out, "built one\n") {
			t.Errorf("make: %s", out)
		}
		w.expect(2, false)
		if out := w.run(0, env, "make", "sub"); !strings.Contains(out, "built one\n") || strings.Count(out, "stopped 1 leftover process") != 1 {
			t.Errorf("make in make: %s", out)
		}
		w.expect(1, false)
		if testing.Short() {
			return
		}
		// The options that a Makefile may have for its shell.
		if out := w.run(2, env, "make", ".SHELLFLAGS=-ec", "fail"); strings.Contains(out, "on\n") {
			t.Errorf("-ec: %s", out)
		}
		if out := w.run(2, env, "make", ".SHELLFLAGS=--shell bash -eu -o pipefail -c", "pipe"); strings.Contains(out, "on\n") {
			t.Errorf("-o pipefail: %s", out)
		}
		if out := w.run(0, append(env, "CORRAL_TIMEOUT=1m", "CORRAL_SHELL=bash"), "make", "env"); strings.Contains(out, "CORRAL_TIMEOUT") || strings.Contains(out, "CORRAL_SHELL") {
			t.Errorf("the environment of a recipe: %s", out)
		}
	})
}

// TestGitHook: a hook that has corral in its first line leaves nothing.
func TestGitHook(t *testing.T) {
	t.Parallel()
	corral := corralPath(t)
	commit := []string{"git", "-c", "gc.auto=0", "commit", "-q", "--allow-empty", "-m", "x"}
	newGit := func(t *testing.T, first string) *tool {
		w := newTool(t, "git", "setsid")
		w.run(0, nil, "git", "init", "-q")
		w.write(".git/hooks/pre-commit", first+"\n"+left+"echo hook of $0; test ! -e refuse\n")
		return w
	}
	t.Run("control", func(t *testing.T) {
		t.Parallel()
		w := newGit(t, "#!/bin/sh")
		w.run(0, nil, commit...)
		w.expect(1, true)
	})
	inContainments(t, func(t *testing.T, env []string) {
		w := newGit(t, "#!"+corral+" sh")
		if out := w.run(0, env, commit...); !strings.Contains(out, "corral: stopped 1 leftover process: ") || !strings.Contains(out, "hook of .git/hooks/pre-commit\n") {
			t.Errorf("git commit: %s", out)
		}
		w.expect(1, false)
		w.write("refuse", "")
		w.run(1, env, commit...)
		w.expect(1, false)
		w.write(".git/hooks/pre-commit", "#!"+corral+"\ntrue\n")
		if out := w.run(1, env, commit...); strings.Count(out, "corral: .git/hooks/pre-commit: its first line names corral, but no program to read it") != 1 {
			t.Errorf("a hook without a program: %s", out)
		}
	})
}
