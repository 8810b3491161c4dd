//go:build unix

package escape

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The signals by which a process is asked to end.
var polite = []os.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGTERM}

// files are the descriptors of a member: see Inherited.
func (p *process) files(extra []*os.File) []*os.File {
	return append([]*os.File{nil, nil, nil, p.report, p.oracle, p.control}, extra...)
}

// memberReady is member for a process that gets a pipe as its last descriptor. It
// returns when the process has closed the pipe, or has ended.
func (p *process) memberReady(role string, sys *syscall.SysProcAttr) *os.Process {
	open, theirs, err := os.Pipe()
	if err != nil {
		p.fail(err)
	}
	proc := p.member(role, sys, nil, theirs)
	theirs.Close()
	if _, err := open.Read(make([]byte, 1)); err == nil {
		p.fail(fmt.Errorf("the %s has written", role))
	}
	open.Close()
	return proc
}

// startSleep is leaf without the report. It starts sleep(1), as hundreds of Go
// programs take many seconds to start under the race detector.
func (p *process) startSleep(attr *os.ProcAttr) *os.Process {
	if attr == nil {
		attr = &os.ProcAttr{}
	}
	if attr.Files == nil {
		attr.Files = []*os.File{nil, nil, nil, p.oracle}
	}
	sleep, argv, err := p.sleep()
	if err != nil {
		p.fail(err)
	}
	proc, err := os.StartProcess(sleep, argv, attr)
	if err != nil {
		p.fail(err)
	}
	return proc
}

// becomeSleep turns the process into a leaf with the descriptors keep and no
// others: Go's runtime does not live without its own.
func (p *process) becomeSleep(keep ...int) {
	sleep, argv, err := p.sleep()
	if err != nil {
		p.fail(err)
	}
	for fd := range 1024 {
		syscall.CloseOnExec(fd)
	}
	for _, fd := range keep {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			p.fail(os.NewSyscallError("fcntl", err))
		}
	}
	p.fail(syscall.Exec(sleep, argv, os.Environ()))
}

// ignorers starts leaves that ignore the polite signals. Their parent is another
// process, which ends: one that has ignored a signal cannot be sure to get its
// default effect back (signal.Reset does not do it after signal.Ignore).
func (p *process) ignorers(n int) {
	p.waitFor(p.member("ignorer-parent", nil, []string{strconv.Itoa(n)}))
}

func init() { addPart("ignorer-parent", startIgnorers) }

func startIgnorers(p *process) {
	n, err := strconv.Atoi(p.args[0])
	if err != nil {
		p.fail(err)
	}
	signal.Ignore(polite...) // inherited, through exec too
	for range n {
		p.leaf("ignorer", nil)
	}
}

// sleep returns the command that stays until the deadline.
func (p *process) sleep() (path string, argv []string, err error) {
	path, err = exec.LookPath("sleep")
	seconds := max(1, int(time.Until(p.deadline).Seconds()))
	return path, []string{"sleep", strconv.Itoa(seconds)}, err
}

func pgid() int {
	own, _ := unix.Getpgid(0)
	return own
}

func isBrokenPipe(err error) bool { return errors.Is(err, syscall.EPIPE) }

// Attach gives cmd the files of Probe.Command: as ExtraFiles here, and as the
// standard ones on Windows, which has no others.
func Attach(cmd *exec.Cmd, files []*os.File) { cmd.ExtraFiles = files }

// Inherited returns the files of Probe.Command, for a registered role that was
// started with them and starts the leader itself.
func Inherited() []*os.File { return inherited() }

// The files are kept for good: Go closes one without references.
var inherited = sync.OnceValue(func() []*os.File {
	var files []*os.File
	for i, name := range []string{"report", "oracle", "control"} {
		fd := firstFile + i
		syscall.CloseOnExec(fd) // it goes only where it is handed on
		files = append(files, os.NewFile(uintptr(fd), name))
	}
	return files
})

// firstFile is the first of os/exec's ExtraFiles.
const firstFile = 3
