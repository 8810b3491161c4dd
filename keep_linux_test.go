package corral_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/proctree"
)

// sparing are the containments that let go of single processes.
var sparing = []corral.Containment{corral.Cgroup, corral.Keeper}

func keepPrograms(patterns []string) func(corral.Process) bool {
	keep, err := corral.KeepPrograms(patterns...)
	if err != nil {
		panic(err)
	}
	return keep
}

// tellsOf writes one message to standard output, each time that it comes.
type tellsOf struct {
	slog.Handler
	message string
}

func (h tellsOf) Enabled(context.Context, slog.Level) bool { return true }

func (h tellsOf) Handle(_ context.Context, r slog.Record) error {
	if r.Message == h.message {
		fmt.Println(r.Message)
	}
	return nil
}

// programs is a directory with a shell and a sleep that have names of their own.
type programs string

func newPrograms(t *testing.T) programs {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"sh", "sleep"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Skip("SKIPPED: ", err)
		}
		if path, err = filepath.EvalSymlinks(path); err != nil {
			t.Fatal(err)
		}
		// If this process had the copy open for writing, a child that is just being forked
		// by a test beside this one would have it, too: it could not be executed.
		if out, err := exec.Command("cp", path, filepath.Join(dir, "kept-"+name)).CombinedOutput(); err != nil {
			t.Fatalf("cp: %v: %s", err, out)
		}
	}
	return programs(dir)
}

// script is a run of sh. Its text finds the programs, as kept-sh and kept-sleep, in
// PATH. It writes lines "NAME PID" about whom it has started, then "ready".
type script struct {
	*testing.T
	*corral.Cmd
	stdin io.WriteCloser
	pids  map[string][]proctree.ID
}

// started returns the script when it is ready. It ends when its text does, which may
// wait with "read x".
func (dir programs) started(t *testing.T, cont corral.Containment, text string, set func(*corral.Cmd)) *script {
	t.Helper()
	s := &script{T: t, Cmd: command(cont, "sh", "-c", text), pids: make(map[string][]proctree.ID)}
	s.Require = cont
	s.Env = append(os.Environ(), "PATH="+string(dir)+":"+os.Getenv("PATH"), "DIR="+string(dir))
	s.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
	s.Stderr = os.Stderr
	if set != nil {
		set(s.Cmd)
	}
	var err error
	if s.stdin, err = s.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	s.Stdout = w
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() {
		for _, ids := range s.pids {
			for _, id := range ids {
				end(id)
			}
		}
	})
	s.read(r)
	return s
}

// read reads who has been started.
func (s *script) read(r io.Reader) {
	s.Helper()
	for lines := bufio.NewScanner(r); lines.Scan(); {
		var name string
		var pid int
		if n, _ := fmt.Sscan(lines.Text(), &name, &pid); n != 2 {
			if name == "ready" {
				return
			}
			s.Fatalf("the script says %q", lines.Text())
		}
		id, err := proctree.Identify(pid)
		if err != nil {
			s.Fatalf("%s: %v", name, err)
		}
		s.pids[name] = append(s.pids[name], id)
	}
	s.Fatal("the script ends before it is ready")
}

// end kills a process that a test has started, and waits for it.
func end(id proctree.ID) {
	h, err := proctree.Open(id)
	if err != nil {
		return
	}
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if h.Signal(syscall.SIGKILL) == nil {
		h.Wait(ctx)
	}
}

func lives(id proctree.ID) bool {
	_, ok := proctree.Live(id)
	return ok
}

// expect checks who lives, by name, and that the Report says so.
func (s *script) expect(kept ...string) {
	s.Helper()
	expectAlive(s.T, s.pids, kept...)
	for name, ids := range s.pids {
		for _, id := range ids {
			l, ok := leftover(s.Report(), id)
			switch {
			case slices.Contains(kept, name) && (!ok || l.Fate != corral.Kept || l.Executable == ""):
				s.Errorf("the Report says of %s, which is kept: %+v", name, l)
			case !slices.Contains(kept, name) && (!ok || l.Fate == corral.Kept):
				s.Errorf("the Report says of %s, which is not kept: %+v", name, l)
			}
		}
	}
}

