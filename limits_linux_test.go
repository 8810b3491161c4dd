package corral_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/delegated"
	"github.com/corral-run/corral/internal/escape"
	"github.com/corral-run/corral/internal/stub"
)

func init() {
	escape.Register("eater", eater)
	escape.Register("burner", burner)
	escape.Register("limited-host", limitedHost)
}

// eater takes so many MiB of memory, and says so.
func eater(args []string) {
	size, err := strconv.Atoi(args[0])
	if err != nil {
		panic(err)
	}
	food := make([]byte, size<<20)
	for i := 0; i < len(food); i += 4096 {
		food[i] = 1
	}
	fmt.Println("ate", len(food)>>20)
}

// burner uses a processor for half a second of the clock.
func burner([]string) {
	for began := time.Now(); time.Since(began) < time.Second/2; {
	}
}

func limited(cont corral.Containment, l corral.Limits, name string, arg ...string) *corral.Cmd {
	cmd := contained(cont, name, arg...)
	cmd.Limits = l
	return cmd
}

// TestLimits: what the members may use together is limited, and only for a run that
// asks for it.
func TestLimits(t *testing.T) {
	t.Cleanup(func() {
		if t.Skipped() {
			escape.Excuse("burner", "limited-host")
		}
	})
	delegated.Here(t)
	t.Run("files", limitFiles)
	t.Run("memory", outOfMemory)
	t.Run("PIDs", fewPIDs)
	t.Run("CPUs", fewCPUs)
	t.Run("started", startedLimited)
	t.Run("owner", limitedOwnerKilled)
	t.Run("kept", keptOfLimited)
	t.Run("detached", detachedOfLimited)
	t.Run("many", manyLimited)
}

// limitFiles: the kernel has the limits when the command begins.
func limitFiles(t *testing.T) {
	const script = `cd /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup) && cat memory.max memory.oom.group pids.max cpu.max && cat memory.swap.max 2>/dev/null`
	for _, processes := range []corral.Limits{{}, {Core: corral.LimitToZero}} {
		l := processes
		l.Memory, l.PIDs, l.CPUs = 64<<20, 100, 1.5
		cmd := limited(corral.Cgroup, l, "sh", "-c", script)
		out, err := cmd.Output()
		text := strings.Join(strings.Fields(string(out)), " ")
		if !strings.HasPrefix(text, "67108864 1 100 150000 100000") || strings.TrimSuffix(text, " 0") != "67108864 1 100 150000 100000" {
			t.Errorf("%+v: %q, %v", l, text, err)
		}
		// A member could take the controllers away from the runs to come.
		out, err = limited(corral.Cgroup, l, "sh", "-c", "cd /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/.. && echo -memory -cpu >cgroup.subtree_control; pwd -P").Output()
		if home := strings.TrimSpace(string(out)); err != nil || !strings.HasPrefix(filepath.Base(home), "corral-") {
			t.Errorf("home %q, %v", home, err)
		}
	}
	// A run without limits has a control group without controllers, as ever.
	out, _ := limited(corral.Cgroup, corral.Limits{}, "sh", "-c", strings.Replace(script, "cat", "ls cgroup.events memory.max; cat", 1)).Output()
	if string(out) != "cgroup.events\n" {
		t.Errorf("without limits: %q", out)
	}
}

