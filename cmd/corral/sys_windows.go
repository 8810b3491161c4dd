package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/corral-run/corral/internal/stop"

	"github.com/corral-run/corral"
)

// errNotExecutable is ERROR_BAD_EXE_FORMAT.
const errNotExecutable = syscall.Errno(193)

// canKeep: a member cannot be taken out of a job.
const canKeep = false

// defaultUTF8: Windows has no locale variables, and its terminals show UTF-8.
const defaultUTF8 = true

// adoptOrphans: only Linux can.
const adoptOrphans = false

func ownSession(*exec.Cmd)         {} // there are no runs to leave
func takeStdin() (*os.File, error) { return nil, errors.ErrUnsupported }

// There are no real-time signals here.
const rtMin, rtMax = 0, 0

var resume os.Signal // nothing is ever stopped here

// There is no execvp(3) here.
const scriptShell, defaultPath = "", ""

// defaultShell is the shell of -c: that of Git, for one.
const defaultShell = "sh"

// noDashC reports whether a shell cannot be given a command line by -c.
func noDashC(path string) bool { return strings.EqualFold(filepath.Base(path), "cmd.exe") }

// sameVariable: names are the same in any case here.
func sameVariable(a, b string) bool { return strings.EqualFold(a, b) }

// interpreterLine: a #! line means nothing here.
func interpreterLine(string) []string { return nil }

func signalName(sig syscall.Signal) string { return stop.Names[sig] }

func signalNumber(name string) syscall.Signal {
	for sig, n := range stop.Names {
		if n == name {
			return sig
		}
	}
	return 0
}

// runSignals lists the signals that corral wants to see during a run: Ctrl-C and
// Ctrl-Break, and SIGTERM, by which Go tells that the console is closed, the
// user logs off or the system shuts down.
func runSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

func timeoutSignals(syscall.Signal) []os.Signal { return runSignals() }

func reactionTo(sig os.Signal) reaction {
	if sig == os.Interrupt {
		return interrupt
	}
	return terminate
}

// inspectLinux: what there is on this system needs nothing.
func inspectLinux() *linux { return nil }

// whyCannot: no file has an interpreter here.
func whyCannot(string, error) error { return nil }

// checkDescriptors: there is no limit to be met.
func checkDescriptors(int) error { return nil }

func maybeClosedStreams() []string { return nil }

// delivered: the command has a process group of its own, and in a new group
// Ctrl-C is disabled (CreateProcess, CREATE_NEW_PROCESS_GROUP).
func delivered(leader int) bool { return false }

// terminal: a console is not a terminal that could be taken away, or stop its
// jobs, and programs that have changed its modes do not outlive the command.
type terminal struct{}

func findTerminal() *terminal                     { return nil }
func (*terminal) hungUp() bool                    { return false }
func (*terminal) restore(bool)                    {}
func (*terminal) signalForeground(syscall.Signal) {}
func signalKeys(*os.File) map[byte]syscall.Signal { return nil }
func suspender(*corral.Cmd) func()                { return func() {} }

func exitStatus(p *os.ProcessState) int { return p.ExitCode() }

// readerGone is not known before something is written.
func readerGone(*os.File) bool { return false }
func endUnread(*os.File) error { return nil }
