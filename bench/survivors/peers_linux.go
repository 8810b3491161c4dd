package main

import (
	"embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/bench/internal/peer"
	"github.com/corral-run/corral/internal/escape"
)

// bench is what all trials share. A trial gets it as JSON.
type bench struct {
	dir     string // with the owners, the built programs, and what a peer writes
	modules string // node_modules, "" if there is none
}

// peerOf is one way to run a command: a process that runs it. SIGTERM to that process
// is how a user, a supervisor or a container's engine stops it.
type peerOf struct {
	name    string
	how     func() string // in a sentence
	missing func() error  // why it cannot be used here
	version func() string // only if it is not missing
	argv    func(path string, args []string) ([]string, error)
	// closes says that the peer does not hand on descriptors. It gets a script that
	// opens those of the trial.
	closes bool
	// cannot names the children that cannot be tried under it, and why.
	cannot map[string]string
}

//go:embed owners
var owners embed.FS

// prepare writes the owners that are programs in other languages, and builds corral.
func (b *bench) prepare() error {
	if err := os.CopyFS(b.dir, owners); err != nil {
		return err
	}
	_, err := b.corral().Path()
	return err
}

func (b *bench) corral() *peer.Program {
	return &peer.Program{Module: "github.com/corral-run/corral", Name: "corral", To: b.dir}
}

func (b *bench) owner(name string) string { return filepath.Join(b.dir, "owners", name) }

func (b *bench) peers() []peerOf {
	all := []peerOf{
		inGo("os/exec", "CommandContext, and cancel", "osexec"),
		inGo("os/exec, group", "Setpgid, Pdeathsig, and kill(-pid) on a stop", "osexec-group"),
	}
	for _, t := range []struct {
		how  string
		tool peer.Tool
	}{
		{"It runs out of time as it does by SIGTERM", peer.Tool{Argv: []string{"timeout", "-k", "0.3", "50"}, Debian: "coreutils"}},
		{"As a subreaper, outside a container", peer.Tool{Argv: []string{"tini", "-s", "-g", "--"}, Debian: "tini"}},
		{"Outside a container", peer.Tool{Argv: []string{"dumb-init", "--"}, Debian: "dumb-init"}},
		{"Outside a container", peer.Tool{Argv: []string{"catatonit", "-g", "--"}, Debian: "catatonit"}},
		{"A session of its own", peer.Tool{Argv: []string{"setsid", "-w"}, Debian: "util-linux"}},
		{"A PID namespace of its own", peer.Tool{Argv: []string{"bwrap", "--unshare-pid", "--die-with-parent",
			"--dev-bind", "/", "/", "--proc", "/proc", "--"}, Debian: "bubblewrap"}},
	} {
		p := ofTool(t.tool, t.how)
		if p.name == "bwrap" {
			p.cannot = map[string]string{"kill-parent": "it refuses to kill a process that it cannot trace to the trial"}
		}
		all = append(all, p)
	}
	all = append(all, b.parallel(), b.supervisord(), systemdRun(), b.python(),
		b.node("child_process", "detached, kill(-pid) on a stop", ""),
		b.node("execa", "cleanup, forceKillAfterDelay, and killDescendants, which it has from version 10 on", "execa"),
		b.node("tree-kill", "SIGTERM, then SIGKILL", "tree-kill"),
		b.likeNode("Bun", []string{"bun"}, "@oven/bun-linux-x64/bin/bun", "@oven/bun-linux-x64-baseline/bin/bun", "@oven/bun-linux-aarch64/bin/bun"),
		b.likeNode("Deno", []string{"deno", "run", "-A"}, "@deno/linux-x64-glibc/deno", "@deno/linux-arm64-glibc/deno"),
		b.java(), untried("s6"), untried("processkit-go"))
	all = append(all, b.corralCommand())
	for _, c := range []corral.Containment{corral.Auto, corral.PIDNS, corral.Cgroup, corral.Keeper, corral.Group} {
		all = append(all, corralLibrary(c))
	}
	return all
}

