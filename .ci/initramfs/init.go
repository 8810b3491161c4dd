//go:build linux

// Init is process 1 of the virtual machine that .ci/microvm boots. It mounts what a
// Linux system has, runs each test binary as every kind of caller, prints the
// verdict as its last line, and turns the machine off.
//
// The test binaries are /corral/PACKAGE/test. /corral/packages lists the packages,
// /corral/flags the arguments, one a line.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	source   = "/corral"
	library  = "."
	cgroupfs = "/sys/fs/cgroup"
	nobody   = 65534
)

// caller is the user that runs the tests. Each caller has a cgroup of its own, with
// all controllers, below the root cgroup: it can only make cgroups, or enable
// controllers, in what has been delegated to it.
type caller struct {
	name      string
	uid       int
	delegated bool
	skip      string // tests that others run
	alone     bool   // if the library's tests are run, it runs no others
}

// The emulation is slow, so that each containment is attacked by the callers to whom
// it makes a difference.
var callers = []caller{
	{name: "root", uid: 0, delegated: true, skip: "^TestEscape$/^keeper$|^TestContainEscape$"},
	{name: "nobody-delegated", uid: nobody, delegated: true, skip: "^TestEscape$/^group$"},
	{name: "nobody", uid: nobody, skip: namesContainment(), alone: true},
}

// namesContainment matches the tests that are made for each containment, and say so
// in their names, at any level. What they find out does not depend on what the caller
// gets by default, which is all that a delegated cgroup changes for the others.
func namesContainment() string {
	name := "^(cgroup|keeper|pidns|group)$"
	return strings.Join([]string{"./" + name, "././" + name, "./././" + name}, "|")
}

func main() {
	verdict := "ok"
	if err := run(); err != nil {
		verdict = "failed " + strings.ReplaceAll(err.Error(), "\n", ", ")
	}
	fmt.Println("MICROVM: " + verdict)
	unix.IoctlSetInt(1, unix.TCSBRK, 1) // tcdrain(3)
	unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func run() error {
	// The kernel starts process 1 in no session and no process group.
	if _, err := unix.Setsid(); err != nil {
		return fmt.Errorf("setsid: %w", err)
	}
	if err := mountAll(); err != nil {
		return err
	}
	packages, err := lines("packages")
	if err != nil {
		return err
	}
	flags, err := lines("flags")
	if err != nil {
		return err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return err
	}
	fmt.Printf("Linux %s", kernel)

	// A pipe as under go test, not the console: a test binary must not see a terminal,
	// nor be able to change ours.
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	printed := make(chan struct{})
	go func() {
		defer close(printed)
		io.Copy(os.Stdout, r)
	}()

	var failed []error
	for _, c := range callers {
		if err := c.prepare(); err != nil {
			return err
		}
		for _, pkg := range packages {
			if c.alone && pkg != library && slices.Contains(packages, library) {
				continue
			}
			fmt.Fprintf(w, "== %s as %s\n", pkg, c.name)
			began := time.Now()
			result := "ok"
			if err := c.test(pkg, c.flags(flags), w); err != nil {
				result = "FAILED: " + err.Error()
				failed = append(failed, fmt.Errorf("%s as %s (%w)", pkg, c.name, err))
			}
			fmt.Fprintf(w, "-- %s as %s: %s, %.1fs\n", pkg, c.name, result, time.Since(began).Seconds())
		}
	}
	w.Close()
	<-printed
	return errors.Join(failed...)
}

func mountAll() error {
	for _, m := range []struct{ kind, target, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"devpts", "/dev/pts", "mode=620,ptmxmode=666"},
		{"tmpfs", "/dev/shm", "mode=1777"},
		{"tmpfs", "/tmp", "mode=1777"},
		{"cgroup2", cgroupfs, ""},
	} {
		if err := os.MkdirAll(m.target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.target, m.kind, 0, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		if err := os.Symlink(fmt.Sprint("/proc/self/fd/", i), "/dev/"+name); err != nil {
			return err
		}
	}
	if err := os.Symlink("/proc/self/fd", "/dev/fd"); err != nil {
		return err
	}
	controllers, err := os.ReadFile(cgroupfs + "/cgroup.controllers")
	if err != nil {
		return err
	}
	for name := range strings.FieldsSeq(string(controllers)) {
		if err := os.WriteFile(cgroupfs+"/cgroup.subtree_control", []byte("+"+name), 0); err != nil {
			return err
		}
	}
	return nil
}

func lines(name string) ([]string, error) {
	text, err := os.ReadFile(filepath.Join(source, name))
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' }), err
}

// flags are the flags for what the caller runs, which may be told to skip more.
func (c caller) flags(all []string) []string {
	const skip = "-test.skip="
	flags, skipped := []string{}, c.skip
	for _, flag := range all {
		if more, ok := strings.CutPrefix(flag, skip); ok {
			skipped += "|" + more
			continue
		}
		flags = append(flags, flag)
	}
	return append(flags, skip+skipped)
}

func (c caller) cgroup() string { return filepath.Join(cgroupfs, c.name) }
func (c caller) tmp() string    { return filepath.Join("/tmp", c.name) }

// prepare makes the caller's cgroup, and its directory for temporary files.
func (c caller) prepare() error {
	if err := os.Mkdir(c.tmp(), 0o755); err != nil {
		return err
	}
	if err := os.Chown(c.tmp(), c.uid, c.uid); err != nil {
		return err
	}
	if err := os.Mkdir(c.cgroup(), 0o755); err != nil {
		return err
	}
	if !c.delegated {
		return nil
	}
	// As systemd does for Delegate=yes; cgroup.kill stays root's.
	for _, file := range []string{"", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"} {
		if err := os.Chown(filepath.Join(c.cgroup(), file), c.uid, c.uid); err != nil {
			return err
		}
	}
	return nil
}

// test runs the tests of a package. Nothing may be left when they are over.
func (c caller) test(pkg string, flags []string, output *os.File) error {
	cgroup, err := os.Open(c.cgroup())
	if err != nil {
		return err
	}
	defer cgroup.Close()
	dir := filepath.Join(source, pkg)
	cmd := exec.Command(filepath.Join(dir, "test"), flags...)
	cmd.Dir = dir
	cmd.Env = []string{"PATH=/bin", "HOME=" + c.tmp(), "TMPDIR=" + c.tmp()}
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:      true,
		UseCgroupFD: true,
		CgroupFD:    int(cgroup.Fd()),
	}
	if c.uid != 0 {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(c.uid), Gid: uint32(c.uid)}
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	return errors.Join(reapUntil(cmd.Process.Pid), leftovers())
}

