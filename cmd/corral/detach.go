//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/detach"
)

// readyFlag is for the corral that stays with the command, which says by its standard
// input whether it has started it: the other descriptors are for the command.
const readyFlag = "stay" // not for people

func newDetach() *cobra.Command {
	var output string
	var stay bool
	c := &cobra.Command{
		Use:   "detach [flags] [--] COMMAND [ARG...]",
		Short: "Start a command that outlives the run it is started from",
		Long: `Start COMMAND in the background, and return. It leaves the run that it is started
from, with all that it starts, if that run has been started with --allow-detach.
Then it leaves the runs around that one, up to one that does not allow it. So it is
not stopped with them.

COMMAND is in a session of its own, without a terminal. Its input is empty, and
its output is thrown away unless --output is given.

A small process of corral stays as its parent for as long as anything of it lives.
Linux only.`,
		Example: `  corral --allow-detach -- make dev-server   # in it:
  corral detach --output server.log -- ./server --port 8080`,
		Annotations: map[string]string{exitStatuses: `0	the command has been started, outside the run
125	bad arguments, no run that may be left, or corral itself failed
126	the command was found but cannot be executed
127	the command was not found
`},
		DisableFlagsInUseLine: true,
		Args:                  needCommand,
		ValidArgsFunction:     completeFiles,
		RunE: func(c *cobra.Command, args []string) error {
			if stay {
				return stayWith(args)
			}
			return detachCommand(output, args)
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.SetInterspersed(false)
	flags.VarP((*fileName)(&output), "output", "o", "append the output of the command to FILE")
	flags.BoolVar(&stay, readyFlag, false, "")
	flags.MarkHidden(readyFlag)
	return c
}

// detachCommand starts another corral, which leaves the run, and returns when that has
// started the command.
func detachCommand(output string, args []string) error {
	if os.Getenv(detach.Variable) == "" {
		return &exitError{statusOwn, fmt.Errorf("detach: %w", detach.ErrNoDoor)}
	}
	program, err := os.Executable()
	if err != nil {
		return &exitError{statusOwn, err}
	}
	cmd := exec.Command(program, append([]string{"detach", "--" + readyFlag, "--"}, args...)...)
	cmd.Args[0] = "corral" // whatever the file is called
	if output == "-" {
		return errors.New("--output needs a file: what is written to the run's own output ends with the run")
	}
	if output != "" {
		file, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
		if err != nil {
			return &exitError{statusOwn, err}
		}
		defer file.Close()
		cmd.Stdout, cmd.Stderr = file, file
	}
	r, w, err := os.Pipe()
	if err != nil {
		return &exitError{statusOwn, err}
	}
	defer r.Close()
	cmd.Stdin = w
	ownSession(cmd)
	err = cmd.Start()
	w.Close()
	if err != nil {
		return &exitError{statusOwn, err}
	}
	said, err := io.ReadAll(r)
	status, text, _ := strings.Cut(string(said), " ")
	n, nerr := strconv.Atoi(status)
	switch {
	case err != nil || nerr != nil:
		cmd.Wait()
		return &exitError{statusOwn, errors.New("detach: the corral that was to stay with the command has been killed")}
	case n != 0:
		cmd.Wait()
		return &exitError{n, errors.New(text)}
	}
	return nil
}

// stayWith leaves the run, starts the command, says so, and stays with it.
func stayWith(args []string) error {
	ready, err := takeStdin()
	if err != nil {
		return &exitError{statusOwn, err}
	}
	build := func(words []string) *exec.Cmd {
		cmd := exec.Command(words[0], words[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
		return cmd
	}
	cmd := build(args)
	if err := refuseOwnScript(args[0]); err != nil {
		cmd.Err = err
	} else if cmd.Err == nil {
		cmd.Err = cannotExecute(cmd.Path)
	}
	again := func(err error) *exec.Cmd { // as startCommand
		if words := scriptWords(cmd.Path, args, err); words != nil {
			return build(words)
		}
		return nil
	}
	status := detach.Run(cmd, again, func(err error) {
		defer ready.Close()
		var refused *detach.RefusedError
		switch {
		case err == nil:
			fmt.Fprint(ready, "0 ")
		case errors.As(err, &refused), errors.Is(err, detach.ErrNoDoor):
			fmt.Fprintf(ready, "%d detach: %v", statusOwn, err)
		default:
			var e *exitError
			if err = startError(args[0], err); errors.As(err, &e) {
				fmt.Fprintf(ready, "%d %v", e.status, e)
			}
		}
	})
	return &exitError{status: status}
}

// cannotExecute says what is wrong with a file that is to be executed, in the words of
// exec.Cmd.Start, as far as that can be known before: who has left the run for a command
// that cannot be started has left it for the report.
func cannotExecute(path string) error {
	_, err := exec.LookPath(path)
	if err == nil {
		return nil
	}
	var file *fs.PathError
	var lookup *exec.Error
	switch {
	case errors.As(err, &file):
		err = file.Err
	case errors.As(err, &lookup):
		err = lookup.Err
	}
	return &fs.PathError{Op: "fork/exec", Path: path, Err: err}
}