// outOfMemory: the whole run is killed and the Report says why, whoever has taken the
// memory.
func outOfMemory(t *testing.T) {
	path, args := escape.Command("eater", "96")
	line := path + " '" + strings.Join(args, "' '") + "'"
	scripts := []string{"sleep 60 & " + line + " & wait; wait", "exec " + line, line + "; echo after it"}
	if testing.Short() {
		scripts = scripts[:1]
	}
	for _, script := range scripts {
		cmd := limited(corral.Cgroup, corral.Limits{Memory: 48 << 20}, "sh", "-c", script)
		out, err := cmd.Output()
		rep := cmd.Report()
		var exit *corral.ExitError
		if !errors.Is(err, corral.ErrOutOfMemory) || !errors.As(err, &exit) || len(out) > 0 {
			t.Errorf("%s: %v, %q", script, err, out)
		}
		if rep.Ending != corral.OutOfMemory || rep.Signal != "SIGKILL" || !strings.Contains(rep.Cause, "50331648 bytes") || len(rep.Survivors()) > 0 {
			t.Errorf("%s: %+v", script, rep)
		}
		if peak := rep.Usage.Run.PeakMemory; peak == nil || *peak < 40<<20 || *peak > 49<<20 {
			t.Errorf("%s: peak %v", script, peak)
		}
	}
	// The next run has another control group, or no limit any more.
	for _, l := range []corral.Limits{{}, {Memory: 300 << 20}} {
		cmd := limited(corral.Cgroup, l, path, args...)
		if out, err := cmd.Output(); err != nil || string(out) != "ate 96\n" || cmd.Report().Ending != corral.Exited {
			t.Errorf("%+v: %q, %v", l, out, err)
		}
	}
}

// fewPIDs: no more processes than that can be started, and one is enough for a
// command, also if the helper that sets its own limits has more threads.
func fewPIDs(t *testing.T) {
	const script = "i=0; while [ $i -lt 8 ]; do sleep 60 & i=$((i+1)); done"
	for pids, fits := range map[int]bool{4: false, 9: true} {
		cmd := limited(corral.Cgroup, corral.Limits{PIDs: pids}, "sh", "-c", script)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		if err := cmd.Run(); (err == nil) != fits || !fits && !strings.Contains(strings.ToLower(stderr.String()), "cannot fork") {
			t.Errorf("%d: %v, %s", pids, err, &stderr)
		}
		if n := len(cmd.Report().Leftovers); n > pids || fits && n != 8 {
			t.Errorf("%d: %d leftovers", pids, n)
		}
	}
	for _, l := range []corral.Limits{{PIDs: 1}, {PIDs: 1, OpenFiles: 64}} {
		if out, err := limited(corral.Cgroup, l, "echo", "alone").Output(); err != nil || string(out) != "alone\n" {
			t.Errorf("%+v: %q, %v", l, out, err)
		}
	}
}

// fewCPUs: there is less processor time than that.
func fewCPUs(t *testing.T) {
	path, args := escape.Command("burner")
	cmd := limited(corral.Cgroup, corral.Limits{CPUs: 0.1}, path, args...)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	run, elapsed := cmd.Report().Usage.Run, cmd.Report().Elapsed
	if run.UserTime == nil || run.SystemTime == nil {
		t.Fatalf("%+v", run)
	}
	// It may use a period's quota at once, at the beginning and at the end.
	if used := *run.UserTime + *run.SystemTime; used <= 0 || used > elapsed/10+50*time.Millisecond {
		t.Errorf("%v in %v", used, elapsed)
	}
}

// startedLimited: a run with limits can be stopped, and its members are known.
func startedLimited(t *testing.T) {
	cmd := limited(corral.Cgroup, corral.Limits{Memory: 100 << 20, PIDs: 50}, "sh", "-c", "sleep 60 & trap '' TERM; echo up; while :; do sleep 60; done")
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: grace}}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if members, err := cmd.Members(); err != nil || len(members) < 2 {
		t.Errorf("%v, %v", members, err)
	}
	if err := cmd.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	if rep := cmd.Report(); rep.Ending != corral.Stopped || !rep.Forced || rep.Usage.Run.PeakMemory == nil {
		t.Errorf("%+v", rep)
	}
}

// limitedHost has a run with limits, and is killed. The arguments are the containment,
// and the user of the command.
func limitedHost(args []string) {
	cmd := limited(corral.Cgroup, corral.Limits{Memory: 100 << 20, PIDs: 50, Core: corral.LimitToZero}, "sh", "-c", "sleep 60 & echo up; sleep 60; sleep 60")
	if len(args) == 1 { // to be kept
		cmd = limited(corral.Cgroup, corral.Limits{PIDs: 50}, "sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $$ $!; exec sleep 60")
		cmd.Leftovers = corral.DetachLeftovers
	} else if len(args) > 1 {
		uid, _ := strconv.Atoi(args[1])
		cmd = limited(corral.Containment(args[0]), corral.Limits{Core: corral.LimitToZero}, "sh", "-c", "echo up; exec sleep 60")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
	}
}

