package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

var sessionMachine = flag.Bool("session", false, "this is the virtual machine of .ci/session")

// TestUserSession is about corral in logins by ssh of a user without privileges, with a
// real systemd. The user is alice, who may come with the key of root, who runs this.
func TestUserSession(t *testing.T) {
	if !*sessionMachine {
		t.Skip("SKIPPED: .ci/session runs this in a virtual machine")
	}
	type named struct {
		name string
		test func(*testing.T)
	}
	run := func(tests []named) {
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				tt.test(t)
				awaitNoScope(t)
			})
		}
	}
	// A login that lasts: to start a manager takes an emulated machine several seconds.
	logout := stayLoggedIn(t)
	run([]named{
		{"containment", testSessionContainment},
		{"controllers", testSessionControllers},
		{"limits", testSessionLimits},
		{"nested", testSessionNested},
		{"leftovers", testSessionLeftovers},
		{"owner killed", testSessionOwnerKilled},
		{"stop", testSessionStop},
		{"no login", testSessionNoLogin},
		{"doctor", testSessionDoctor},
		{"cost", testSessionCost},
		{"hung manager", testSessionHung},
		{"no bus", testSessionNoBus},
	})
	logout()
	run([]named{
		{"logout", testSessionLogout},
		{"lingering", testSessionLingering},
	})
}

// stayLoggedIn logs alice in until the function that it returns is called. Her manager
// and her bus are up when it returns.
func stayLoggedIn(t *testing.T) (logout func()) {
	t.Helper()
	cmd := login(t, "15m", "busctl --user list >/dev/null && echo up && exec cat")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "up\n" {
		t.Fatalf("alice cannot log in: %q, %v", line, err)
	}
	return func() {
		stdin.Close()
		cmd.Wait()
	}
}

// reply is what a command of alice's has said, and its exit status.
type reply struct {
	stdout, stderr string
	status         int
}

// alice has a shell run a script in a login of its own.
func alice(t *testing.T, script string) reply {
	t.Helper()
	cmd := login(t, "3m", script)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() < 0) {
		t.Fatalf("%s: %v, stdout %q, stderr %q", script, err, &stdout, &stderr)
	}
	return reply{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// login is bounded: a login that hangs is a failure of its test.
func login(t *testing.T, limit, script string) *exec.Cmd {
	t.Helper()
	return exec.CommandContext(t.Context(), "timeout", limit, "ssh", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "alice@127.0.0.1", script)
}

// await waits until a look says that something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	t.Log("awaited:", what)
	for end := time.Now().Add(90 * time.Second); !so(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain: %s", what)
		}
	}
}

// scopeDirs are the control groups of scopes that corral has made.
func scopeDirs(t *testing.T) []string {
	t.Helper()
	dirs, err := filepath.Glob("/sys/fs/cgroup/user.slice/user-*.slice/user@*.service/app.slice/corral-*")
	if err != nil {
		t.Fatal(err)
	}
	return dirs
}

// awaitNoScope fails a test whose scopes do not end by themselves.
func awaitNoScope(t *testing.T) {
	t.Helper()
	await(t, "no scope is left", func() bool { return len(scopeDirs(t)) == 0 })
}

var scopePath = regexp.MustCompile(`^0::/user\.slice/user-1000\.slice/user@1000\.service/app\.slice/corral-\d+-[0-9a-f]{8}\.scope/main/corral-`)

// Control groups that are asked for are to be had; what does without them stays in the
// session.
func testSessionContainment(t *testing.T) {
	for _, tt := range []struct {
		flags  string
		scope  bool
		status int
	}{
		{"", false, 0},
		{"--user-scope always", true, 0},
		{"--containment cgroup", true, 0},
		{"--require cgroup", true, 0},
		{"--containment cgroup --user-scope never", false, 0},
		{"--require cgroup --user-scope never", false, 125},
		{"--containment keeper --user-scope always", false, 0},
	} {
		got := alice(t, "corral "+tt.flags+" -- cat /proc/self/cgroup")
		if got.status != tt.status || tt.status == 0 && (got.stderr != "" || scopePath.MatchString(got.stdout) != tt.scope) {
			t.Errorf("%s: %+v; want a scope: %v", tt.flags, got, tt.scope)
		}
		if !tt.scope && tt.status == 0 && !strings.Contains(got.stdout, "/user-1000.slice/session-") {
			t.Errorf("%s: in %q, not in the session", tt.flags, got.stdout)
		}
	}
}

