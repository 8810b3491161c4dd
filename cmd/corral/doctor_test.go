//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/promise"
)

// The doctor tells of what is promised for this system, all of it and nothing
// else, and knows each for what it is.
func TestDoctorPromises(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	d := diagnose(program)
	var told []promise.Promise
	for i, f := range d.Containments {
		if f.Works == (f.Reason != "") || f.Auto != (f.Containment == d.Auto) || f.Auto && !f.Works {
			t.Errorf("%+v, auto is %q", f, d.Auto)
		}
		told = append(told, promise.Promise{Containment: string(f.Containment), Escapes: f.Escapes, OwnerKilled: f.OwnerKilled, State: f.State})
		d.Containments[i].Works = true // so that the text tells of all
	}
	promised := promise.On(d.Host.OS)
	if len(promised) == 0 || d.Auto == corral.Auto && d.AutoReason == "" {
		t.Errorf("%+v", d)
	}
	var b strings.Builder
	if err := d.writeText(&b); err != nil {
		t.Error(err)
	}
	for _, p := range promised {
		line := regexp.MustCompile(fmt.Sprintf(`(?m)^  %s +yes( \(auto\))? +%s   +%s`, p.Containment, regexp.QuoteMeta(p.Escapes), regexp.QuoteMeta(p.OwnerKilled)))
		if !line.MatchString(b.String()) {
			t.Errorf("no %s in\n%s", line, b.String())
		}
	}
	if diff := cmp.Diff(promised, told, cmpopts.IgnoreFields(promise.Promise{}, "OS", "Needs")); diff != "" {
		t.Errorf("-promised +told:\n%s", diff)
	}
}

// What is written as JSON is what is written as text, and the exit status says
// whether Auto is enough.
func TestDoctorJSON(t *testing.T) {
	var stdout, stderr bytes.Buffer
	status := run([]string{"doctor", "--json"}, &stdout, &stderr)
	var d diagnosis
	dec := json.NewDecoder(&stdout)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil || stderr.Len() > 0 {
		t.Fatalf("%v, stderr %q", err, stderr.String())
	}
	strong := d.Auto != corral.Auto && d.Auto != corral.Group
	if d.Survives != strong || (status == 0) != strong || status > 1 {
		t.Errorf("status %d, auto %q, survives: %v", status, d.Auto, d.Survives)
	}
	if d.Host.OS == "" || d.Host.Arch == "" || d.Improve == nil {
		t.Errorf("%+v", d)
	}
}