func sentence(s string) func() string { return func() string { return s + "." } }

func nothingMissing() error { return nil }

// inGo is an owner of this program, in a role.
func inGo(name, how, role string) peerOf {
	return peerOf{
		name: name, how: sentence(how),
		missing: nothingMissing,
		version: runtime.Version,
		argv: func(path string, args []string) ([]string, error) {
			self, roleArgs := escape.Command(role, append([]string{path}, args...)...)
			return append([]string{self}, roleArgs...), nil
		},
	}
}

func ofTool(t peer.Tool, how string) peerOf {
	return peerOf{
		name: t.Argv[0], how: sentence(fmt.Sprintf("%s: `%s`", how, strings.Join(t.Argv, " "))),
		missing: t.Missing,
		version: t.Version,
		argv: func(path string, args []string) ([]string, error) {
			return append(append(t.Argv[:len(t.Argv):len(t.Argv)], path), args...), nil
		},
	}
}

func (b *bench) parallel() peerOf {
	t := peer.Tool{Argv: []string{"parallel", "--will-cite", "-u", "-j1", "--termseq", "TERM,300,KILL,25", ":::"}, Debian: "parallel"}
	p := ofTool(t, "One job")
	p.closes = true // which also makes it one word, with nothing to quote
	return p
}

func (b *bench) supervisord() peerOf {
	t := peer.Tool{Argv: []string{"supervisord"}, Debian: "supervisor"}
	p := ofTool(t, "stopasgroup, killasgroup, stopwaitsecs=1")
	p.how = sentence("stopasgroup, killasgroup, stopwaitsecs=1. It goes on when the command has ended")
	p.closes = true
	p.argv = func(path string, _ []string) ([]string, error) {
		conf := path + ".conf"
		text := fmt.Sprintf("[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile=%s.pid\n"+
			"[program:child]\ncommand=%s\nautorestart=false\nstartsecs=0\nstopasgroup=true\nkillasgroup=true\nstopwaitsecs=1\n"+
			"stdout_logfile=/dev/null\nstderr_logfile=/dev/null\n", path, path)
		return []string{"supervisord", "-c", conf}, os.WriteFile(conf, []byte(text), 0o644)
	}
	return p
}

func systemdRun() peerOf {
	t := peer.Tool{Argv: []string{"systemd-run", "--scope", "--quiet", "--collect", "--"}, Debian: "systemd"}
	p := ofTool(t, "A scope")
	p.missing = func() error {
		if _, err := os.Stat("/run/systemd/system"); err != nil {
			return errors.New("no systemd runs here")
		}
		return t.Missing()
	}
	return p
}

func (b *bench) python() peerOf {
	t := peer.Tool{Argv: []string{"python3", b.owner("python_subprocess.py")}, Debian: "python3"}
	p := ofTool(t, "")
	p.name, p.how = "Python subprocess", sentence("start_new_session, PR_SET_PDEATHSIG, and killpg on a stop")
	return p
}

// node is an owner in JavaScript. If it is about a package, that is its first argument's.
func (b *bench) node(name, how, pkg string) peerOf {
	argv := []string{"node", b.owner(name + ".mjs")}
	if pkg != "" {
		argv = append(argv, b.modules)
	}
	t := peer.Tool{Argv: argv, Debian: "nodejs"}
	p := ofTool(t, "")
	p.name, p.how = "node "+name, sentence(how)
	if pkg == "" {
		return p
	}
	p.name = pkg
	version := func() (string, error) {
		out, err := exec.Command("node", "-p", "require(process.argv[1]).version", filepath.Join(b.modules, pkg, "package.json")).Output()
		return strings.TrimSpace(string(out)), err
	}
	p.missing = func() error {
		if err := t.Missing(); err != nil {
			return err
		}
		if _, err := version(); b.modules == "" || err != nil {
			return fmt.Errorf("it is not in -node-modules %q: npm install %s", b.modules, pkg)
		}
		return nil
	}
	p.version = func() string {
		v, _ := version()
		return fmt.Sprintf("%s %s, node %s", pkg, v, t.Version())
	}
	return p
}