// limitedOwnerKilled: nothing of the run is left when its owner is killed. The end of
// the output tells.
func limitedOwnerKilled(t *testing.T) {
	for _, how := range []string{"always", "off"} { // the guard is a fork, or a program
		t.Setenv(stub.Switch, how)
		killLimitedHost(t)
	}
}

// TestLimiterKeepsDeathSignal: the command dies with its parent, also if its ids have
// been changed by the helper, at which the kernel forgets that it should.
func TestLimiterKeepsDeathSignal(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root changes ids")
	}
	forEach(t, []corral.Containment{corral.Keeper, corral.Group}, func(t *testing.T, cont corral.Containment) {
		need(t, cont)
		killLimitedHost(t, string(cont), "65534")
	})
}

func killLimitedHost(t *testing.T, how ...string) {
	t.Helper()
	path, args := escape.Command("limited-host", how...)
	host := exec.Command(path, args...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	host.Stdout, host.Stderr = w, os.Stderr
	if err := host.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	b := make([]byte, 16)
	if n, err := r.Read(b); string(b[:n]) != "up\n" {
		t.Errorf("%q, %v", b[:n], err)
	}
	host.Process.Kill()
	host.Wait()
	r.SetReadDeadline(time.Now().Add(30 * time.Second))
	if n, err := r.Read(b); n != 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("%q, %v: something is left", b[:n], err)
	}
}

// keptOfLimited: what is kept leaves the run's control group, and with it the limits.
func keptOfLimited(t *testing.T) {
	cmd := limited(corral.Cgroup, corral.Limits{PIDs: 20}, "sh", "-c", "{ sleep 60 & } >/dev/null 2>&1; echo $!") // which never has the output
	cmd.Leftovers = corral.KeepLeftovers
	out, err := cmd.Output()
	pid, aerr := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil || aerr != nil {
		t.Fatal(err, aerr)
	}
	defer unix.Kill(pid, unix.SIGKILL)
	theirs, own := string(readFile(t, fmt.Sprintf("/proc/%d/cgroup", pid))), string(readFile(t, "/proc/self/cgroup"))
	if theirs != own {
		t.Errorf("kept in %q, want %q", theirs, own)
	}
}

// mostlyTried are the containments that limits of a process are tried in: in all of
// them it is one helper that sets them.
func mostlyTried(always ...corral.Containment) []corral.Containment {
	if testing.Short() {
		return always
	}
	return containments
}

// detachedOfLimited: a run that is to outlive its owner is moved to where the owner
// was, when that is killed.
func detachedOfLimited(t *testing.T) {
	path, args := escape.Command("limited-host", "detach")
	host := exec.Command(path, args...)
	out, err := host.StdoutPipe()
	if err == nil {
		err = host.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var pids [2]int
	if _, err := fmt.Fscan(out, &pids[0], &pids[1]); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		defer unix.Kill(pid, unix.SIGKILL)
	}
	host.Process.Kill()
	host.Wait()
	own := string(readFile(t, "/proc/self/cgroup"))
	for _, pid := range pids {
		file := fmt.Sprintf("/proc/%d/cgroup", pid)
		theirs, err := os.ReadFile(file)
		for began := time.Now(); err == nil && string(theirs) != own && time.Since(began) < 30*time.Second; theirs, err = os.ReadFile(file) {
			time.Sleep(time.Millisecond)
		}
		if string(theirs) != own {
			t.Errorf("process %d is in %q, %v; want %q", pid, theirs, err, own)
		}
	}
}

