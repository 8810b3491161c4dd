package corral_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/detach"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

const leaverRole, liarRole = "leaver", "liar"

func init() {
	escape.Register(leaverRole, leaver)
	escape.Register(liarRole, liar)
}

// leaver leaves its run with a command, as "corral detach" does. Its arguments are a
// file, in which it says what has come of it, and the command.
func leaver(args []string) {
	unix.Setsid() // it may lead one
	cmd := exec.Command(args[1], args[2:]...)
	detach.Run(cmd, nil, func(err error) {
		text := fmt.Sprintf("error %v", err)
		if err == nil {
			text = fmt.Sprintf("ok %d %d", os.Getpid(), cmd.Process.Pid)
		}
		say(args[0], text)
	})
}

// say writes to a file that then is there at once.
func say(file, text string) {
	err := os.WriteFile(file+".new", []byte(text), 0o666)
	if err == nil {
		err = os.Rename(file+".new", file)
	}
	if err != nil {
		panic(err)
	}
}

// liar leaves its run, says that it has started the process of the given PID, and
// stays.
func liar(args []string) {
	conn, err := net.Dial("unix", os.Getenv(detach.Variable))
	if err != nil {
		panic(err)
	}
	said, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		panic(err)
	}
	fmt.Fprintf(conn, "%s\n", args[1])
	conn.Read(make([]byte, 1))
	say(args[0], strings.TrimSpace(said))
	time.Sleep(escape.Lifetime)
}

// quoted is a shell command that runs a role.
func quoted(role string, args ...string) string {
	path, all := escape.Command(role, args...)
	var b strings.Builder
	for _, arg := range append([]string{path}, all...) {
		b.WriteString("'" + strings.ReplaceAll(arg, "'", `'\''`) + "' ")
	}
	return b.String()
}

// said waits until a role has written its file, and returns what it says.
func said(t *testing.T, file string) (text string) {
	t.Helper()
	eventually(t, "nobody has written "+file, func() bool {
		b, err := os.ReadFile(file)
		text = string(b)
		return err == nil
	})
	return text
}

// detached waits until a leaver is out, and returns it and what it has started, which
// end with the test.
func detached(t *testing.T, file string) (ids []proctree.ID) {
	t.Helper()
	text := said(t, file)
	var a, b int
	if n, _ := fmt.Sscanf(text, "ok %d %d", &a, &b); n != 2 {
		t.Fatal(text)
	}
	for _, pid := range []int{b, a} {
		id, err := proctree.Identify(pid)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
		t.Cleanup(func() { end(id) })
	}
	return ids
}

func checkAlive(t *testing.T, ids []proctree.ID, want bool) {
	t.Helper()
	for _, id := range ids {
		if lives(id) != want {
			t.Errorf("%v lives: %v, want %v", id, !want, want)
		}
	}
}

// TestDetach: what leaves a run lives on, with what it starts, whether the run ends
// or is killed, and the Report names it as the kernel does.
func TestDetach(t *testing.T) {
	for _, how := range []string{"ends", "killed"} {
		t.Run(how, func(t *testing.T) {
			forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
				t.Parallel()
				dir := newPrograms(t)
				file := filepath.Join(string(dir), "said")
				if err := syscall.Mkfifo(file+".fifo", 0o600); err != nil {
					t.Fatal(err)
				}
				// What it starts is orphaned at once.
				text := quoted(leaverRole, file, string(dir)+"/kept-sh", "-c", "(sleep 49 & echo $! >"+file+".orphan); exec 3<>"+file+".fifo; read x <&3; :") + quiet + `
until [ -e ` + file + ` ]; do sleep .01; done; sleep 50` + quiet + `echo plain $!; echo ready; read x; :`
				s := dir.started(t, cont, text, func(cmd *corral.Cmd) { cmd.AllowDetach = true })
				ids := detached(t, file)
				eventually(t, "there is no orphan", func() bool { b, _ := os.ReadFile(file + ".orphan"); return len(b) > 0 })
				pid, err := strconv.Atoi(strings.TrimSpace(string(readFile(t, file+".orphan"))))
				if err != nil {
					t.Fatal(err)
				}
				orphan, err := proctree.Identify(pid)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { end(orphan) })
				if members, err := s.Members(); err != nil || slices.ContainsFunc(members, func(p corral.Process) bool { return p.PID == pid || p.PID == ids[0].PID }) {
					t.Errorf("Members: %v, %v", members, err)
				}
				if how == "killed" {
					s.Signal(os.Kill)
				}
				s.stdin.Close()
				s.Wait()
				expectAlive(t, s.pids)
				checkAlive(t, append(ids, orphan), true)
				l, _ := leftover(s.Report(), ids[0])
				if l.Fate != corral.Detached || l.Executable != string(dir)+"/kept-sh" {
					t.Errorf("the Report says %+v", s.Report().Leftovers)
				}
				end(ids[0])
				end(orphan)
				h, err := proctree.Open(ids[1])
				if err == nil {
					await(t, h) // it stays for as long as they do
					h.Close()
				}
			})
		})
	}
}