// likeNode runs the owner of node's child_process. Its program is on the PATH, or in the
// package for this system: the files are where npm has which.
func (b *bench) likeNode(name string, argv []string, files ...string) peerOf {
	find := sync.OnceValues(func() (string, error) {
		program, err := exec.LookPath(argv[0])
		for _, file := range files {
			file = filepath.Join(b.modules, file)
			// That of another system, or of a newer processor, does not run.
			if err != nil && b.modules != "" && exec.Command(file, "--version").Run() == nil {
				program, err = file, nil
			}
		}
		if err != nil {
			err = fmt.Errorf("%s is neither on the PATH nor in -node-modules %q: npm install %s", argv[0], b.modules, argv[0])
		}
		return program, err
	})
	return peerOf{
		name: name + " child_process", how: sentence("node:child_process, detached, kill(-pid) on a stop"),
		missing: func() error {
			_, err := find()
			return err
		},
		version: func() string {
			program, _ := find()
			t := peer.Tool{Argv: []string{program}}
			return name + " " + strings.TrimPrefix(t.Version(), argv[0]+" ")
		},
		argv: func(path string, args []string) ([]string, error) {
			program, err := find()
			return slices.Concat([]string{program}, argv[1:], []string{b.owner("child_process.mjs"), path}, args), err
		},
	}
}

// untried is a peer that the table is to have, and that nobody has made an owner for.
func untried(name string) peerOf {
	return peerOf{name: name, missing: func() error { return errors.New("it is not tried yet") }}
}

func (b *bench) java() peerOf {
	t := peer.Tool{Argv: []string{"java", "-XX:TieredStopAtLevel=1", "-cp", b.owner("."), "Descendants"}, Debian: "openjdk-17-jdk-headless"}
	p := ofTool(t, "")
	p.name, p.how = "Java ProcessHandle", sentence("destroy for each of descendants(), then destroyForcibly")
	p.closes = true
	p.missing = func() error {
		if err := t.Missing(); err != nil {
			return err
		}
		out, err := exec.Command("javac", "-d", b.owner("."), b.owner("Descendants.java")).CombinedOutput()
		if err != nil {
			return fmt.Errorf("javac: %w: %s", err, out)
		}
		return nil
	}
	return p
}

// grace is what all peers that can give one give to what they stop.
const grace = "300ms"

func (b *bench) corralCommand() peerOf {
	return peerOf{
		name: "corral, command", how: func() string { return "`corral --grace " + grace + "`, containment: " + chosen(corral.Auto) + "." },
		missing: nothingMissing,
		version: func() string { return "this checkout" },
		argv: func(path string, args []string) ([]string, error) {
			program := filepath.Join(b.dir, "corral")
			return append([]string{program, "--grace", grace, "--", path}, args...), nil
		},
	}
}

func corralLibrary(cont corral.Containment) peerOf {
	p := inGo("corral, library", "", "corral")
	p.how = func() string { return "Command, containment: " + chosen(cont) + "." }
	p.version = func() string { return "this checkout" }
	if cont != corral.Auto {
		p.name += ", " + string(cont)
		p.missing = func() error {
			c := corral.Command("/bin/true")
			c.Containment, c.Require = cont, cont
			return c.Run()
		}
	}
	p.argv = func(path string, args []string) ([]string, error) {
		self, roleArgs := escape.Command("corral", append([]string{string(cont), path}, args...)...)
		return append([]string{self}, roleArgs...), nil
	}
	return p
}

// chosen says which containment a run has.
func chosen(cont corral.Containment) string {
	if cont != corral.Auto {
		return string(cont)
	}
	c := corral.Command("/bin/true")
	if err := c.Run(); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s, chosen by itself", c.Report().Containment)
}
