//go:build linux || darwin || freebsd || windows

package main

import (
	"cmp"
	"fmt"
	"path"
	"runtime"
	"slices"
	"strings"

	"github.com/corral-run/corral"
)

// host is what the doctor finds out about the machine and about the place of
// this process in it.
type host struct {
	OS    string `json:"os"`
	Arch  string `json:"arch"`
	Linux *linux `json:"linux,omitempty"`
	// Limits are those that a run can have, and Registry is where it is registered.
	Limits   *limitable  `json:"limits,omitempty"`
	Registry *registered `json:"registry,omitempty"`
}

// inspectHost finds out about the host.
func inspectHost() host {
	return host{OS: runtime.GOOS, Arch: runtime.GOARCH, Linux: inspectLinux()}
}

// linux is what decides on Linux which containments there are. It is compiled
// everywhere, so that the conclusions can be tested everywhere.
type linux struct {
	Kernel string `json:"kernel"`
	UID    int    `json:"uid"` // effective
	PID1   bool   `json:"pid_1"`
	// Container lists the signs of being in one: files, variables, namespaces.
	Container []string `json:"container_signs"`
	// Systemd says that it is the init of the machine, UserManager that it runs
	// for this user as well.
	Systemd     bool `json:"systemd"`
	UserManager bool `json:"systemd_user_manager"`
	// UserScope is whether that one gives corral a scope with control groups.
	UserScope scopes `json:"user_scope"`
	// Seccomp is "off", "strict", "filter", or empty if it is not told.
	Seccomp string `json:"seccomp"`
	// Hidepid is the option of /proc (proc(5)), "0" if it hides nothing.
	Hidepid    string     `json:"hidepid"`
	Subreaper  answer     `json:"subreaper"`
	Clone3     answer     `json:"clone3"`
	Cgroup     cgroups    `json:"cgroup"`
	Namespaces namespaces `json:"user_namespaces"`
	Pidfd      pidfds     `json:"pidfd"`
}

// answer is what a call has led to.
type answer struct {
	Works  bool   `json:"works"`
	Reason string `json:"reason,omitempty"` // the failed call, the path, the error
}

func (a answer) String() string {
	switch {
	case a.Works:
		return "yes"
	case a.Reason == "":
		return "no"
	}
	return "no: " + a.Reason
}

type cgroups struct {
	// Layout is "v2", "v1", "hybrid" if there are both, or "none".
	Layout string `json:"layout"`
	// Mount is where the version 2 hierarchy is mounted, and Own the directory
	// of this process's own cgroup in it; OwnReason is why there is none.
	Mount     string `json:"mount,omitempty"`
	Own       string `json:"own,omitempty"`
	OwnReason string `json:"own_reason,omitempty"`
	// Type is the content of cgroup.type, and "root" where there is no such file.
	Type        string   `json:"type,omitempty"`
	Controllers []string `json:"controllers"`
	ReadOnly    bool     `json:"read_only"`
	// Marked says that systemd has marked Own as delegated, or a directory above.
	Marked bool `json:"marked_delegated"`
	// Mkdir is whether a directory can be made in Own.
	Mkdir answer `json:"mkdir"`
	Kill  answer `json:"cgroup_kill"` // the file cgroup.kill is there
}

// scopes are what the user's systemd has for corral: see userScope.
type scopes struct {
	answer
	// Controllers are those that a scope can have, Lingers that it may outlast the
	// user's sessions.
	Controllers []string `json:"controllers"`
	Lingers     bool     `json:"lingers"`
}

type namespaces struct {
	answer
	// Sysctls are those that forbid user namespaces, where they exist.
	Sysctls map[string]string `json:"sysctls"`
}

type pidfds struct {
	Open         answer `json:"pidfd_open"`
	Signal       answer `json:"pidfd_send_signal"`
	Wait         answer `json:"waitid_p_pidfd"`
	ProcessGroup answer `json:"signal_process_group"`
}

const (
	usernsClone    = "kernel.unprivileged_userns_clone"
	usernsMax      = "user.max_user_namespaces"
	usernsAppArmor = "kernel.apparmor_restrict_unprivileged_userns"
)

// forbidding lists the sysctls that keep a user without privileges from
// namespaces, each with the value that does not.
func (n *namespaces) forbidding() map[string]string {
	better := make(map[string]string)
	for name, values := range map[string][2]string{
		usernsClone:    {"0", "1"},
		usernsMax:      {"0", "10000"},
		usernsAppArmor: {"1", "0"},
	} {
		if n.Sysctls[name] == values[0] {
			better[name] = values[1]
		}
	}
	return better
}

// fact is a line about the host.
type fact struct{ name, text string }