// TestLimitsOfProcess: each member has resource limits, in whatever containment and
// however a keeper is started. The owner's stay as they are.
func TestLimitsOfProcess(t *testing.T) {
	resources := []int{unix.RLIMIT_NOFILE, unix.RLIMIT_FSIZE, unix.RLIMIT_CORE}
	ownLimits := func() (all [3]unix.Rlimit) {
		for i, resource := range resources {
			unix.Getrlimit(resource, &all[i])
		}
		return all
	}
	before := ownLimits()
	script := "for r in n c f; do ulimit -S$r; ulimit -H$r; done; "
	if os.Geteuid() != 0 { // who may raise a hard limit
		script += "ulimit -n 100 2>/dev/null && echo raised; "
	}
	script += "sh -c 'ulimit -n'"
	plain, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	forEach(t, mostlyTried(corral.Cgroup, corral.Keeper), func(t *testing.T, cont corral.Containment) {
		need(t, cont)
		for _, how := range []string{"always", "early", "off"} {
			if how != "always" && (cont != corral.Keeper || testing.Short()) {
				continue
			}
			t.Run(how, func(t *testing.T) {
				t.Setenv(stub.Switch, how)
				l := corral.Limits{OpenFiles: 64, Core: corral.LimitToZero, FileSize: 1 << 20}
				out, err := limited(cont, l, "sh", "-c", script).Output()
				if want := "64\n64\n0\n0\n2048\n2048\n64\n"; err != nil || string(out) != want {
					t.Errorf("%q, %v; want %q", out, err, want)
				}
				// Those that are not limited are as without Corral. One above the owner's
				// hard limit changes nothing.
				l = corral.Limits{FileSize: 1 << 62}
				lines := strings.SplitAfter(string(plain), "\n")
				out, err = limited(cont, l, "sh", "-c", script).Output()
				if got := strings.SplitAfter(string(out), "\n"); err != nil || strings.Join(got[:4], "") != strings.Join(lines[:4], "") {
					t.Errorf("%q, %v; want %q", out, err, plain)
				}
			})
		}
	})
	if after := ownLimits(); after != before {
		t.Errorf("the owner's limits are %v, were %v", after, before)
	}
}

// TestLimiterIsTransparent: beside its limits, the command has what it has without
// them, and an error of its start is the same.
func TestLimiterIsTransparent(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "plain"), []byte("no program\n"))
	signal.Ignore(syscall.SIGUSR2, syscall.SIGQUIT)
	defer signal.Reset(syscall.SIGUSR2, syscall.SIGQUIT)
	const look = `printf '%s|' "$0" "$@"; pwd; env | sort; ls /proc/self/fd | wc -l; grep -E 'Sig(Blk|Ign)|^Groups' /proc/self/status; readlink /proc/self/fd/3`
	forEach(t, mostlyTried(corral.Keeper), func(t *testing.T, cont corral.Containment) {
		need(t, cont)
		for name, set := range map[string]func(*corral.Cmd){
			"sees": func(cmd *corral.Cmd) {
				cmd.Args = []string{"an sh", "-c", look, "zero", "a b", ""}
				cmd.Env = []string{"A=1", "GODEBUG=x", "LD_LIBRARY_PATH=/nowhere", "PATH=" + os.Getenv("PATH"), "EMPTY="}
				cmd.Dir = dir
			},
			"descriptors": func(cmd *corral.Cmd) {
				f, err := os.Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { f.Close() })
				cmd.Args, cmd.ExtraFiles = []string{"sh", "-c", look}, []*os.File{f, nil, f}
			},
			"status":       func(cmd *corral.Cmd) { cmd.Args = []string{"sh", "-c", "exit 7"} },
			"signal":       func(cmd *corral.Cmd) { cmd.Args = []string{"sh", "-c", "kill -TERM $$"} },
			"missing":      func(cmd *corral.Cmd) { cmd.Path = filepath.Join(dir, "missing") },
			"no program":   func(cmd *corral.Cmd) { cmd.Path = filepath.Join(dir, "plain") },
			"no directory": func(cmd *corral.Cmd) { cmd.Dir = filepath.Join(dir, "missing") },
			"credential": func(cmd *corral.Cmd) {
				cmd.Args = []string{"sh", "-c", "id -u; id -g; id -G; grep SigIgn /proc/self/status"}
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534, Groups: []uint32{65534}}}
			},
			"capabilities": func(cmd *corral.Cmd) {
				cmd.Args = []string{"sh", "-c", "id -u; grep Cap /proc/self/status"}
				cmd.SysProcAttr = &syscall.SysProcAttr{AmbientCaps: []uintptr{unix.CAP_NET_BIND_SERVICE, unix.CAP_SYS_ADMIN}}
				if os.Getuid() == 0 {
					cmd.SysProcAttr.Credential = &syscall.Credential{Uid: 65534, Gid: 65534}
				}
			},
			"chroot": func(cmd *corral.Cmd) {
				cmd.Path, cmd.SysProcAttr, cmd.Dir = "/missing", &syscall.SysProcAttr{Chroot: dir}, "/"
			},
		} {
			if testing.Short() && name != "sees" && name != "missing" {
				continue
			}
			t.Run(name, func(t *testing.T) {
				run := func(l corral.Limits) (string, string) {
					cmd := limited(cont, l, "sh", "-c", ":")
					set(cmd)
					out, err := cmd.Output()
					var path *fs.PathError
					if errors.As(err, &path) {
						return "", fmt.Sprint(path.Op, path.Path, path.Err)
					}
					return string(out), fmt.Sprint(err)
				}
				want, wantErr := run(corral.Limits{})
				got, gotErr := run(corral.Limits{Core: 1 << 40})
				if got != want || gotErr != wantErr {
					t.Errorf("%q, %s\nwant %q, %s", got, gotErr, want, wantErr)
				}
			})
		}
	})
}