func expectAlive(t *testing.T, pids map[string][]proctree.ID, alive ...string) {
	t.Helper()
	for name, ids := range pids {
		for _, id := range ids {
			if want := slices.Contains(alive, name); lives(id) != want {
				t.Errorf("%s lives: %v, want %v", name, !want, want)
			}
		}
	}
}

func leftover(rep *corral.Report, id proctree.ID) (corral.Leftover, bool) {
	i := slices.IndexFunc(rep.Leftovers, func(l corral.Leftover) bool { return l.PID == id.PID && l.Start == id.Start })
	if i < 0 {
		return corral.Leftover{}, false
	}
	return rep.Leftovers[i], true
}

const quiet = " </dev/null >/dev/null 2>&1 & "

// hasExecuted waits until the last process in the background is no shell any more: what
// Keep is told of one that is about to execute its program is the shell.
const hasExecuted = `until [ "$(readlink /proc/$!/exe)" != "$(readlink /proc/$$/exe)" ]; do :; done; `

// family is one process to keep, with one below it, and three that are not to be
// kept: one calls itself by the name, as its argument and as what the kernel has of
// it for ps.
const family = `kept-sleep 50` + quiet + hasExecuted + `echo single $!
kept-sh -c 'sleep 50 & echo $! >$DIR/below; wait; :'` + quiet + `echo above $!
sleep 50` + quiet + `echo plain $!
sh -c 'printf kept-sleep >/proc/self/comm; exec 3<>$DIR/never; echo >$DIR/forged; read x <&3; :' kept-sleep` + quiet + `echo forged $!
until [ -s $DIR/below ] && [ -s $DIR/forged ]; do sleep .01; done
read below <$DIR/below; echo below $below
echo ready; read x`

// TestKeep: whom Keep wants to keep lives on, with what is below it, whether the
// command ends or is stopped. All else is stopped. A process is not asked about
// twice, nor is one below another that is kept.
func TestKeep(t *testing.T) {
	for _, how := range []string{"ends", "stopped", "killed"} {
		t.Run(how, func(t *testing.T) {
			forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
				t.Parallel()
				dir := newPrograms(t)
				if err := syscall.Mkfifo(filepath.Join(string(dir), "never"), 0o600); err != nil {
					t.Fatal(err)
				}
				var mu sync.Mutex
				asked := make(map[int]int)
				keep := keepPrograms([]string{"kept-*"})
				s := dir.started(t, cont, family, func(cmd *corral.Cmd) {
					cmd.Keep = func(p corral.Process) bool {
						mu.Lock()
						defer mu.Unlock()
						asked[p.PID]++
						return keep(p)
					}
				})
				switch how {
				case "ends":
					s.stdin.Close()
				case "stopped":
					if err := s.Stop(t.Context()); err != nil {
						t.Error(err)
					}
				case "killed":
					s.Signal(os.Kill)
				}
				s.Wait()
				if how == "killed" {
					expectAlive(t, s.pids)
					if len(asked) > 0 {
						t.Errorf("asked about %v of a run that has been killed", asked)
					}
					return
				}
				s.expect("single", "above", "below")
				for pid, times := range asked {
					if times != 1 || pid == s.Process.Pid || pid == s.pids["below"][0].PID {
						t.Errorf("asked %d times about %d, of %v", times, pid, s.pids)
					}
				}
				if l, _ := leftover(s.Report(), s.pids["single"][0]); l.Executable != filepath.Join(string(dir), "kept-sleep") {
					t.Errorf("kept: %+v", l)
				}
			})
		})
	}
}

// TestKeepAndFail: those kept are not what FailOnLeftovers is about.
func TestKeepAndFail(t *testing.T) {
	forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		for _, also := range []string{"", "sleep 50" + quiet + "echo plain $!\n"} {
			s := newPrograms(t).started(t, cont, "kept-sleep 50"+quiet+hasExecuted+"echo single $!\n"+also+"echo ready; read x; :", func(cmd *corral.Cmd) {
				cmd.Keep, cmd.Leftovers = keepPrograms([]string{"kept-sleep"}), corral.FailOnLeftovers
			})
			var left *corral.LeftoverError
			s.stdin.Close()
			err := s.Wait()
			if failed := errors.As(err, &left); failed != (also != "") || failed && len(left.Leftovers) != 1 {
				t.Errorf("Wait: %v", err)
			}
			s.expect("single")
		}
	})
}