// facts are the lines about the host, in the order in which they are shown.
func (h *host) facts() []fact {
	system := h.OS + "/" + h.Arch
	steering := slices.Concat(h.Limits.facts(), h.Registry.facts())
	if h.Linux == nil {
		return append([]fact{{"system", system}}, steering...)
	}
	l := h.Linux
	return slices.Concat(
		[]fact{{"system", system + ", kernel " + l.Kernel}, {"process", l.process()}, {"systemd", l.systemd()}, {"user scope", l.UserScope.summary()}},
		l.Cgroup.facts(),
		[]fact{
			{"user namespaces", l.Namespaces.summary()},
			{"clone3", l.Clone3.String()},
			{"pidfd_open", l.Pidfd.Open.String()},
			{"pidfd_send_signal", l.Pidfd.Signal.String() + "; to a process group: " + l.Pidfd.ProcessGroup.String()},
			{"waitid(P_PIDFD)", l.Pidfd.Wait.String()},
			{"subreaper", l.Subreaper.String()},
			{"seccomp", cmp.Or(l.Seccomp, "not told")},
			{"/proc", l.visibility()},
		},
		steering)
}

// process says who this process is, and where.
func (l *linux) process() string {
	text := fmt.Sprintf("user %d", l.UID)
	if l.PID1 {
		text += ", PID 1"
	}
	if len(l.Container) > 0 {
		text += ", in a container (" + strings.Join(l.Container, ", ") + ")"
	}
	return text
}

func (l *linux) systemd() string {
	switch {
	case l.Systemd && l.UserManager:
		return "yes, also for this user"
	case l.Systemd:
		return "yes, but not for this user"
	}
	return "no"
}

// summary says whether there are scopes, what they can limit, and when they end.
func (s *scopes) summary() string {
	if !s.Works {
		return s.String()
	}
	end := "they end with the user's last session"
	if s.Lingers {
		end = "they may outlast the user's sessions"
	}
	return fmt.Sprintf("yes, with the controllers %s; %s", cmp.Or(strings.Join(s.Controllers, " "), "none"), end)
}

// advice is what to do so that there are scopes, or better ones.
func (s *scopes) advice(uid int) []string {
	lines := []string{"cgroup: corral --containment cgroup, which moves itself to a scope of this user's systemd; programs that use the library: systemd-run --user --scope -p Delegate=yes -- PROGRAM"}
	if !s.Lingers {
		lines = append(lines, fmt.Sprintf("scopes that outlast the sessions of this user: loginctl enable-linger %d", uid))
	}
	var lacking []string
	for _, name := range []string{"cpu", "memory", "pids"} {
		if !slices.Contains(s.Controllers, name) {
			lacking = append(lacking, name)
		}
	}
	if len(lacking) > 0 {
		lines = append(lines, fmt.Sprintf("limits by %s: as root, systemctl edit user@.service, and there Delegate=cpu io memory pids in the [Service] section; then log in again", strings.Join(lacking, ", ")))
	}
	return lines
}

// visibility says which processes /proc shows.
func (l *linux) visibility() string {
	if l.Hidepid == "0" {
		return "shows all processes"
	}
	return "hides other users' processes (hidepid=" + l.Hidepid + ")"
}

func (c *cgroups) facts() []fact {
	layout := c.Layout
	if c.Mount != "" {
		layout += ", version 2 at " + c.Mount
	}
	if c.Own == "" {
		return []fact{{"cgroups", layout}, {"own cgroup", "none: " + c.OwnReason}}
	}
	own := c.Own + " (" + c.Type
	if c.ReadOnly {
		own += ", read-only"
	}
	delegation := c.Mkdir.String()
	if c.Marked {
		delegation += ", marked by systemd"
	}
	return []fact{
		{"cgroups", layout},
		{"own cgroup", own + ")"},
		{"controllers", cmp.Or(strings.Join(c.Controllers, " "), "none")},
		{"delegation", delegation},
		{"cgroup.kill", c.Kill.String()},
	}
}

// summary says whether there are user namespaces, and which sysctls forbid them.
func (n *namespaces) summary() string {
	var sysctls []string
	for name := range n.forbidding() {
		sysctls = append(sysctls, name+" is "+n.Sysctls[name])
	}
	slices.Sort(sysctls)
	if len(sysctls) > 0 {
		return n.String() + " (" + strings.Join(sysctls, ", ") + ")"
	}
	return n.String()
}

// advice is what to change so that what does not work would: one line each, with
// what to write. It says only what is certain, and nothing that nobody could
// change.
func (l *linux) advice(found []finding) []string {
	works := func(c corral.Containment) bool {
		return slices.ContainsFunc(found, func(f finding) bool { return f.Containment == c && f.Works })
	}
	var lines []string
	if !works(corral.Cgroup) {
		lines = append(lines, l.cgroupAdvice()...)
	}
	if !l.Pidfd.Open.Works || !l.Pidfd.Signal.Works {
		lines = append(lines, "pidfd: "+l.newer("Linux 5.3"))
	}
	if !works(corral.PIDNS) {
		lines = append(lines, l.namespaceAdvice()...)
	}
	return lines
}

