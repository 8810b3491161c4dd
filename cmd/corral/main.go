//go:build linux || darwin || freebsd || windows

// Command corral runs a command and leaves none of its processes behind. It also stops
// processes that are already running, gracefully first, and shows the process table
// as a tree.
//
// There is no process logic here: flags become fields of [corral.Cmd], the
// [corral.Report] becomes an exit status and a line.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
)

// The exit statuses of corral itself. They are those of GNU timeout and env(1)
// where these have one.
const (
	statusStuck     = 1   // kill, tree: not all could be done
	statusLeftovers = 123 // --leftovers fail, and there were some
	statusTimeout   = 124
	statusOwn       = 125 // bad arguments, or corral itself failed
	statusCannot    = 126 // found, but not executable
	statusNotFound  = 127
	statusSignal    = 128 // plus the number of the signal
)

func main() {
	args := os.Args[1:]
	if calledTimeout(os.Args[0]) {
		os.Exit(execute(asRoot(newTimeout(corral.Auto)), args, os.Stdout, os.Stderr))
	}
	os.Exit(run(args, os.Stdout, os.Stderr))
}

// exitError is an error that knows its exit status. Any other error means that the
// command line is wrong: nothing has been started, and the message points to the
// help.
type exitError struct {
	status int
	err    error // nil if everything has been said
}

func (e *exitError) Error() string { return fmt.Sprint(e.err) }
func (e *exitError) Unwrap() error { return e.err }

// run executes a command line of corral and returns the exit status. The commands
// that corral runs have the standard files of the process, whatever stdout and
// stderr are.
func run(args []string, stdout, stderr io.Writer) int {
	root := rootFor(args)
	if os.Getpid() == 1 {
		args = initArguments(root, args)
	}
	return execute(root, args, stdout, stderr)
}

func execute(root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	out := &sink{to: stdout}
	root.SetOut(out)
	root.SetErr(stderr)
	cmd, args, err := checkCommandLine(root, args)
	root.SetArgs(append([]string{}, args...)) // nil would mean the process's own
	if err == nil {
		cmd, err = root.ExecuteC()
	}
	if out.err != nil {
		err = &exitError{cmp.Or(statusOf(err), statusOwn), out.err} // cobra's help, for one, does not say so
	}
	name := "corral"
	if cmd.Name() == timeoutName {
		name = timeoutName
	}
	var e *exitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &e):
		sayAs(name, stderr, "%v; see '%s --help'", err, cmd.CommandPath())
		return statusOwn
	case e.err != nil:
		sayAs(name, stderr, "%v", e.err)
	}
	return e.status
}

// statusOf is the status of an error that has one, else 0.
func statusOf(err error) int {
	var e *exitError
	if errors.As(err, &e) {
		return e.status
	}
	return 0
}

// asRoot makes c report errors and show its usage in the way of this package.
func asRoot(c *cobra.Command) *cobra.Command {
	c.SilenceErrors = true
	c.SilenceUsage = true
	c.SetUsageFunc(usage)
	return c
}

// noArguments is cobra.NoArgs, which would call an argument an unknown command.
func noArguments(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, but got %q", c.Name(), args[0])
	}
	return nil
}
