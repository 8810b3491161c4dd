//go:build linux || darwin || freebsd

package main

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/disposition"
)

// resume continues stopped processes.
var resume os.Signal = syscall.SIGCONT

func signalName(sig syscall.Signal) string { return unix.SignalName(sig) }

func signalNumber(name string) syscall.Signal { return unix.SignalNum(name) }

// runSignals lists the signals that corral wants to see during a run. Those that
// were ignored when it was started stay ignored, for the command too: that is how
// nohup and a shell's background jobs ask for it. The Go runtime tells that of HUP
// and INT only; a shell ignores QUIT along with INT.
func runSignals() []os.Signal {
	signals := []os.Signal{
		syscall.SIGTERM,
		syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH,
		syscall.SIGPIPE,
	}
	if !disposition.Ignored(syscall.SIGTSTP) {
		signals = append(signals, syscall.SIGTSTP)
	}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	if signal.Ignored(syscall.SIGINT) {
		signal.Ignore(syscall.SIGQUIT)
	} else {
		signals = append(signals, syscall.SIGINT, syscall.SIGQUIT)
	}
	return signals
}

// timeoutSignals lists the signals that timeout passes on: all that would end it,
// and the one that is to stop the command. HUP stays ignored, for the command too,
// if it was: that is how nohup asks for it. Others do not, as under GNU timeout: a
// shell without job control starts background jobs with INT and QUIT ignored.
func timeoutSignals(stop syscall.Signal) []os.Signal {
	var signals []os.Signal
	for sig := syscall.Signal(1); sig < 65; sig++ {
		switch sig {
		case syscall.SIGKILL, syscall.SIGSTOP: // cannot be caught
			continue
		case syscall.SIGCHLD, syscall.SIGURG: // come all the time: the runtime uses URG
			continue
		case syscall.SIGILL, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGSEGV: // would be corral's own mistakes
			continue
		case syscall.SIGTSTP, syscall.SIGTTIN, syscall.SIGTTOU, syscall.SIGCONT, syscall.SIGWINCH: // end nothing
			if sig != stop {
				continue
			}
		case syscall.SIGHUP:
			if sig != stop && signal.Ignored(sig) {
				continue
			}
		}
		signals = append(signals, sig)
	}
	return signals
}

func reactionTo(sig os.Signal) reaction {
	switch sig {
	case syscall.SIGTERM:
		return terminate
	case syscall.SIGINT, syscall.SIGQUIT:
		return interrupt
	case syscall.SIGWINCH:
		return passOnOnce
	case syscall.SIGHUP:
		return hangUp
	case syscall.SIGTSTP:
		return pause
	case syscall.SIGPIPE:
		return disregard
	}
	return passOn
}
