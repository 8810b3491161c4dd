package corral_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/stub"
	"golang.org/x/sys/unix"
)

const likeExecRole = "like-exec"

func init() { escape.Register(likeExecRole, likeExec) }

// TestForkedLikeExec: what a command finds when a keeper without a runtime starts it
// is what it finds under os/exec, and so are the errors.
func TestForkedLikeExec(t *testing.T) {
	escape.Command(likeExecRole)
	need(t, corral.Keeper)
	if err := stub.Possible(); err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	hows := []string{"always", "early", "off"}
	if testing.Short() {
		hows = hows[:2]
	}
	for name, script := range map[string]string{
		"plain":                      "",
		"a soft limit of open files": "ulimit -Sn 200; ",
		"signals ignored":            `trap "" HUP USR1 PIPE; `,
		"a hard limit of open files": "ulimit -n 200; ",
	} {
		for _, how := range hows {
			t.Run(name+"/"+how, func(t *testing.T) {
				path, args := escape.Command(likeExecRole) // its time begins now
				cmd := exec.Command("sh", append([]string{"-c", script + `exec "$0" "$@"`, path}, args...)...)
				cmd.Env = append(os.Environ(), stub.Switch+"="+how)
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Errorf("%v\n%s", err, out)
				}
			})
		}
	}
}

// likeExec runs commands under os/exec and under a keeper, and says where they
// differ.
func likeExec([]string) {
	failed := false
	for name, change := range alikes() {
		var out [2]string
		for i := range out {
			cmd := exec.Command("sh", "-c", `
				grep -E '^(Uid|Gid|Groups|SigBlk|SigIgn|Umask|NoNewPrivs|CapEff|Threads)' /proc/self/status
				ulimit -Sn; ulimit -Hn; pwd; echo "$X $#"; ps -o tty= -p $$
				for f in 0 1 2 3 4 5 6; do readlink /proc/$$/fd/$f; done
				[ "$(ps -o pgid= -p $$)" -eq $$ ] && echo leads`)
			cmd.Env = append(os.Environ(), "X=1")
			change(cmd)
			out[i] = outcomeOf(cmd, i == 1)
		}
		if out[0] != out[1] {
			failed = true
			fmt.Printf("%s: os/exec:\n%s\nkeeper:\n%s\n", name, out[0], out[1])
		}
	}
	if failed {
		syscall.Exit(1)
	}
	syscall.Exit(0)
}

// outcomeOf is what the command writes, or its error.
func outcomeOf(cmd *exec.Cmd, kept bool) string {
	var stdout bytes.Buffer
	err := func() error {
		r, w, err := os.Pipe()
		if err != nil {
			return err
		}
		defer r.Close()
		cmd.Stdout = w
		if kept {
			c := corral.Command(cmd.Path)
			c.Path, c.Args, c.Env, c.Dir = cmd.Path, cmd.Args, cmd.Env, cmd.Dir
			c.Stdout, c.ExtraFiles, c.SysProcAttr = cmd.Stdout, cmd.ExtraFiles, cmd.SysProcAttr
			c.Containment, c.Require = corral.Keeper, corral.Keeper
			err = c.Start()
			w.Close()
			if err == nil {
				stdout.ReadFrom(r)
				err = c.Wait()
			}
			return err
		}
		err = cmd.Start()
		w.Close()
		if err == nil {
			stdout.ReadFrom(r)
			err = cmd.Wait()
		}
		return err
	}()
	text := stdout.String()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "pipe:[") {
			text = strings.ReplaceAll(text, line, "a pipe\n")
		}
	}
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Sprintf("%s %s %v", path.Op, path.Path, path.Err)
	}
	return fmt.Sprint(text, err)
}

// alikes are what is asked for.
func alikes() map[string]func(*exec.Cmd) {
	attr := func(a syscall.SysProcAttr) func(*exec.Cmd) {
		return func(cmd *exec.Cmd) { cmd.SysProcAttr = &a }
	}
	all := map[string]func(*exec.Cmd){
		"nothing":    func(*exec.Cmd) {},
		"no such":    func(cmd *exec.Cmd) { cmd.Path = "/nonexistent" },
		"no program": func(cmd *exec.Cmd) { cmd.Path = "/etc/passwd" },
		"a directory that is missing": func(cmd *exec.Cmd) {
			cmd.Dir, cmd.SysProcAttr = "/nonexistent", &syscall.SysProcAttr{}
		},
		"a directory":           func(cmd *exec.Cmd) { cmd.Dir = "/usr" },
		"a zero in an argument": func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, "a\x00b") },
		"a zero in the path":    func(cmd *exec.Cmd) { cmd.Path = "/bin/sh\x00" },
		"a zero in a directory": func(cmd *exec.Cmd) { cmd.Dir, cmd.SysProcAttr = "/usr\x00", &syscall.SysProcAttr{} },
		"too long":              func(cmd *exec.Cmd) { cmd.Args = append(cmd.Args, strings.Repeat("x", 1<<20)) },
		"files": func(cmd *exec.Cmd) {
			null, _ := os.Open(os.DevNull)
			zero, _ := os.Open("/dev/zero")
			cmd.ExtraFiles = []*os.File{zero, nil, null, zero}
		},
		"setsid":    attr(syscall.SysProcAttr{Setsid: true}),
		"setpgid":   attr(syscall.SysProcAttr{Setpgid: true}),
		"no group":  attr(syscall.SysProcAttr{Setpgid: true, Pgid: 1 << 21}),
		"no tty":    attr(syscall.SysProcAttr{Setsid: true, Setctty: true, Ctty: 0}),
		"pdeathsig": attr(syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}),
	}
	if os.Geteuid() == 0 {
		all["chroot"] = func(cmd *exec.Cmd) {
			cmd.SysProcAttr, cmd.Dir = &syscall.SysProcAttr{Chroot: filepath.Dir(os.TempDir())}, "/"
		}
		all["user"] = attr(syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65533, Groups: []uint32{5, 7}}})
		all["user, same groups"] = attr(syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65533, NoSetGroups: true}})
	} else {
		all["another user"] = attr(syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1, Gid: 1}})
	}
	all["signals caught"] = func(*exec.Cmd) { signal.Notify(make(chan os.Signal, 1), unix.SIGUSR2) }
	return all
}