// TestDetachRefused: only members get out, and only from a run that allows it.
func TestDetachRefused(t *testing.T) {
	forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		dir := newPrograms(t)
		file := filepath.Join(string(dir), "said")
		text := `echo $` + detach.Variable + ` >` + file + `.address; ` + quoted(liarRole, file, strconv.Itoa(os.Getpid())) + quiet + `echo liar $!; echo ready; read x; :`
		s := dir.started(t, cont, text, func(cmd *corral.Cmd) { cmd.AllowDetach = true })
		if got := said(t, file); got != "ok" {
			t.Errorf("a member: %s", got)
		}
		address := strings.TrimSpace(string(readFile(t, file+".address")))
		conn, err := net.Dial("unix", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if got, err := bufio.NewReader(conn).ReadString('\n'); got != "no it is not a member of the run\n" {
			t.Errorf("an outsider: %q, %v", got, err)
		}
		s.stdin.Close()
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
		// It has not started whom it names, but it is out itself.
		liar, _ := leftover(s.Report(), s.pids["liar"][0])
		if rep := s.Report(); len(rep.Leftovers) != 1 || liar.Fate != corral.Detached || liar.Executable == "" {
			t.Errorf("the Report says %+v", rep.Leftovers)
		}
		if _, err := net.Dial("unix", address); err == nil {
			t.Error("the door is open when the run is over")
		}

		file += "2"
		path, args := escape.Command(leaverRole, file, "true")
		cmd := command(cont, path, args...)
		cmd.Require, cmd.AllowDetach = cont, true
		if err := cmd.Run(); err != nil {
			t.Error(err)
		}
		if got := said(t, file); !strings.Contains(got, "the run's own command") {
			t.Errorf("the leader: %s", got)
		}

		file += "3"
		path, args = escape.Command(leaverRole, file, "true")
		cmd = command(cont, path, args...)
		cmd.Require = cont
		cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, detach.Variable+"=") })
		if err := cmd.Run(); err != nil {
			t.Error(err)
		}
		if got := said(t, file); !strings.Contains(got, "not inside a run that may be left") {
			t.Errorf("where it is not allowed: %s", got)
		}
	})
}

// TestDetachWithin: who leaves a run inside another one leaves the outer one, too, if
// that allows it, and ends with it if not.
func TestDetachWithin(t *testing.T) {
	for _, inner := range sparing {
		for _, allowed := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, outer %v", inner, allowed), func(t *testing.T) {
				need(t, inner)
				forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
					t.Parallel()
					dir := newPrograms(t)
					file := filepath.Join(string(dir), "said")
					within := program{Containment: inner, AllowDetach: true, Argv: []string{"sh", "-c",
						quoted(leaverRole, file, "sleep", "49") + quiet + "until [ -e " + file + ".seen ]; do sleep .01; done"}}
					argv := within.argv()
					cmd := command(cont, argv[0], argv[1:]...)
					cmd.Require, cmd.AllowDetach = cont, allowed
					cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, detach.Variable+"=") })
					cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
					cmd.Stderr = os.Stderr
					if err := cmd.Start(); err != nil {
						t.Fatal(err)
					}
					ids := detached(t, file)
					say(file+".seen", "") // before that, the outer run does not end, which may take them with it
					if err := cmd.Wait(); err != nil {
						t.Error(err)
					}
					checkAlive(t, ids, allowed)
				})
			})
		}
	}
}