// The scope can hand controllers on: no process is in it itself.
func testSessionControllers(t *testing.T) {
	got := alice(t, `corral --require cgroup -- sh -ec '
		scope=/sys/fs/cgroup$(sed "s/^0:://; s,/main/.*,," /proc/self/cgroup)
		cat $scope/cgroup.controllers $scope/cgroup.procs
		echo "+memory +pids" >$scope/cgroup.subtree_control
		cat $scope/cgroup.subtree_control'`)
	lines := strings.Split(got.stdout, "\n")
	if got.status != 0 || len(lines) != 3 || !strings.Contains(lines[0], "memory") || !strings.Contains(lines[0], "pids") || lines[1] != "memory pids" {
		t.Errorf("%+v", got)
	}
}

// A limit is worth a scope, and is in force before the command begins.
func testSessionLimits(t *testing.T) {
	const limits, script = "corral --memory 64M --pids 50 ", ` -- sh -c 'cd /sys/fs/cgroup$(sed s/^0::// /proc/self/cgroup) && cat memory.max pids.max'`
	if got := alice(t, limits+script); got.status != 0 || got.stdout != "67108864\n50\n" || got.stderr != "" {
		t.Errorf("%+v", got)
	}
	if got := alice(t, limits+"--user-scope never"+script); got.status != 125 || got.stdout != "" {
		t.Errorf("without a scope: %+v", got)
	}
}

// A corral in a run has control groups already.
func testSessionNested(t *testing.T) {
	got := alice(t, "corral --require cgroup -- corral --require cgroup -- cat /proc/self/cgroup")
	if got.status != 0 || strings.Count(got.stdout, ".scope/") != 1 || strings.Count(got.stdout, "/corral-") != 3 {
		t.Errorf("%+v", got)
	}
}

// What leaves session and parent is a member all the same, and the scope ends with the
// last process. What is kept, stays in it.
func testSessionLeftovers(t *testing.T) {
	got := alice(t, `corral --require cgroup -- sh -c 'setsid sh -c "sleep 61 & exec sleep 62" >/dev/null 2>&1 & until pgrep -fx "sleep 61" && pgrep -fx "sleep 62"; do sleep .1; done >/dev/null'; pgrep -x sleep`)
	if !strings.Contains(got.stderr, "stopped 2 leftover processes") || got.stdout != "" {
		t.Errorf("stopped: %+v", got)
	}
	awaitNoScope(t)
	got = alice(t, `corral --require cgroup --leftovers keep -- sh -c 'setsid sleep 63 >/dev/null 2>&1 & until pgrep -fx "sleep 63"; do sleep .1; done >/dev/null'; cat /proc/$(pgrep -x sleep)/cgroup; pkill -x sleep`)
	if !strings.Contains(got.stdout, ".scope/main\n") {
		t.Errorf("kept: %+v", got)
	}
}

// The guard is in the scope, and stops what an owner leaves that is killed.
func testSessionOwnerKilled(t *testing.T) {
	got := alice(t, `corral --require cgroup -- sh -c 'setsid sleep 64 & echo up; wait' >up & owner=$!
		until grep -q up up; do sleep .1; done
		kill -9 $owner; wait $owner; echo $?
		while pgrep -x sleep >/dev/null; do sleep .1; done; echo gone`)
	if got.stdout != "137\ngone\n" {
		t.Errorf("%+v", got)
	}
}

// witness is a script that waits, and writes the signals that it gets to the file log.
const witness = `sh -c 'trap "echo USR1 >>log; exit 5" USR1; trap "echo TERM >>log" TERM; echo up >log; while :; do sleep .1; done'`