// TestKeepAndWait: WaitForLeftovers does not wait for those kept.
func TestKeepAndWait(t *testing.T) {
	forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		s := newPrograms(t).started(t, cont, "exec 3<&0; kept-sleep 50"+quiet+hasExecuted+"echo single $!\nsh -c 'read x; sleep .3' <&3 >/dev/null 2>&1 & echo plain $!\necho ready; read x; :", func(cmd *corral.Cmd) {
			cmd.Keep, cmd.Leftovers = keepPrograms([]string{"kept-sleep"}), corral.WaitForLeftovers
		})
		s.stdin.Close()
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
		expectAlive(t, s.pids, "single")
		if rep := s.Report(); len(rep.Leftovers) != 1 || rep.Leftovers[0].Fate != corral.Kept || rep.Ending != corral.Exited || rep.Forced {
			t.Errorf("%+v", rep)
		}
	})
}

// TestKeepExec: what counts is the program at the moment of the question.
func TestKeepExec(t *testing.T) {
	forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		dir := newPrograms(t)
		for _, name := range []string{"a", "b"} {
			if err := syscall.Mkfifo(filepath.Join(string(dir), name), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		keep, asked := keepPrograms([]string{"kept-sh"}), 0
		s := dir.started(t, cont, `kept-sh -c 'exec 3<>$DIR/a; echo >$DIR/has-a; read x <&3; exec sleep 50'`+quiet+`echo was $!
sh -c 'trap "" TERM; exec 3<>$DIR/b; echo >$DIR/has-b; read x <&3; exec kept-sh -c "sleep 50; :"'`+quiet+`echo becomes $!
until [ -s $DIR/has-a ] && [ -s $DIR/has-b ]; do sleep .01; done
echo ready; read x`, func(cmd *corral.Cmd) {
			cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: time.Second}}
			cmd.Keep = func(p corral.Process) bool {
				answer := keep(p)
				if asked++; asked == 2 { // about both: now they execute something else
					for _, name := range []string{"a", "b"} {
						if err := os.WriteFile(filepath.Join(string(dir), name), []byte("\n"), 0); err != nil {
							t.Error(err)
						}
					}
				}
				return answer
			}
		})
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		s.Wait()
		s.expect("was")
		if asked < 2 { // under a keeper, what one of them starts meanwhile is asked about, too
			t.Errorf("asked %d times", asked)
		}
	})
}

// TestKeepForks: what a kept process starts, while members are asked about and while
// the others are being stopped, stays; what the others start goes.
func TestKeepForks(t *testing.T) {
	count := 150
	if testing.Short() { // also on an emulated machine, where each is as long as ten elsewhere
		count = 25
	}
	forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		// A busy machine may not get to ask about all in the five seconds that Keep has.
		// Fewer are fine, too.
		trial := 0
		for count := count; !keepForks(t, cont, count, 10*slices.Index(sparing, cont)+trial); count /= 2 {
			t.Logf("of %d, not all could be asked about", count)
			if trial++; count < 20 {
				if testing.Short() {
					t.Skip("SKIPPED: the machine is too slow")
				}
				t.Fatal("Keep takes too long also with so few")
			}
		}
	})
}