// TestDetachForbiddenWithin: nobody gets out of a run that does not allow it by the door
// of the run around it. Its commands do not know that door; and who has found it out
// all the same is refused, or remains the inner run's.
func TestDetachForbiddenWithin(t *testing.T) {
	for _, inner := range sparing {
		t.Run(string(inner), func(t *testing.T) {
			need(t, inner)
			forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
				t.Parallel()
				dir := newPrograms(t)
				file := filepath.Join(string(dir), "said")
				leave := func(n string) string {
					return quoted(leaverRole, file+n, "sleep", "49") + quiet + "until [ -e " + file + n + " ]; do sleep .01; done; "
				}
				within := program{Containment: inner, Argv: []string{"sh", "-c", leave("1") +
					detach.Variable + "=$(cat " + file + ".address); export " + detach.Variable + "; " + leave("2")}}
				argv := within.argv()
				text := "echo $" + detach.Variable + " >" + file + `.address; "$@"`
				cmd := command(cont, "sh", append([]string{"-c", text, "sh"}, argv...)...)
				cmd.Require, cmd.AllowDetach = cont, true
				cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
				cmd.Stderr = os.Stderr
				if err := cmd.Run(); err != nil {
					t.Error(err)
				}
				if got := said(t, file+"1"); !strings.Contains(got, "not inside a run that may be left") {
					t.Errorf("who asks: %s", got)
				}
				got := said(t, file+"2")
				if inner == corral.Cgroup && cont == corral.Cgroup {
					if !strings.Contains(got, "it is in a run inside this one, which does not allow it") {
						t.Errorf("who has found out the address: %s", got)
					}
					return
				}
				var a, b int
				if n, _ := fmt.Sscanf(got, "ok %d %d", &a, &b); n != 2 {
					t.Fatal(got)
				}
				for _, pid := range []int{a, b} {
					if row, err := proctree.Lookup(pid); err == nil && row.Alive() {
						t.Errorf("who has found out the address lives: %v", row)
						end(row.ID)
					}
				}
			})
		})
	}
}

// TestDetachOwnerKilled: what has left stays when the owner gets SIGKILL, and all
// else goes.
func TestDetachOwnerKilled(t *testing.T) {
	forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		nest := newNest(t, false)
		file := filepath.Join(t.TempDir(), "said")
		text := quoted(leaverRole, file, "sleep", "49") + quiet + "sleep 50" + quiet + "echo $! >" + file + ".plain; sleep 50"
		probe := escape.NewProbe(t, child("plain"))
		probe.Release()
		o := startOwner(t, nest, probe, program{Containment: cont, Argv: []string{"sh", "-c", text}, AllowDetach: true})
		ids := detached(t, file)
		var pid int
		eventually(t, "there is no other", func() bool {
			b, _ := os.ReadFile(file + ".plain")
			n, _ := fmt.Sscanf(string(b), "%d\n", &pid)
			return n == 1 && strings.HasSuffix(string(b), "\n")
		})
		plain, err := proctree.Identify(pid)
		if err != nil {
			t.Fatal(err)
		}
		helper := holdHelper(o, helperOf[cont])
		o.kill()
		o.killed()
		await(t, helper)
		checkAlive(t, ids, true)
		checkAlive(t, []proctree.ID{plain}, false)
		for _, id := range ids {
			end(id)
		}
	})
}

// TestKeepKeeperKilled: a keeper that is killed while the rest is being stopped takes
// those that are not kept with it, and no others.
func TestKeepKeeperKilled(t *testing.T) {
	need(t, corral.Keeper)
	nest := newNest(t, false)
	dir := newPrograms(t)
	list := filepath.Join(string(dir), "list")
	text := fmt.Sprintf(`PATH=%s:$PATH; kept-sleep 50%s%secho single $! >>%s
sh -c 'trap "" TERM; echo >%s.deaf; while :; do sleep 50; done'%s echo plain $! >>%s
until [ -e %s.deaf ]; do sleep .01; done; echo ready >>%s`, dir, quiet, hasExecuted, list, list, quiet, list, list, list)
	probe := escape.NewProbe(t, child("plain"))
	probe.Release()
	o := startOwner(t, nest, probe, program{Containment: corral.Keeper, Argv: []string{"sh", "-c", text}, Keep: []string{"kept-sleep"}, Grace: time.Minute})
	o.comesTo("corral: kept")
	s := &script{T: t, pids: make(map[string][]proctree.ID)}
	s.read(strings.NewReader(string(readFile(t, list))))
	t.Cleanup(func() { end(s.pids["single"][0]); end(s.pids["plain"][0]) })
	send(t, o.helper(helperOf[corral.Keeper]), syscall.SIGKILL)
	r := o.result()
	expectAlive(t, s.pids, "single")
	if t.Failed() {
		t.Logf("%s, %+v, of %v", r.Err, r.Report, s.pids)
	}
}
