package corral_test

import (
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/diff"
)

// view prints what a process can see of how it was started, but for its PID and
// its parent's.
const view = `
echo args: "$0" "$@"
echo cwd: $(pwd)
read -r x x x x pgrp sid tty x x x x x x x x x x prio nice x </proc/self/stat
[ $sid = $$ ] && sid=own
echo sid: $sid tty: $tty prio: $prio nice: $nice
[ $pgrp = $$ ] && echo pgrp: own || echo pgrp: $pgrp
grep -E '^(Umask|Uid|Gid|Groups|SigBlk|SigIgn|SigPnd|ShdPnd|Cap|NoNewPrivs|Seccomp|Cpus_allowed_list)' /proc/self/status
cat /proc/self/limits /proc/self/oom_score_adj
# Descriptor 9 is ls's own, if nothing else.
for fd in 0 1 2 3 4 5 6 7 8 20; do
	[ -e /proc/self/fd/$fd ] && case $(readlink /proc/$$/fd/$fd) in
		'') echo fd $fd: closed;;
		pipe:*) echo fd $fd: a pipe;;
		*) echo fd $fd: $(readlink /proc/$$/fd/$fd);;
	esac
done
env | sort
`

// TestView: with Corral the command sees the same as with os/exec, also where a
// helper is in between.
func TestView(t *testing.T) {
	for _, tt := range viewCases(t) {
		t.Run(tt.name, func(t *testing.T) {
			if tt.skip != nil && tt.skip() != "" {
				t.Skip("SKIPPED: ", tt.skip())
			}
			theirs := exec.Command("sh", "-c", view)
			tt.set(t, theirs)
			want, err := theirs.Output()
			if err != nil {
				t.Fatal(err)
			}
			for _, cont := range []corral.Containment{corral.Cgroup, corral.Keeper} {
				t.Run(string(cont), func(t *testing.T) {
					need(t, cont)
					ours := corral.Command("sh", "-c", view)
					ours.Args, ours.Env, ours.Dir, ours.Stdin, ours.Stderr = theirs.Args, theirs.Env, theirs.Dir, theirs.Stdin, theirs.Stderr
					ours.ExtraFiles, ours.SysProcAttr = theirs.ExtraFiles, theirs.SysProcAttr
					ours.Containment, ours.Require = cont, cont
					got, err := ours.Output()
					if err != nil {
						t.Error(err)
					}
					if diff := diff.Of(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
						t.Errorf("-os/exec +corral\n%s", diff)
					}
					if left := ours.Report().Leftovers; len(left) > 0 {
						t.Errorf("leftovers %v", left)
					}
				})
			}
		})
	}
}

// viewCase is a way to set up a command.
type viewCase struct {
	name string
	set  func(t *testing.T, c *exec.Cmd)
	skip func() string
}

func viewCases(t *testing.T) []viewCase {
	file, err := os.Create(t.TempDir() + "/file")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	many := make([]*os.File, 300)
	for i := range many {
		many[i] = file
	}
	return []viewCase{
		{name: "plain", set: func(*testing.T, *exec.Cmd) {}},
		{name: "arguments", set: func(_ *testing.T, c *exec.Cmd) {
			c.Args = append(c.Args, "other\xff name", "", "a b", "\xfe\n")
		}},
		{name: "environment", set: func(_ *testing.T, c *exec.Cmd) {
			c.Env = []string{"A=1", "A=2", "B=\xff", "PATH=" + os.Getenv("PATH")}
		}},
		{name: "directory", set: func(t *testing.T, c *exec.Cmd) { c.Dir = t.TempDir() }},
		{name: "files", set: func(_ *testing.T, c *exec.Cmd) {
			c.ExtraFiles = []*os.File{file, nil, file}
			c.Stdin, c.Stderr = file, file
		}},
		{name: "many files", set: func(_ *testing.T, c *exec.Cmd) { c.ExtraFiles = many }},
		{name: "inherited descriptor", set: func(t *testing.T, c *exec.Cmd) {
			// As the job server of make: open in the owner, and not closed on exec.
			const fd = 700 // in use by nothing: a file that is collected later would close it
			if err := unix.Dup3(int(file.Fd()), fd, 0); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { unix.Close(fd) })
		}},
		{name: "ignored signals", set: func(t *testing.T, c *exec.Cmd) {
			signals := []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGUSR2, syscall.SIGTSTP, syscall.SIGPIPE, syscall.SIGTERM}
			signal.Ignore(signals...)
			t.Cleanup(func() {
				caught := make(chan os.Signal, 1)
				signal.Notify(caught, signals...) // Reset leaves them ignored (Go 1.26), for all tests that follow
				signal.Stop(caught)
			})
		}},
		{name: "caught signals", set: func(t *testing.T, c *exec.Cmd) {
			caught := make(chan os.Signal, 1)
			signal.Notify(caught, syscall.SIGHUP, syscall.SIGUSR1)
			t.Cleanup(func() { signal.Stop(caught) })
		}},
		{name: "session", set: func(_ *testing.T, c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }},
		{name: "group", set: func(_ *testing.T, c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }},
		{name: "user", set: func(_ *testing.T, c *exec.Cmd) {
			c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{7}}}
		}, skip: func() string {
			if os.Getuid() != 0 {
				return "only root can"
			}
			return ""
		}},
	}
}