func TestDoctorText(t *testing.T) {
	d := diagnosis{
		Version: "v1.2.3",
		Auto:    corral.Keeper,
		Containments: []finding{
			{Containment: corral.Cgroup, Reason: "mkdir /x\x1b: permission denied"},
			{Containment: corral.Keeper, Works: true, Auto: true, Escapes: "nothing of note", OwnerKilled: "keeper stops all", State: promise.Tested},
			{Containment: corral.Group, Works: true, Escapes: "setsid", OwnerKilled: "only the leader is killed", State: promise.NotRun},
		},
		Host:    host{OS: "plan", Arch: "nine"},
		Improve: []string{"one", "two"},
	}
	const want = `containments                can escape        owner gets SIGKILL
  cgroup       no           mkdir /x\x1b: permission denied
  keeper       yes (auto)   nothing of note   keeper stops all
  group        yes          setsid            only the leader is killed (built, not yet run)

host
  corral   v1.2.3
  system   plan/nine

to improve
  one
  two
`
	write := func() string {
		var b bytes.Buffer
		if err := d.writeText(&b); err != nil {
			t.Error(err)
		}
		return b.String()
	}
	if diff := cmp.Diff(want, write()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	d.Improve = nil
	if got := write(); !strings.HasSuffix(got, "to improve\n  nothing that corral knows of\n") {
		t.Errorf("no advice:\n%s", got)
	}
	d.Containments = d.Containments[2:]
	d.Auto, d.AutoReason = corral.Auto, "too bad"
	if got := write(); !strings.HasSuffix(got, "to improve\n  nothing\n") || !strings.Contains(got, "\n  auto         no    too bad\n") {
		t.Errorf("no containment:\n%s", got)
	}
}

// capableHost is a host of a user who can have everything.
func capableHost() linux {
	yes := answer{Works: true}
	return linux{
		Kernel: "6.12.0", UID: 1000, Container: nil, Systemd: true, UserManager: true, Seccomp: "off", Hidepid: "0",
		Subreaper: yes, Clone3: yes,
		Cgroup: cgroups{
			Layout: "v2", Mount: "/sys/fs/cgroup", Own: "/sys/fs/cgroup/system.slice/web.service",
			Type: "domain", Mkdir: yes, Kill: yes,
		},
		Namespaces: namespaces{yes, map[string]string{usernsMax: "1000", usernsClone: "1", usernsAppArmor: "0"}},
		Pidfd:      pidfds{yes, yes, yes, yes},
	}
}

// adviceTest is a capable host that has been changed, with what does not work then,
// and what to do about it.
type adviceTest struct {
	name    string
	missing []corral.Containment
	changes changes
	want    []string // a part of each line
}

type changes []func(*linux)

var (
	noCgroup = []corral.Containment{corral.Cgroup}
	noPIDNS  = []corral.Containment{corral.PIDNS}
)

// Changes to a capable host.

func undelegated(l *linux) { l.Cgroup.Mkdir = answer{Reason: "mkdir: permission denied"} }

func readOnly(l *linux) {
	l.Cgroup.Mkdir = answer{Reason: "mkdir: read-only file system"}
	l.Cgroup.ReadOnly = true
	l.Systemd, l.UserManager = false, false
}

func versionOne(l *linux) {
	l.Cgroup = cgroups{Layout: "v1", OwnReason: "no cgroup2 file system is mounted"}
}

func noSystemd(l *linux) { l.Systemd, l.UserManager = false, false }

func rootUser(l *linux) { l.UID = 0 }

func inSession(l *linux) { l.Cgroup.Own = "/sys/fs/cgroup/user.slice/session-1.scope" }

func scoped(lingers bool, controllers ...string) func(*linux) {
	return func(l *linux) { l.UserScope = scopes{answer{Works: true}, controllers, lingers} }
}

func inContainer(names ...string) func(*linux) { return func(l *linux) { l.Container = names } }

func sysctl(name, value string) func(*linux) {
	return func(l *linux) { l.Namespaces.Sysctls[name] = value }
}

func testAdvice(t *testing.T, tests []adviceTest) {
	t.Helper()
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := capableHost()
			for _, change := range tt.changes {
				change(&l)
			}
			var found []finding
			for _, c := range []corral.Containment{corral.PIDNS, corral.Cgroup, corral.Keeper, corral.Group} {
				found = append(found, finding{Containment: c, Works: !slices.Contains(tt.missing, c)})
			}
			got := l.advice(found)
			ok := len(got) == len(tt.want)
			for i := range min(len(got), len(tt.want)) {
				ok = ok && strings.Contains(got[i], tt.want[i]) && !strings.Contains(got[i], "\n")
			}
			if !ok {
				t.Errorf("got %q; want lines with %q", got, tt.want)
			}
			if len((&host{OS: "linux", Linux: &l}).facts()) < 10 {
				t.Error("facts are missing")
			}
		})
	}
}

func TestAdvice(t *testing.T) {
	testAdvice(t, []adviceTest{
		{"all works", nil, nil, nil},
		{"both", []corral.Containment{corral.Cgroup, corral.PIDNS}, changes{readOnly, inContainer(signPodman), sysctl(usernsMax, "0")},
			[]string{"cgroup, in podman", "pidns: sysctl"}},
	})
}

