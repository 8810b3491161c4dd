//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"syscall"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/headtail"
)

// job is the command under way.
type job struct {
	*runFlags
	cmd     *corral.Cmd
	stderr  io.Writer
	report  io.WriteCloser
	events  *eventLog
	tty     *terminal
	outputs []*output
	typing  chan struct{} // closed when the command may be heard
	keys    keyboard
	restore func()
	back    *background // nil unless the run is in the background

	unregistered bool // the run is not in the registry

	scopeless error // why there is no scope of the user's systemd, if there should be one
}

func (j *job) openReport() error {
	switch j.runFlags.report {
	case "":
	case "-":
		j.report = nopCloser{j.stderr}
	default:
		// Only for writing: a FIFO waits for a reader, and tells if it has gone.
		f, err := os.OpenFile(string(j.runFlags.report), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o666)
		if err != nil {
			return &exitError{statusOwn, fmt.Errorf("cannot write the report: %w", err)}
		}
		j.report = f
	}
	return nil
}

// stdinIsLifeline reports whether standard input is a lifeline. The library passes
// it on then, as it has to see its end.
func (j *job) stdinIsLifeline() bool {
	return slices.Contains(j.lifelines, string(corral.LifelineStdin))
}

// command returns the command in args, to be started.
func (j *job) command(args []string) *corral.Cmd {
	cmd := j.events.newCommand(j.back, args)
	j.outputs, j.typing = nil, make(chan struct{})
	if j.back != nil {
		var log io.Writer = j.back.log
		if j.mayKeep() {
			log = j.back.log.f // who is kept writes on when corral has ended
		}
		cmd.Stdout, cmd.Stderr = log, log
	} else if j.pty {
		cmd.PTY = newPTY()
		cmd.Stdout = heldWriter{j.output(os.Stdout), j.typing}
	} else {
		cmd.Stdout, cmd.Stderr = j.output(os.Stdout), j.output(os.Stderr)
	}
	if !j.pty || j.stdinIsLifeline() {
		cmd.Stdin = os.Stdin
	}
	j.apply(cmd)
	j.register.apply(cmd, args[0])
	if j.verbose {
		log := j.stderr
		if j.pty && isTerminal(os.Stdin) {
			log = rawLines{j.stderr}
		}
		cmd.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		for _, stream := range maybeClosedStreams() {
			cmd.Logger.Debug("corral: the null device, or closed when corral was started: Go's runtime hides which", "stream", stream)
		}
	}
	return cmd
}

// output is a file to which corral itself writes the command's output.
type output struct {
	sink
	limited *headtail.Writer // nil if all is passed on
}

// output returns what the command writes to: f itself, unless corral has to pass it
// on.
func (j *job) output(f *os.File) io.Writer {
	if !j.pty && j.outputLimit == 0 && j.idleTimeout == 0 {
		return f
	}
	o := &output{sink: sink{to: f}}
	j.outputs = append(j.outputs, o)
	if j.outputLimit == 0 {
		return &o.sink
	}
	o.limited = &headtail.Writer{To: &o.sink, Limit: int64(j.outputLimit), Gone: func() error {
		if o.err == nil && readerGone(f) { // without a write nobody else would notice
			o.err = &fs.PathError{Op: "write", Path: f.Name(), Err: syscall.EPIPE}
		}
		return o.err
	}}
	return o.limited
}

// finishOutput writes what has been held back, and returns the first error. That
// nobody reads any more is none if SIGPIPE has told the command.
func (j *job) finishOutput(r *corral.Report) error {
	var first error
	for _, o := range j.outputs {
		if o.limited != nil {
			if o.err == nil {
				o.limited.Flush()
			}
			r.OutputDropped += o.limited.Dropped()
		}
		if first == nil && !(errors.Is(o.err, syscall.EPIPE) && r.Signal == "SIGPIPE") {
			first = o.err
		}
	}
	return first
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
