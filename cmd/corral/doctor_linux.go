package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/cgroup"
	"github.com/corral-run/corral/internal/pgroup"
)

// inspectLinux finds the facts by doing, where that is harmless, and by reading
// elsewhere.
func inspectLinux() *linux {
	l := &linux{
		UID:        os.Geteuid(),
		PID1:       os.Getpid() == 1,
		Container:  containerSigns(),
		Systemd:    exists("/run/systemd/system"), // sd_booted(3)
		Seccomp:    seccomp(),
		Hidepid:    hidepid(mountinfo()),
		Subreaper:  subreaper(),
		Clone3:     clone3(),
		Cgroup:     inspectCgroups(),
		Namespaces: inspectNamespaces(),
		Pidfd:      inspectPidfd(),
	}
	l.UserManager = l.Systemd && exists(fmt.Sprintf("/run/user/%d/systemd", l.UID))
	l.UserScope = inspectScopes(l.Cgroup.Mount, l.UID)
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		l.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	return l
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readWord returns the content of a file of one line.
func readWord(path string) (string, error) {
	b, err := os.ReadFile(path)
	return strings.TrimSpace(string(b)), err
}

// failed is the answer to a call that has failed.
func failed(call string, err error) answer {
	var errno syscall.Errno
	var path *fs.PathError
	switch {
	case errors.As(err, &path) && path.Op == call:
		return answer{Reason: path.Error()}
	case errors.As(err, &errno):
		return answer{Reason: call + ": " + errno.Error()}
	}
	return answer{Reason: fmt.Sprintf("%s: %v", call, err)}
}

// answerTo interprets a call that was made so that it fails or does nothing: the
// kernel has it unless err is one of these.
func answerTo(call string, err error, absent ...syscall.Errno) answer {
	for _, errno := range append(absent, unix.ENOSYS, unix.EPERM) {
		if errors.Is(err, errno) {
			return failed(call, err)
		}
	}
	return answer{Works: true}
}

func containerSigns() []string {
	signs := []string{}
	for _, file := range []string{signDocker, signPodman} {
		if exists(file) {
			signs = append(signs, file)
		}
	}
	if os.Getenv(signKubernetes) != "" {
		signs = append(signs, signKubernetes)
	}
	if kind := os.Getenv("container"); kind != "" { // systemd's Container Interface
		signs = append(signs, "container="+kind)
	}
	// The first namespace of a kernel has a number of its own: PROC_CGROUP_INIT_INO
	// in include/linux/proc_ns.h.
	const first = 0xEFFFFFFB
	var st unix.Stat_t
	if unix.Stat("/proc/self/ns/cgroup", &st) == nil && st.Ino != first {
		signs = append(signs, "cgroup namespace")
	}
	return signs
}

// seccomp is the mode of this process: proc_pid_status(5).
func seccomp() string {
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if mode, ok := strings.CutPrefix(line, "Seccomp:"); ok {
			return map[string]string{"0": "off", "1": "strict", "2": "filter"}[strings.TrimSpace(mode)]
		}
	}
	return ""
}

// mounted is a line of mountinfo: proc_pid_mountinfo(5).
type mounted struct{ point, kind, options string }

func mountinfo() []mounted {
	text, _ := os.ReadFile("/proc/self/mountinfo")
	var all []mounted
	for line := range strings.Lines(string(text)) {
		before, after, _ := strings.Cut(strings.TrimSpace(line), " - ")
		first, last := strings.Fields(before), strings.Fields(after)
		if len(first) >= 6 && len(last) >= 2 {
			m := mounted{point: first[4], kind: last[0]}
			m.options = last[len(last)-1] // those of the file system
			all = append(all, m)
		}
	}
	return all
}

// hidepid is the option of the last mount at /proc, which hides those before.
func hidepid(mounts []mounted) string {
	value := "0"
	for _, m := range mounts {
		if m.point != "/proc" || m.kind != "proc" {
			continue
		}
		value = "0"
		for option := range strings.SplitSeq(m.options, ",") {
			if v, ok := strings.CutPrefix(option, "hidepid="); ok && v != "off" {
				value = v
			}
		}
	}
	return value
}

// subreaper only asks: this process is not to become one.
func subreaper() answer {
	var is int32
	err := unix.Prctl(unix.PR_GET_CHILD_SUBREAPER, uintptr(unsafe.Pointer(&is)), 0, 0, 0)
	return answerTo("prctl(PR_GET_CHILD_SUBREAPER)", err, unix.EINVAL)
}

