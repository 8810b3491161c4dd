package corral_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

// What these tests are about is programs that attack Corral itself: its helpers,
// what ties them to the owner, the time that a look takes, and programs that
// import it. Each has a bound, of which the kill is the last part.
const hostileBound = 15 * time.Second

func init() {
	escape.Register(whoamiRole, func([]string) { fmt.Println("real", os.Getuid(), "effective", os.Geteuid()) })
	escape.Register(attackerRole, attackHelper)
	thens["fork"] = func(p *program) {
		fmt.Println("forked", forkSilently())
		cue()
	}
}

// Roles of the test binary.
const (
	whoamiRole   = "whoami"
	attackerRole = "attack-helper"
)

// TestHostileMember: who turns on the helper gains nothing by it: neither while
// the owner lives, which has to get on without a helper's answer, nor when the
// owner is killed.
//
// What a helper has to be for that: not dumpable (trace-helper, forge), woken by
// its parent's end (stop-helper), with all descriptors and threads that it needs
// (starve-helper, fork-limit); the owner is to be watched by its pidfd (hold-line).
func TestHostileMember(t *testing.T) {
	for _, name := range []string{"stop-helper", "trace-helper", "starve-helper", "forge", "hold-line", "fork-limit", "undead", "clone-parent"} {
		t.Run(name, func(t *testing.T) {
			if err := child(name).Unavailable(); err != nil {
				t.Skip("SKIPPED: ", err)
			}
			forEach(t, strong, func(t *testing.T, cont corral.Containment) {
				t.Run("ends", func(t *testing.T) {
					o, probe := hostileOwner(t, child(name), program{Containment: cont})
					probe.Release()
					o.resultWithin(hostileBound)
					goneWithin(t, hostileBound, probe, nil)
				})
				t.Run("stop", func(t *testing.T) {
					o, probe := hostileOwner(t, child(name), program{Containment: cont, Then: "stop"})
					o.cue()
					o.resultWithin(hostileBound)
					goneWithin(t, hostileBound, probe, nil)
				})
				t.Run("owner", func(t *testing.T) {
					o, probe := hostileOwner(t, child(name), program{Containment: cont})
					o.kill()
					o.killed()
					goneWithin(t, hostileBound, probe, nil)
				})
			})
		})
	}
}

// hostileOwner starts an owner in a control group of its own, and returns when
// its run is complete. What a helper leaves of an empty directory when the two are
// killed is for the next owner.
func hostileOwner(t *testing.T, c escape.Child, p program) (*running, *escape.Probe) {
	t.Helper()
	escape.StartBystander(t)
	nest := newNest(t, true)
	probe := escape.NewProbe(t, c)
	o := startOwner(t, nest, probe, p)
	probe.Ready(t.Context())
	return o, probe
}

// resultWithin is result with a bound, after which the owner is killed.
func (o *running) resultWithin(bound time.Duration) result {
	o.Helper()
	began := time.Now()
	late := time.AfterFunc(bound, func() {
		o.Errorf("Wait has not returned after %v", bound)
		o.Process.Kill()
	})
	defer late.Stop()
	r := o.result()
	if r.Report == nil || len(r.Report.Survivors()) > 0 {
		o.Errorf("Wait: %s, %+v", r.Err, r.Report)
	}
	o.Logf("%v: %s", time.Since(began).Round(time.Millisecond), r.Err)
	return r
}

// TestForkStorm: chains of processes, each of which forks the next one and ends, do
// not keep anybody from stopping them. They end by themselves after 20 seconds. One
// trial at a time. Many chains fill the table of processes, so that other tests
// cannot start any: they are for a run with -storm, which is to have the machine
// for itself.
func TestForkStorm(t *testing.T) {
	numbers := []int{1, 4}
	if *stormy {
		numbers = []int{10, 100}
		beUrgent() // so that this process sees at once what has happened
	}
	const life = 20 * time.Second
	forEach(t, strong, func(t *testing.T, cont corral.Containment) {
		for _, chains := range numbers {
			t.Run(strconv.Itoa(chains), func(t *testing.T) {
				for _, end := range []string{"ends", "stop", "owner"} {
					t.Run(end, func(t *testing.T) {
						then := ""
						if end == "stop" {
							then = "stop"
						}
						o, probe := hostileOwner(t, escape.Storm(chains, life), program{Containment: cont, Then: then, Urgent: *stormy})
						began := time.Now()
						defer func() { // the next trial is to have the machine for itself
							ctx, cancel := context.WithTimeout(context.Background(), life+10*time.Second)
							defer cancel()
							if err := probe.Gone(ctx); err != nil {
								t.Error(err)
							}
						}()
						switch end {
						case "ends":
							probe.Release()
							o.resultWithin(life / 2)
						case "stop":
							o.cue()
							o.resultWithin(life / 2)
						case "owner":
							o.kill()
							o.killed()
							t.Logf("the owner has ended after %v", time.Since(began).Round(time.Millisecond))
						}
						goneWithin(t, life/2, probe, nil)
						took := time.Since(began)
						t.Logf("all gone after %v", took.Round(time.Millisecond))
						if took > life/2 {
							t.Errorf("that is too near to the %v that the storm lasts", life)
						}
					})
				}
			})
		}
	})
}

