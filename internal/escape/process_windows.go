package escape

import (
	"errors"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/windows"
)

// Attach gives cmd the files of Probe.Command.
func Attach(cmd *exec.Cmd, files []*os.File) {
	cmd.Stdout, cmd.Stderr, cmd.Stdin = files[0], files[1], files[2]
}

// Inherited returns the files of Probe.Command, for a registered role that was
// started with them and starts the leader itself.
func Inherited() []*os.File { return inherited() }

// A leader that writes a message writes it to the oracle, which nobody takes for
// the end of all.
var inherited = sync.OnceValue(func() []*os.File { return []*os.File{os.Stdout, os.Stderr, os.Stdin} })

func pgid() int { return 0 }

func isBrokenPipe(err error) bool {
	return errors.Is(err, windows.ERROR_BROKEN_PIPE) || errors.Is(err, windows.ERROR_NO_DATA)
}

// The signals by which a process is asked to end: Go's name for Ctrl-C and
// Ctrl-Break.
var polite = []os.Signal{os.Interrupt}

// files are the descriptors of a member.
func (p *process) files([]*os.File) []*os.File { return []*os.File{p.control, p.report, p.oracle} }

// startSleep is leaf without the report.
func (p *process) startSleep(attr *os.ProcAttr) *os.Process {
	if attr == nil {
		attr = &os.ProcAttr{}
	}
	leaf := *p
	leaf.report, leaf.control = nil, nil
	return leaf.start("leaf", nil, attr)
}

func init() { addRole("leaf", func(t *task) { (&process{task: *t}).stay() }) }