// clone3 asks for nothing, which is an invalid request.
func clone3() answer {
	_, _, errno := unix.RawSyscall(unix.SYS_CLONE3, 0, 0, 0)
	return answerTo("clone3", errno)
}

func inspectCgroups() cgroups {
	c := cgroups{Layout: "none", Controllers: []string{}}
	for _, m := range mountinfo() {
		switch {
		case m.kind == "cgroup2" && c.Layout == "v1", m.kind == "cgroup" && c.Layout == "v2":
			c.Layout = "hybrid"
		case m.kind == "cgroup2" && c.Layout == "none":
			c.Layout = "v2"
		case m.kind == "cgroup" && c.Layout == "none":
			c.Layout = "v1"
		}
	}
	own, err := cgroup.Own()
	if err != nil {
		c.OwnReason = strings.TrimPrefix(err.Error(), "cgroup: the process's own: ")
		return c
	}
	c.Own = own
	for dir := own; ; dir = filepath.Dir(dir) {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) != nil || fs.Type != unix.CGROUP2_SUPER_MAGIC {
			break
		}
		c.Mount = dir
		c.ReadOnly = c.ReadOnly || dir == own && fs.Flags&unix.ST_RDONLY != 0
		c.Marked = c.Marked || markedDelegated(dir)
		if dir == filepath.Dir(dir) {
			break
		}
	}
	c.Type, err = readWord(filepath.Join(own, "cgroup.type"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Type = "root"
	case err != nil:
		c.Type = err.Error()
	}
	controllers, _ := readWord(filepath.Join(own, "cgroup.controllers"))
	c.Controllers = append(c.Controllers, strings.Fields(controllers)...)

	made, err := os.MkdirTemp(own, "doctor-*")
	if err != nil {
		c.Mkdir = failed("mkdir", err)
	} else {
		c.Mkdir = answer{Works: true}
		defer os.Remove(made)
	}
	c.Kill = killFile(own, made)
	return c
}

// killFile looks for cgroup.kill. The root of the hierarchy has no such file,
// but what is below it has: made, or any other.
func killFile(own, made string) answer {
	dirs := []string{own}
	if made != "" {
		dirs = append(dirs, made)
	}
	entries, _ := os.ReadDir(own)
	for _, entry := range entries {
		if entry.IsDir() {
			dirs = append(dirs, filepath.Join(own, entry.Name()))
		}
	}
	var a answer
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "cgroup.kill")); err == nil {
			return answer{Works: true}
		} else if a.Reason == "" {
			a = failed("stat", err)
		}
	}
	return a
}

// markedDelegated says whether systemd has marked dir as that of a delegated unit.
func markedDelegated(dir string) bool {
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Getxattr(dir, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}

func inspectNamespaces() namespaces {
	n := namespaces{answer: answer{Works: true}, Sysctls: make(map[string]string)}
	for _, name := range []string{usernsClone, usernsMax, usernsAppArmor} {
		if value, err := readWord("/proc/sys/" + strings.ReplaceAll(name, ".", "/")); err == nil {
			n.Sysctls[name] = value
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "--version")
	cmd.Args[0] = "corral"
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER}
	if err := cmd.Start(); err != nil {
		n.answer = failed("clone(CLONE_NEWUSER)", err)
	} else {
		cmd.Wait() // it was started, and that is all that was asked
	}
	return n
}

// inspectPidfd asks about this process, and sends it no signal.
func inspectPidfd() pidfds {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		no := answer{Reason: "there is no pidfd to try it with"}
		return pidfds{failed("pidfd_open", err), no, no, no}
	}
	defer unix.Close(fd)
	p := pidfds{Open: answer{Works: true}}
	p.Signal = answerTo("pidfd_send_signal", unix.PidfdSendSignal(fd, 0, nil, 0))
	p.ProcessGroup = answerTo("pidfd_send_signal(PIDFD_SIGNAL_PROCESS_GROUP)",
		unix.PidfdSendSignal(fd, 0, nil, pgroup.ProcessGroup), unix.EINVAL)
	err = unix.Waitid(unix.P_PIDFD, fd, nil, unix.WEXITED|unix.WNOHANG, nil) // ECHILD: it is no child
	p.Wait = answerTo("waitid(P_PIDFD)", err, unix.EINVAL)
	return p
}