// newer says how to get a system call that the given version has.
func (l *linux) newer(version string) string {
	if l.Seccomp == "filter" {
		return version + " or later; if it is that, the seccomp filter refuses the call: update the container engine and libseccomp, or --security-opt seccomp=unconfined (docker, podman)"
	}
	return version + " or later"
}

func (l *linux) cgroupAdvice() []string {
	c := &l.Cgroup
	contained := len(l.Container) > 0
	sign := func(names ...string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(l.Container, name) })
	}
	switch {
	case c.Own == "" && contained:
		return []string{"cgroup: the host needs version 2 of the control groups, and the container --cgroupns=private (docker, podman)"}
	case (c.Layout == "v1" || c.Layout == "none") && l.Systemd:
		return []string{"cgroup: on the kernel's command line, systemd.unified_cgroup_hierarchy=1"}
	case (c.Layout == "v1" || c.Layout == "none") && l.UID == 0:
		return []string{"cgroup: mkdir -p /run/cgroup2 && mount -t cgroup2 cgroup2 /run/cgroup2"}
	case c.Own == "":
		return nil
	case c.ReadOnly && contained:
		var lines []string
		if sign(signPodman) || !sign(signDocker, signKubernetes) {
			lines = append(lines, "cgroup, in podman: --security-opt unmask=/sys/fs/cgroup")
		}
		if sign(signDocker) || !sign(signPodman, signKubernetes) {
			lines = append(lines, "cgroup, in docker: --cgroupns=private --security-opt writable-cgroups=true (since 28.0; before, --privileged)")
		}
		if sign(signKubernetes) {
			lines = append(lines, "cgroup, in Kubernetes: securityContext: {privileged: true}")
		}
		return lines
	case c.ReadOnly && l.Systemd && strings.HasSuffix(c.Own, ".service"):
		return []string{"cgroup: in the [Service] section of " + path.Base(c.Own) + ", ProtectControlGroups=no and Delegate=yes"}
	case !c.Mkdir.Works && !c.ReadOnly && l.Systemd:
		var lines []string
		if strings.HasSuffix(c.Own, ".service") {
			lines = append(lines, "cgroup: in the [Service] section of "+path.Base(c.Own)+", Delegate=yes")
		}
		if l.UserScope.Works {
			return append(lines, l.UserScope.advice(l.UID)...)
		}
		if l.UserManager {
			return append(lines, "cgroup: systemd-run --user --scope -p Delegate=yes -- corral ...")
		}
		return append(lines, fmt.Sprintf("cgroup: as root, systemd-run --uid=%d -p Delegate=yes --pty -- corral ...", l.UID),
			fmt.Sprintf("a systemd for this user: as root, loginctl enable-linger %d; then log in, by ssh or at a console, with PAM and libpam-systemd", l.UID))
	case !c.Mkdir.Works && !c.ReadOnly && l.UID != 0:
		// See "Delegation" in the kernel's Documentation/admin-guide/cgroup-v2.rst.
		dir := path.Join(c.Own, fmt.Sprintf("user-%d", l.UID))
		return []string{fmt.Sprintf("cgroup: as root, D=%s; mkdir $D && chown %d $D $D/cgroup.procs $D/cgroup.threads $D/cgroup.subtree_control && echo PID >$D/cgroup.procs, PID being that of the shell that starts corral", dir, l.UID)}
	case !c.Mkdir.Works:
		return nil
	case c.Type != "domain" && c.Type != "root":
		return []string{fmt.Sprintf("cgroup: start corral in a cgroup whose cgroup.type is domain; that of %s is %s", c.Own, c.Type)}
	case !l.Clone3.Works:
		return []string{"cgroup: clone3, " + l.newer("Linux 5.7")}
	}
	return nil
}

func (l *linux) namespaceAdvice() []string {
	var lines []string
	better := l.Namespaces.forbidding()
	for _, name := range []string{usernsClone, usernsMax, usernsAppArmor} {
		value, ok := better[name]
		// The limit is for root too, the others are not; but root needs no user
		// namespace.
		if ok && l.UID != 0 {
			lines = append(lines, fmt.Sprintf("pidns: sysctl -w %s=%s", name, value))
		}
	}
	if len(lines) == 0 && len(l.Container) > 0 && l.Seccomp == "filter" {
		lines = append(lines, "pidns: the container engine forbids new namespaces: --privileged (docker, podman)")
	}
	return lines
}

// The signs of a container that also tell which engine it is.
const (
	signDocker     = "/.dockerenv"
	signPodman     = "/run/.containerenv"
	signKubernetes = "KUBERNETES_SERVICE_HOST"
)