func TestCgroupAdvice(t *testing.T) {
	testAdvice(t, []adviceTest{
		{"not delegated, nothing missing", nil, changes{undelegated}, nil},
		{"not delegated, service", noCgroup, changes{undelegated},
			[]string{"[Service] section of web.service, Delegate=yes", "systemd-run --user --scope -p Delegate=yes -- corral"}},
		{"not delegated, session", noCgroup,
			changes{undelegated, inSession},
			[]string{"systemd-run --user --scope -p Delegate=yes -- corral"}},
		{"not delegated, no manager of the user's", noCgroup,
			changes{undelegated, func(l *linux) { l.UserManager = false; l.Cgroup.Own = "/sys/fs/cgroup/x" }},
			[]string{"as root, systemd-run --uid=1000 -p Delegate=yes", "as root, loginctl enable-linger 1000"}},
		{"not delegated, session with scopes", noCgroup, changes{undelegated, inSession, scoped(true, "cpu", "memory", "pids")},
			[]string{"corral --containment cgroup, which moves itself to a scope"}},
		{"not delegated, session with scopes that end", noCgroup, changes{undelegated, inSession, scoped(false, "memory", "pids")},
			[]string{"systemd-run --user --scope -p Delegate=yes -- PROGRAM", "loginctl enable-linger 1000", "limits by cpu: as root, systemctl edit user@.service"}},
		{"not delegated, no systemd", noCgroup, changes{undelegated, noSystemd},
			[]string{"as root, D=/sys/fs/cgroup/system.slice/web.service/user-1000; mkdir $D && chown 1000 $D $D/cgroup.procs"}},
		{"service that may not write", noCgroup, changes{readOnly, func(l *linux) { l.Systemd = true }},
			[]string{"web.service, ProtectControlGroups=no and Delegate=yes"}},
		{"root, for no reason that shows", noCgroup, changes{undelegated, noSystemd, rootUser}, nil},
		{"docker", noCgroup, changes{readOnly, rootUser, inContainer(signDocker, "cgroup namespace")},
			[]string{"in docker: --cgroupns=private --security-opt writable-cgroups=true"}},
		{"podman", noCgroup, changes{readOnly, rootUser, inContainer(signPodman, "container=podman")},
			[]string{"in podman: --security-opt unmask=/sys/fs/cgroup"}},
		{"Kubernetes", noCgroup, changes{readOnly, rootUser, inContainer(signKubernetes)},
			[]string{"securityContext: {privileged: true}"}},
		{"some container", noCgroup, changes{readOnly, rootUser, inContainer("cgroup namespace")},
			[]string{"in podman", "in docker"}},
		{"version 1, systemd", noCgroup, changes{versionOne}, []string{"systemd.unified_cgroup_hierarchy=1"}},
		{"version 1, root", noCgroup, changes{versionOne, noSystemd, rootUser}, []string{"mount -t cgroup2 cgroup2 /run/cgroup2"}},
		{"version 1, user", noCgroup, changes{versionOne, noSystemd}, nil},
		{"version 1, container", noCgroup, changes{versionOne, noSystemd, inContainer(signDocker)},
			[]string{"the host needs version 2"}},
		{"threaded", noCgroup, changes{func(l *linux) { l.Cgroup.Type = "domain threaded" }},
			[]string{"that of /sys/fs/cgroup/system.slice/web.service is domain threaded"}},
		{"no clone3", noCgroup, changes{func(l *linux) { l.Clone3 = answer{} }},
			[]string{"clone3, Linux 5.7 or later"}},
	})
}

func TestPidfdAdvice(t *testing.T) {
	testAdvice(t, []adviceTest{
		{"no pidfd", nil, changes{func(l *linux) { l.Pidfd = pidfds{} }}, []string{"pidfd: Linux 5.3 or later"}},
		{"no pidfd, filtered", nil, changes{func(l *linux) { l.Pidfd = pidfds{}; l.Seccomp = "filter" }},
			[]string{"pidfd: Linux 5.3 or later; if it is that, the seccomp filter refuses the call"}},
	})
}

func TestNamespaceAdvice(t *testing.T) {
	testAdvice(t, []adviceTest{
		{"user namespaces, clone", noPIDNS, changes{sysctl(usernsClone, "0")},
			[]string{"pidns: sysctl -w kernel.unprivileged_userns_clone=1"}},
		{"user namespaces, limit", noPIDNS, changes{sysctl(usernsMax, "0")},
			[]string{"pidns: sysctl -w user.max_user_namespaces=10000"}},
		{"user namespaces, AppArmor", noPIDNS, changes{sysctl(usernsAppArmor, "1")},
			[]string{"pidns: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"}},
		{"user namespaces, nobody asked", nil, changes{sysctl(usernsMax, "0")}, nil},
		{"namespaces in a container", noPIDNS,
			changes{rootUser, inContainer(signDocker), func(l *linux) { l.Seccomp = "filter" }}, []string{"pidns: the container engine"}},
	})
}

func TestDoctorArguments(t *testing.T) {
	for _, args := range [][]string{{"doctor", "x"}, {"doctor", "--yaml"}} {
		var stdout, stderr bytes.Buffer
		if status := run(args, &stdout, &stderr); status != 125 || stdout.Len() > 0 || !strings.HasSuffix(stderr.String(), "see 'corral doctor --help'\n") {
			t.Errorf("%q: status %d, stdout %q, stderr %q", args, status, stdout.String(), stderr.String())
		}
	}
}