// reapUntil reaps every child that ends, as an init does, until the one with the PID
// has ended. It returns an error if that one has failed.
func reapUntil(pid int) error {
	for {
		var status unix.WaitStatus
		ended, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case ended != pid:
		case status.Signaled():
			return fmt.Errorf("signal %v", status.Signal())
		case status.ExitStatus() != 0:
			return fmt.Errorf("status %d", status.ExitStatus())
		default:
			return nil
		}
	}
}

// leftovers removes the processes and the cgroup directories that the tests have left,
// and returns an error that names them. Killed processes get a while to die.
func leftovers() error {
	var left []string
	for range 50 {
		for { // orphans have become our children
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 && err != unix.EINTR {
				break
			}
		}
		if left = processes(); len(left) == 0 {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if len(left) > 0 {
		unix.Kill(-1, unix.SIGKILL) // all but this one
		for {
			if _, err := unix.Wait4(-1, nil, 0, nil); err != nil && err != unix.EINTR {
				break
			}
		}
	}
	for _, dir := range slices.Backward(cgroups()) { // the deepest first
		left = append(left, dir)
		os.Remove(dir)
	}
	if len(left) > 0 {
		return fmt.Errorf("left: %s", strings.Join(left, "; "))
	}
	return nil
}

// processes returns the command lines of all processes but this one. Zombies and
// kernel threads have none, and are not among them.
func processes() (found []string) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		pid := filepath.Base(filepath.Dir(file))
		line, err := os.ReadFile(file)
		if err == nil && len(line) > 0 && pid != "1" {
			words := strings.Split(strings.TrimRight(string(line), "\x00"), "\x00")
			found = append(found, fmt.Sprintf("process %s: %s", pid, strings.Join(words, " ")))
		}
	}
	return found
}

// cgroups returns the cgroups that prepare has not made, parents first.
func cgroups() (found []string) {
	known := []string{cgroupfs}
	for _, c := range callers {
		known = append(known, c.cgroup())
	}
	filepath.WalkDir(cgroupfs, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && !slices.Contains(known, path) {
			found = append(found, path)
		}
		return nil
	})
	return found
}