// TestOwnerForksWithoutExec: a child of the owner that has its descriptors, which
// any C library may fork, holds the helper's line open, and nothing else.
func TestOwnerForksWithoutExec(t *testing.T) {
	forEach(t, strong, func(t *testing.T, cont corral.Containment) {
		if cont == corral.PIDNS && !peerPidfd() {
			t.Skip("SKIPPED: before Linux 6.5 the init of a PID namespace cannot get a pidfd of the owner (SO_PEERPIDFD)")
		}
		nest := newNest(t, true)
		probe := escape.NewProbe(t, stubborn)
		o := startOwner(t, nest, probe, program{Containment: cont, Then: "fork"})
		probe.Ready(t.Context())
		line, err := o.stdout.ReadString('\n')
		for err == nil && !strings.HasPrefix(line, "forked ") {
			line, err = o.stdout.ReadString('\n')
		}
		pid, nerr := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "forked ")))
		if err := errors.Join(err, nerr); err != nil {
			t.Fatal(err)
		}
		forked, err := proctree.Identify(pid)
		if err != nil {
			t.Fatal(err)
		}
		ended := func() bool {
			row, err := proctree.Lookup(pid)
			return err != nil || row.ID != forked || !row.Alive()
		}
		t.Cleanup(func() {
			if h, err := proctree.Open(forked); err == nil {
				h.Signal(os.Kill)
				h.Close()
			}
		})
		o.kill()
		goneWithin(t, hostileBound, probe, nil)
		if ended() {
			t.Error("the owner's child, which is no member, has ended before the members")
		}
	})
}

func peerPidfd() bool {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	fd, err := unix.GetsockoptInt(fds[0], unix.SOL_SOCKET, unix.SO_PEERPIDFD)
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

// forkSilently starts a process without exec, which keeps all descriptors but those
// of the probe, and returns its PID. It ends after half a minute.
func forkSilently() int {
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i]--
	}
	unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old) // Go's handlers are not for the new process
	defer unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	life := unix.Timespec{Sec: 30}
	var fds [3]uintptr
	for i, f := range escape.Inherited() {
		fds[i] = f.Fd()
	}
	pid, errno := forkAndSleep(&life, &fds)
	if errno != 0 {
		panic(errno)
	}
	return pid
}

//go:norace
//go:nosplit
func forkAndSleep(life *unix.Timespec, closed *[3]uintptr) (int, syscall.Errno) {
	pid, _, errno := syscall.RawSyscall6(unix.SYS_CLONE, uintptr(unix.SIGCHLD), 0, 0, 0, 0, 0)
	if errno != 0 || pid != 0 {
		return int(pid), errno
	}
	for i := 0; i < len(closed); i++ {
		syscall.RawSyscall(unix.SYS_CLOSE, closed[i], 0, 0)
	}
	syscall.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(life)), 0, 0)
	for {
		syscall.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
}

// TestKeeperKilledAtBirth: a command whose first act is to kill the keeper. The
// library is not the parent of what that leaves; it comes to an end, with an error,
// and the command itself is gone.
func TestKeeperKilledAtBirth(t *testing.T) {
	need(t, corral.Keeper)
	trials := 30
	if testing.Short() {
		trials = 5
	}
	for i := range trials {
		t.Run(strconv.Itoa(i), func(t *testing.T) {
			probe := escape.NewProbe(t, child("plain"))
			probe.Interrupt()
			var leader bytes.Buffer
			cmd := corral.Command("sh", "-c", `echo $$; `+killKeeper+`; exec sleep 20`)
			cmd.Containment, cmd.Require = corral.Keeper, corral.Keeper
			cmd.Stdout, cmd.Stderr = &leader, os.Stderr
			_, _, cmd.ExtraFiles = probe.Command()
			ended := make(chan error, 1)
			go func() {
				err := cmd.Start()
				probe.Started()
				if err == nil {
					err = cmd.Wait()
				}
				ended <- err
			}()
			select {
			case err := <-ended:
				if err == nil {
					t.Errorf("the run has succeeded; the leader is %s", &leader)
				}
				t.Log(err)
			case <-time.After(hostileBound):
				t.Fatalf("Run has not returned after %v", hostileBound)
			}
			goneWithin(t, hostileBound, probe, nil)
		})
	}
}

// killKeeper kills the parent of a shell, if that is a keeper.
const killKeeper = `read keeper </proc/$PPID/cmdline; case $keeper in corral-keeper*) [ $PPID -gt 1 ] && kill -9 $PPID;; esac`