// keepForks reports whether all could be asked about. The number is to be of this call
// alone.
func keepForks(t *testing.T, cont corral.Containment, count, number int) bool {
	dir := newPrograms(t)
	keep := keepPrograms([]string{"kept-sh"})
	var log bytes.Buffer
	stays, goes := fmt.Sprintf("47.25%02d", number), fmt.Sprintf("47.75%02d", number)
	// Each starts children that lose their parent at once.
	forks := fmt.Sprintf(`i=0; while [ $i -lt %d ]; do (sleep %%s & :); i=$((i+1)); done; sleep %%s`, count)
	mark := func(n string) string { return fmt.Sprintf(forks, n, n) }
	s := dir.started(t, cont, `setsid kept-sh -c '`+mark(stays)+`'`+quiet+`
sh -c 'trap "" TERM; `+mark(goes)+`'`+quiet+`echo ready; read x; :`, func(cmd *corral.Cmd) {
		cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: 1500 * time.Millisecond}}
		cmd.Keep = keep
		cmd.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	marked := func(n string) (rows []proctree.Process) {
		table, err := proctree.Snapshot()
		if err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(table, func(p proctree.Process) bool { return len(p.Args) != 2 || p.Args[1] != n || !p.Alive() })
	}
	t.Cleanup(func() {
		for _, row := range slices.Concat(marked(stays), marked(goes)) {
			end(row.ID)
		}
	})
	eventually(t, "nobody forks", func() bool { return len(marked(stays)) > 3 && len(marked(goes)) > 3 })
	s.stdin.Close()
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	if left := marked(goes); len(left) > 0 {
		t.Errorf("%d are left of those that are not kept, such as %v", len(left), left[0])
	}
	if strings.Contains(log.String(), keepTooLong) {
		return false
	}
	n := 0
	defer func() { t.Logf("%d of %d are there", n, count+1) }()
	eventually(t, "of those that are kept, some are missing", func() bool { n = len(marked(stays)); return n == count+1 })
	return true
}

// TestKeepOwnerKilled: when the owner gets SIGKILL, those stay that have been kept,
// and nobody else: also if nobody has been asked about yet.
func TestKeepOwnerKilled(t *testing.T) {
	for _, when := range []string{"before", "after"} {
		t.Run(when, func(t *testing.T) {
			forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
				t.Parallel()
				nest := newNest(t, false)
				dir := newPrograms(t)
				list, fifo := filepath.Join(string(dir), "list"), filepath.Join(string(dir), "fifo")
				if err := syscall.Mkfifo(fifo, 0o600); err != nil {
					t.Fatal(err)
				}
				text := fmt.Sprintf(`PATH=%s:$PATH; kept-sleep 50%s%secho single $! >>%s
sh -c 'trap "" TERM; echo >%s.deaf; while :; do sleep 50; done'%s echo plain $! >>%s
exec 3<>%s; echo ready >>%s; read x <&3`, dir, quiet, hasExecuted, list, list, quiet, list, fifo, list)
				probe := escape.NewProbe(t, child("plain"))
				probe.Release()
				// It stays when the stop is over before the test comes to kill it.
				o := startOwner(t, nest, probe, program{Containment: cont, Argv: []string{"sh", "-c", text}, Keep: []string{"kept-sleep"}, Grace: 2 * time.Second, Then: "exit"})
				s := &script{T: t, pids: make(map[string][]proctree.ID)}
				eventually(t, "the script is not ready", func() bool {
					b, _ := os.ReadFile(list)
					_, err := os.Stat(list + ".deaf")
					return err == nil && strings.HasSuffix(string(b), "ready\n")
				})
				s.read(strings.NewReader(string(readFile(t, list))))
				t.Cleanup(func() { end(s.pids["single"][0]); end(s.pids["plain"][0]) })
				helper := holdHelper(o, helperOf[cont])
				if when == "after" {
					if err := os.WriteFile(fifo, []byte("\n"), 0); err != nil {
						t.Fatal(err)
					}
					o.comesTo("corral: kept")
				}
				o.kill()
				o.killed()
				await(t, helper)
				if when == "after" {
					expectAlive(t, s.pids, "single")
				} else {
					expectAlive(t, s.pids)
				}
			})
		})
	}
}

// TestKeepRefused: where no single process can be let go of, nothing is started.
func TestKeepRefused(t *testing.T) {
	for _, cont := range []corral.Containment{corral.PIDNS, corral.Group} {
		for _, set := range []func(*corral.Cmd){
			func(cmd *corral.Cmd) { cmd.Keep = func(corral.Process) bool { return true } },
			func(cmd *corral.Cmd) { cmd.AllowDetach = true },
		} {
			cmd := command(cont, "true")
			cmd.Require = cont
			set(cmd)
			var none *corral.ContainmentError
			if err := cmd.Start(); !errors.As(err, &none) || !strings.Contains(err.Error(), "no process can be kept or detached") || cmd.Process != nil {
				t.Errorf("%s: %v", cont, err)
			}
		}
	}
	for _, policy := range []corral.LeftoverPolicy{corral.KeepLeftovers, corral.DetachLeftovers} {
		cmd := corral.Command("true")
		cmd.Leftovers, cmd.Keep = policy, func(corral.Process) bool { return true }
		if err := cmd.Start(); err == nil || !strings.Contains(err.Error(), "set one of the two") {
			t.Errorf("Start: %v", err)
		}
	}
}