const doomedRole = "doomed-owner"

func init() { escape.Register(doomedRole, doomedOwner) }

// doomed are ways to lose an owner, by what it starts and whether it kills its own
// process group or is killed alone.
var doomed = map[string]struct {
	change func(*corral.Cmd)
	script string
	group  bool
}{
	"group, leader has its own":   {func(c *corral.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }, "setsid sleep 60 & sleep 60", true},
	"group, leader has a session": {func(c *corral.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }, "setsid sleep 60 & sleep 60", true},
	"group":                       {func(*corral.Cmd) {}, "setsid sleep 60 & sleep 60", true},
	"owner, leftovers are kept":   {func(c *corral.Cmd) { c.Leftovers = corral.KeepLeftovers }, `(trap "" TERM; exec sleep 60) & exec sleep 60`, false},
	"owner, many levels":          {func(*corral.Cmd) {}, "i=0; while [ $i -lt 20 ]; do i=$((i+1)); set -- \"$@\" nice; done; exec \"$@\" setsid sh -c 'sleep 60 & setsid sleep 60'", false},
}

// doomedOwner starts a command that has descriptor 3, says so, and ends as it is
// asked for.
func doomedOwner(args []string) {
	end := doomed[args[0]]
	cmd := corral.Command("sh", "-c", end.script)
	cmd.Containment, cmd.Require = corral.Keeper, corral.Keeper
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: 200 * time.Millisecond}}
	cmd.ExtraFiles = []*os.File{os.NewFile(3, "pipe")}
	end.change(cmd)
	if err := cmd.Start(); err != nil {
		fmt.Println(err)
		syscall.Exit(1)
	}
	time.Sleep(100 * time.Millisecond) // for the members to be there; whether they are is not what is judged
	if end.group {
		unix.Kill(-unix.Getpgrp(), unix.SIGKILL)
	}
	unix.Kill(unix.Getpid(), unix.SIGKILL)
}

// TestDoomedOwner: nothing is left of an owner's run, whatever the keeper is.
func TestDoomedOwner(t *testing.T) {
	need(t, corral.Keeper)
	for _, how := range []string{"always", "early", "off"} {
		for name := range doomed {
			t.Run(how+"/"+name, func(t *testing.T) {
				t.Parallel()
				r, w, err := os.Pipe()
				if err != nil {
					t.Fatal(err)
				}
				defer r.Close()
				path, args := escape.Command(doomedRole, name)
				cmd := exec.Command(path, args...)
				cmd.Env = append(os.Environ(), stub.Switch+"="+how)
				cmd.ExtraFiles = []*os.File{w}
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				out, err := cmd.Output()
				w.Close()
				if state := cmd.ProcessState; state == nil || state.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("the owner: %v, %s", err, out)
				}
				r.SetReadDeadline(time.Now().Add(10 * time.Second))
				if _, err := r.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("members are left: %v", err)
				}
			})
		}
	}
}

// TestOwnerDiesEarly: nothing is left of a run whose owner is killed while it starts
// its helpers, whatever these are.
func TestOwnerDiesEarly(t *testing.T) {
	step := 100 * time.Microsecond
	if testing.Short() {
		step = 500 * time.Microsecond
	}
	for _, how := range []string{"always", "early", "off"} {
		t.Run(how, func(t *testing.T) {
			t.Setenv(stub.Switch, how)
			for _, cont := range []corral.Containment{corral.Keeper, corral.Cgroup} {
				t.Run(string(cont), func(t *testing.T) {
					need(t, cont)
					nest := newNest(t, true)
					for after := time.Duration(0); after < 4*time.Millisecond; after += step {
						probe := escape.NewProbe(t, child("daemon"))
						o := startOwner(t, nest, probe, program{Containment: cont})
						o.comesTo("starting")
						probe.Interrupt()
						time.Sleep(after) // this is the trial, not how it is judged
						o.kill()
						o.killed()
						gone(t, probe, nil)
					}
				})
			}
		})
	}
}