// If systemd is to end the scope, corral's plan is what the members see.
func testSessionStop(t *testing.T) {
	got := alice(t, `corral --require cgroup --stop USR1:30s,TERM:30s -- `+witness+` & owner=$!
		until grep -q up log; do sleep .1; done
		systemctl --user show -p Description,CollectMode,Delegate,TimeoutStopUSec 'corral-*.scope'
		systemctl --user stop 'corral-*.scope'
		wait $owner; echo $?; cat log; rm log
		systemctl --user list-units --all --plain --no-legend 'corral-*.scope'`)
	want := []string{"Description=corral sh", "CollectMode=inactive-or-failed", "Delegate=yes", "5\nup\nUSR1\n"}
	for _, part := range want {
		if !strings.Contains(got.stdout, part) {
			t.Errorf("no %q in %+v", part, got)
		}
	}
	if strings.HasSuffix(got.stdout, ".scope") {
		t.Errorf("the unit is still there: %+v", got)
	}
}

// Without a bus there is the manager's own socket; and the end is SIGTERM for all.
func testSessionNoBus(t *testing.T) {
	got := alice(t, `systemctl --user stop dbus.socket dbus.service
		mv $XDG_RUNTIME_DIR/bus $XDG_RUNTIME_DIR/nobus 2>/dev/null
		corral --require cgroup --stop USR1:30s,TERM:30s -- `+witness+` & owner=$!
		until grep -q up log; do sleep .1; done
		cat /proc/$owner/cgroup
		systemctl --user stop 'corral-*.scope'
		wait $owner; echo $?; cat log; rm log
		systemctl --user start dbus.socket`)
	if !strings.Contains(got.stdout, "/app.slice/corral-") || !strings.Contains(got.stdout, "USR1\n") || !strings.Contains(got.stdout, "\n5\n") {
		t.Errorf("%+v", got)
	}
}

// A manager that hangs costs five seconds, and a line says so.
func testSessionHung(t *testing.T) {
	got := alice(t, `manager=$(pgrep -u alice -x systemd | head -1)
		kill -STOP $manager
		until grep -q "^State:.T" /proc/$manager/status; do sleep .1; done
		date +%s%N; corral --containment cgroup -- cat /proc/self/cgroup; date +%s%N
		corral --require cgroup -- true; echo $?
		kill -CONT $manager`)
	lines := strings.Split(strings.TrimSpace(got.stdout), "\n")
	var before, after int64
	if len(lines) == 4 {
		fmt.Sscan(lines[0], &before)
		fmt.Sscan(lines[2], &after)
	}
	took := time.Duration(after - before)
	if len(lines) != 4 || !strings.Contains(lines[1], "/session-") || lines[3] != "125" || took < 5*time.Second || took > 30*time.Second ||
		!strings.Contains(got.stderr, "no answer within 5s") {
		t.Errorf("%+v, took %v", got, took)
	}
	await(t, "the late scopes are gone", func() bool { return len(scopeDirs(t)) == 0 })
}

// nohup has alice start the witness in a login that ends at once, and returns the
// directory of its log and of corral's report.
func nohup(t *testing.T, name, flags string) (dir string) {
	t.Helper()
	got := alice(t, `busctl --user list >/dev/null; mkdir `+name+` && cd `+name+` || exit
		nohup corral `+flags+` --stop USR1:30s,TERM:30s --report report -- `+witness+` >/dev/null 2>said </dev/null &
		until grep -qs up log; do sleep .1; kill -0 $! || { cat said >&2; exit 9; }; done`)
	if got.status != 0 {
		t.Fatalf("%+v", got)
	}
	return "/home/alice/" + name
}

func content(path ...string) string {
	b, _ := os.ReadFile(filepath.Join(path...))
	return string(b)
}

// awaitStopped waits for the report of a run that was stopped as planned.
func awaitStopped(t *testing.T, dir string) {
	t.Helper()
	await(t, dir+" has a report", func() bool { return json.Valid([]byte(content(dir, "report"))) })
	var report struct{ Ending string }
	if err := json.Unmarshal([]byte(content(dir, "report")), &report); err != nil || content(dir, "log") != "up\nUSR1\n" || report.Ending != "stopped" {
		t.Errorf("%s: %v, %+v, log %q", dir, err, report, content(dir, "log"))
	}
}