// TestLimiterHelperPath: the helper may be another program, and one that does not know
// its role is an error.
func TestLimiterHelperPath(t *testing.T) {
	own, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(t.TempDir(), "other")
	if out, err := exec.Command("cp", own, other).CombinedOutput(); err != nil {
		t.Fatalf("%v, %s", err, out)
	}
	defer func() { corral.HelperPath = "" }()
	forEach(t, mostlyTried(corral.Keeper), func(t *testing.T, cont corral.Containment) {
		need(t, cont)
		corral.HelperPath = other
		out, err := limited(cont, corral.Limits{Core: corral.LimitToZero}, "sh", "-c", "ulimit -c").Output()
		if err != nil || string(out) != "0\n" {
			t.Errorf("another program: %q, %v", out, err)
		}
		corral.HelperPath = "/bin/true"
		cmd := limited(cont, corral.Limits{Core: corral.LimitToZero}, "sh", "-c", ":")
		if err := cmd.Run(); err == nil || !strings.Contains(err.Error(), "does HelperPath, /bin/true, import this version") {
			t.Errorf("a program that is no helper: %v", err)
		}
		corral.HelperPath = ""
	})
}

// manyLimited: runs with limits and without go on side by side.
func manyLimited(t *testing.T) {
	var all sync.WaitGroup
	side, each := 12, 3
	if testing.Short() {
		side, each = 4, 1
	}
	for i := range side {
		all.Go(func() {
			l := corral.Limits{}
			if i%2 == 0 {
				l = corral.Limits{Memory: 64 << 20, PIDs: 100 + i}
			}
			for range each {
				const script = `cat /sys/fs/cgroup$(sed -n s/^0:://p /proc/self/cgroup)/pids.max; exit 3`
				cmd := limited(corral.Cgroup, l, "sh", "-c", script)
				out, err := cmd.Output()
				var exit *corral.ExitError
				if !errors.As(err, &exit) || exit.ExitCode() != 3 || l.PIDs > 0 && string(out) != fmt.Sprintln(l.PIDs) || l.PIDs == 0 && len(out) > 0 {
					t.Errorf("%+v: %q, %v", l, out, err)
				}
			}
		})
	}
	all.Wait()
}