// TestRoleIsGranted: nobody becomes a helper for the asking: not a program that the
// kernel distrusts, for whoever executes it, nor any program for one that is not
// its parent and the same program.
func TestRoleIsGranted(t *testing.T) {
	for _, tt := range []struct {
		name    string
		install func(t *testing.T, path string)
		uid     int
		argv    []string
	}{
		{name: "set-user-ID", uid: 65534, install: func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o755|os.ModeSetuid); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "set-group-ID", uid: 65534, install: func(t *testing.T, path string) {
			if err := os.Chmod(path, 0o755|os.ModeSetgid); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "file capability", uid: 65534, install: func(t *testing.T, path string) {
			// struct vfs_cap_data of revision 2, effective: CAP_NET_RAW permitted.
			capability := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}
			if err := unix.Setxattr(path, "security.capability", capability, 0); err != nil {
				t.Skip("SKIPPED: ", err)
			}
		}},
		// The attacker is the parent of an ordinary program, and another program.
		{name: "another program", install: func(*testing.T, string) {}, uid: -1},
	} {
		for _, role := range []string{"corral-keeper", "corral-guard", "corral-keeper early"} {
			t.Run(tt.name+"/"+role, func(t *testing.T) {
				if tt.uid > 0 && os.Geteuid() != 0 {
					t.Skip("SKIPPED: only root can install such a program")
				}
				dir, err := os.MkdirTemp("", "corral-role")
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { os.RemoveAll(dir) })
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				victim, attacker := filepath.Join(dir, "victim"), filepath.Join(dir, "attacker")
				copySelf(t, victim)
				copySelf(t, attacker)
				tt.install(t, victim)
				_, args := escape.Command(attackerRole, append([]string{victim, role}, whoami()...)...)
				cmd := exec.Command(attacker, args...)
				cmd.Dir = dir
				if tt.uid > 0 {
					cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(tt.uid), Gid: uint32(tt.uid)}}
				}
				out, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%v, %s", err, out)
				}
				t.Logf("%s", out)
				if strings.Contains(string(out), "effective 0") != (tt.name == "set-user-ID" || os.Geteuid() == 0 && tt.uid < 0) {
					t.Skipf("SKIPPED: such programs have no effect here: %s", out)
				}
				if !strings.Contains(string(out), "refused to be a helper") {
					t.Error("it is a helper for a stranger")
				}
			})
		}
	}
}

// whoami is the command line of the victim, should it be no helper.
func whoami() []string {
	_, args := escape.Command(whoamiRole)
	return args
}

// attackHelper executes a program, to see what it is, and then as a helper, on a
// socket, and prints what it says to that.
func attackHelper(args []string) {
	if err := execute(exec.Command(args[0], args[2:]...)); err != nil {
		fmt.Println("it cannot be executed:", err)
		os.Exit(1)
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	theirs := os.NewFile(uintptr(fds[1]), "line")
	victim := exec.Command(args[0], args[2:]...)
	victim.Args = append(strings.Fields(args[1]), args[2:]...)
	victim.Stdin = theirs
	// One that is a helper waits for its line, until that ends.
	time.AfterFunc(5*time.Second, func() { unix.Close(fds[0]) })
	err = execute(victim)
	theirs.Close()
	fmt.Println(err)
}

// execute runs a command and prints what it says.
func execute(cmd *exec.Cmd) error {
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	fmt.Print(said.String())
	return err
}

func copySelf(t *testing.T, path string) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err == nil {
		_, err = io.Copy(f, self)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestHelpersAreNotDumpable: the kernel says whether a user may look into a process
// of its own by whose the files in its directory are.
func TestHelpersAreNotDumpable(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("SKIPPED: what is not dumpable is root's, and so is all else here")
	}
	forEach(t, strong, func(t *testing.T, cont corral.Containment) {
		role := "corral-keeper"
		switch cont {
		case corral.Cgroup:
			role = "corral-guard"
		case corral.PIDNS:
			t.Skip("SKIPPED: whoever has made a user namespace may look into it (user_namespaces(7)); a member may not: TestHostileMember/trace-helper")
		}
		o, _ := hostileOwner(t, child("plain"), program{Containment: cont})
		helper := o.helper(role)
		eventually(t, "the helper is dumpable", func() bool {
			_, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", helper.PID))
			return errors.Is(err, os.ErrPermission)
		})
	})
}

// TestStoppedGuardDoesNotHangOwner: ten seconds after the last run the owner gives
// its guard back. One that a member has stopped is not waited for.
func TestStoppedGuardDoesNotHangOwner(t *testing.T) {
	need(t, corral.Cgroup)
	if testing.Short() {
		t.Skip("it takes its time")
	}
	nest := newNest(t, true)
	probe := escape.NewProbe(t, child("stop-helper"))
	o := startOwner(t, nest, probe, program{Containment: corral.Cgroup, Then: "again"})
	probe.Ready(t.Context())
	probe.Release()
	o.resultWithin(2 * hostileBound)
}

func init() {
	// The first run is over, as is the time for which its guard is kept.
	thens["again"] = func(p *program) {
		p.cmds[0].Wait()
		time.Sleep(11 * time.Second)
		next := corral.Command(succeed[0], succeed[1:]...)
		next.Containment, next.Require = p.Containment, p.Containment
		if err := next.Run(); err != nil {
			panic(err)
		}
		p.cmds = []*corral.Cmd{next}
	}
}