// awaitLogout waits until logind knows that alice has logged out.
func awaitLogout(t *testing.T) {
	t.Helper()
	await(t, "alice has logged out", func() bool {
		out, _ := exec.Command("loginctl", "show-user", "--property=State", "--value", "alice").Output()
		return !slices.Contains([]string{"active", "online", "opening"}, strings.TrimSpace(string(out)))
	})
}

// The scope ends with the last session, by corral's plan, if no process of a session is
// left. A run without a scope is such a process, and goes on. That is why a scope is not
// what everybody gets.
func testSessionLogout(t *testing.T) {
	awaitStopped(t, nohup(t, "alone", "--require cgroup"))
	await(t, "the manager ends", func() bool { return systemctl("is-active", "user@1000.service") != "active" })

	inSession := nohup(t, "session", "")
	awaitLogout(t)
	beside := nohup(t, "beside", "--require cgroup")
	awaitLogout(t)
	if content(inSession, "log") != "up\n" || content(beside, "log") != "up\n" || len(scopeDirs(t)) != 1 {
		t.Errorf("logs %q and %q, scopes %q", content(inSession, "log"), content(beside, "log"), scopeDirs(t))
	}
	exec.Command("pkill", "-TERM", "-x", "corral").Run()
	awaitStopped(t, inSession)
	awaitStopped(t, beside)
}

func systemctl(args ...string) string {
	out, _ := exec.Command("systemctl", args...).Output()
	return strings.TrimSpace(string(out))
}

// A user who lingers has the manager, and the run, after the logout.
func testSessionLingering(t *testing.T) {
	if out, err := exec.Command("loginctl", "enable-linger", "alice").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	dir := nohup(t, "lingering", "--require cgroup")
	awaitLogout(t)
	if content(dir, "log") != "up\n" || systemctl("is-active", "user@1000.service") != "active" || len(scopeDirs(t)) != 1 {
		t.Errorf("log %q, scopes %q", content(dir, "log"), scopeDirs(t))
	}
	if out, err := exec.Command("loginctl", "disable-linger", "alice").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	awaitStopped(t, dir)
}

// What is no login stays where it is: a service's limits are to hold it.
func testSessionNoLogin(t *testing.T) {
	cmd := exec.Command("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "env", "-i", "PATH="+os.Getenv("PATH"), "XDG_RUNTIME_DIR=/run/user/1000",
		"corral", "--require", "cgroup", "--", "true")
	out, _ := cmd.CombinedOutput()
	if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), ".service is not the control group of a login session") {
		t.Errorf("%v: %s", cmd.ProcessState, out)
	}
}

func testSessionDoctor(t *testing.T) {
	got := alice(t, "corral doctor --json")
	var d diagnosis
	if err := json.Unmarshal([]byte(got.stdout), &d); err != nil {
		t.Fatalf("%v: %+v", err, got)
	}
	l := d.Host.Linux
	if l == nil || !l.UserScope.Works || l.UserScope.Lingers || !slices.Contains(l.UserScope.Controllers, "memory") || d.Auto != "keeper" ||
		!strings.Contains(strings.Join(d.Improve, "\n"), "corral --containment cgroup, which moves itself") {
		t.Errorf("%s", got.stdout)
	}
	got = alice(t, "env -u XDG_RUNTIME_DIR corral doctor")
	if !strings.Contains(got.stdout, "user scope") || !strings.Contains(got.stdout, "no: XDG_RUNTIME_DIR is not set") {
		t.Errorf("%s", got.stdout)
	}
	t.Logf("%s", alice(t, "corral doctor").stdout)
}

// The times are for the log: nobody judges them here.
func testSessionCost(t *testing.T) {
	for _, flags := range []string{"--version", "--containment keeper -- true", "--containment cgroup -- true"} {
		got := alice(t, `for i in 1 2 3 4 5; do s=$(date +%s%N); corral `+flags+` >/dev/null; e=$(date +%s%N); echo $(( (e - s) / 1000 )); done | sort -n | sed -n 3p`)
		t.Logf("%s: %s µs in the median of 5", flags, strings.TrimSpace(got.stdout))
	}
}