// TestLimitsRefused: what cannot be enforced is an error before anything is started.
func TestLimitsRefused(t *testing.T) {
	started := filepath.Join(t.TempDir(), "started")
	for _, l := range []corral.Limits{{Memory: 1 << 30}, {PIDs: 100}, {CPUs: 1}, {Memory: 1 << 30, Core: 1}} {
		for _, cont := range []corral.Containment{corral.PIDNS, corral.Keeper, corral.Group} {
			cmd := corral.Command("touch", started)
			cmd.Limits, cmd.Containment, cmd.Require = l, cont, cont
			var none *corral.ContainmentError
			if err := cmd.Run(); !errors.As(err, &none) || !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "limits all members together") {
				t.Errorf("%s: %v", cont, err)
			}
		}
		// By default there is cgroup, or nothing.
		cmd := corral.Command("touch", started)
		cmd.Limits = l
		err := cmd.Run()
		if err == nil && cmd.Report().Containment == corral.Cgroup {
			os.Remove(started)
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "cannot be limited") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%+v: %v", l, err)
		}
		t.Logf("%v", err)
	}
	if exists(started) {
		t.Error("a command was started without the limits")
	}
}

func TestLimitsCheck(t *testing.T) {
	for _, l := range []corral.Limits{
		{Memory: -1}, {PIDs: -1}, {CPUs: -1}, {CPUs: 0.001}, {CPUs: math.NaN()}, {CPUs: math.Inf(1)}, {OpenFiles: -1}, {FileSize: -2}, {Core: -2},
	} {
		cmd := corral.Command("true")
		cmd.Limits = l
		if err := cmd.Run(); err == nil || !strings.HasPrefix(err.Error(), "corral: ") || !strings.Contains(err.Error(), "Limits.") {
			t.Errorf("%+v: %v", l, err)
		}
	}
}

// TestAccounting: the Report has what is known of the run, and nothing of what is not.
func TestAccounting(t *testing.T) {
	path, args := escape.Command("eater", "40")
	forEach(t, mostlyTried(corral.Cgroup), func(t *testing.T, cont corral.Containment) {
		need(t, cont)
		plain := contained(cont, path, args...)
		if err := plain.Run(); err != nil || plain.Report().Usage != nil {
			t.Errorf("not asked for: %v, %+v", err, plain.Report().Usage)
		}
		for range 2 { // a directory that has been used before would count that
			cmd := contained(cont, "sh", "-c", path+" '"+strings.Join(args, "' '")+"'; :")
			cmd.Accounting = true
			if err := cmd.Run(); err != nil {
				t.Fatal(err)
			}
			checkUsage(t, cont, cmd.Report())
		}
	})
}

func checkUsage(t *testing.T, cont corral.Containment, rep *corral.Report) {
	t.Helper()
	u := rep.Usage
	if u.Leader.UserTime == nil || u.Leader.PeakMemory == nil || u.Leader.Read == nil || *u.Leader.PeakMemory < 40<<20 {
		t.Errorf("leader: %+v", u.Leader)
	}
	if known := u.Run.UserTime != nil; known != (cont == corral.Cgroup) {
		t.Errorf("run: %+v", u.Run)
	}
	if cont == corral.Cgroup {
		// The kernel counts in two ways, but the same.
		leader, run := *u.Leader.UserTime+*u.Leader.SystemTime, *u.Run.UserTime+*u.Run.SystemTime
		if run < leader-leader/5-20*time.Millisecond || run > leader+leader/5+20*time.Millisecond {
			t.Errorf("the run has used %v, the leader and its child %v", run, leader)
		}
	}
	b, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	if has := bytes.Contains(b, []byte(`"peak_pids"`)); has != (u.Run.PeakPIDs != nil) {
		t.Errorf("%s", b)
	}
	var again corral.Report
	if err := json.Unmarshal(b, &again); err != nil {
		t.Fatal(err)
	}
	if b2, err := json.Marshal(again); err != nil || !bytes.Equal(b, b2) {
		t.Errorf("%s\nread again is\n%s, %v", b, b2, err)
	}
}

// TestAccountingOfAll: with controllers, more is known.
func TestAccountingOfAll(t *testing.T) {
	delegated.Here(t)
	path, args := escape.Command("eater", "40")
	cmd := contained(corral.Cgroup, path, args...)
	cmd.Accounting = true
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	checkUsage(t, corral.Cgroup, cmd.Report())
	run := cmd.Report().Usage.Run
	if run.PeakMemory == nil || *run.PeakMemory < 40<<20 || run.Read == nil || run.Written == nil {
		t.Errorf("%+v", run)
	}
}