// keepTooLong is logged when Keep has had its five seconds.
const keepTooLong = "Keep takes too long"

// TestKeepHangs: a Keep that does not return holds up the run for no longer than
// five seconds, and leaves no member frozen.
func TestKeepHangs(t *testing.T) {
	if testing.Short() {
		t.Skip("takes five seconds")
	}
	forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
		t.Parallel()
		hang := make(chan bool)
		defer close(hang)
		log := new(corral.Tail)
		s := newPrograms(t).started(t, cont, "sleep 50"+quiet+"echo plain $!\necho ready; read x; :", func(cmd *corral.Cmd) {
			cmd.Logger = slog.New(slog.NewTextHandler(log, nil))
			cmd.Keep, cmd.StopPlan = func(corral.Process) bool { return <-hang }, patient
		})
		s.stdin.Close()
		if err := s.Wait(); err != nil {
			t.Error(err)
		}
		s.expect()
		if s.Report().Forced {
			t.Error("it had to be killed")
		}
		if !strings.Contains(log.String(), keepTooLong) {
			t.Errorf("the log does not say %q: %s", keepTooLong, log)
		}
	})
}

// TestKeepCutShort: who wants the run killed now does not wait for Keep.
func TestKeepCutShort(t *testing.T) {
	for _, how := range []string{"WaitDelay", "Kill"} {
		t.Run(how, func(t *testing.T) {
			forEach(t, sparing, func(t *testing.T, cont corral.Containment) {
				t.Parallel()
				hang := make(chan bool)
				defer close(hang)
				asked := make(chan bool, 1)
				log := new(corral.Tail)
				s := newPrograms(t).started(t, cont, "sleep 50"+quiet+"echo plain $!\necho ready; read x; :", func(cmd *corral.Cmd) {
					cmd.Keep = func(corral.Process) bool { asked <- true; return <-hang }
					if how == "WaitDelay" {
						cmd.WaitDelay = 500 * time.Millisecond
					}
					cmd.Logger = slog.New(slog.NewTextHandler(log, nil))
				})
				s.stdin.Close()
				waited := make(chan error)
				go func() { waited <- s.Wait() }()
				<-asked
				if how == "Kill" {
					s.Signal(os.Kill)
				}
				if err := <-waited; err != nil {
					t.Error(err)
				}
				if strings.Contains(log.String(), keepTooLong) {
					t.Error("it has waited for as long as Keep may take")
				}
				expectAlive(t, s.pids)
			})
		})
	}
}

func TestKeepPrograms(t *testing.T) {
	for _, tt := range []struct {
		pattern, executable string
		want                bool
	}{
		{"gpg-agent", "/usr/bin/gpg-agent", true},
		{"gpg-*", "/usr/bin/gpg-agent", true},
		{"/usr/bin/*", "/usr/bin/gpg-agent", true},
		{"/usr/*", "/usr/bin/gpg-agent", false},
		{"bin", "/usr/bin/gpg-agent", false},
		{"agent", "/usr/bin/gpg-agent", false},
		{"*", "", false},
		{"daemons", "/usr/bin/gpg-agent", true},
		{"daemons", "/usr/bin/my-gpg-agent", false},
		{"daemons", "/root/.cache/bazel/_bazel_root/install/0f/embedded_tools/jdk/bin/java", true},
		{"daemons", "/usr/lib/jvm/bin/java", false},
		{"daemons", "/usr/bin/git", false}, // not in the background
		{"[d]aemons", "/usr/bin/daemons", true},
	} {
		keep := keepPrograms([]string{"never", tt.pattern})
		if got := keep(corral.Process{PID: os.Getpid(), Executable: tt.executable}); got != tt.want {
			t.Errorf("%s, %s: %v", tt.pattern, tt.executable, got)
		}
	}
	for _, bad := range []string{"", "[", "bin/gpg-agent"} {
		if _, err := corral.KeepPrograms(bad); err == nil || !strings.HasPrefix(err.Error(), "corral: KeepPrograms: ") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
