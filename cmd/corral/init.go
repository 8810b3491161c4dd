//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/corral-run/corral"
)

// initGrace leaves two of the ten seconds that docker stop gives a container.
const initGrace = 8 * time.Second

// initFlags are the flags that `corral init` has besides those of a run.
type initFlags struct {
	all     bool
	waitAll bool
	zeroOn  statuses
	rewrite rewrites
}

func newInit() *cobra.Command {
	c := newRun("init [flags] [--] COMMAND [ARG...]", &initFlags{zeroOn: statuses{}, rewrite: rewrites{}})
	c.Short = "Run a command as the init of a container"
	c.Long = `Run COMMAND as the init, PID 1, of a container: reap every orphan, pass signals
on to COMMAND, stop all processes when SIGTERM comes, and end with the status of
COMMAND. As PID 1, corral is an init without being told: 'corral COMMAND'
is 'corral init COMMAND'. It is an init for the descendants of COMMAND where it
is not PID 1. Linux only.

All signals are passed on but KILL, STOP, CHLD, TTIN, TTOU, URG, PROF, and those
from 32 to 34, which a program cannot catch, or which are about corral itself.
The first SIGTERM goes to all processes; what is left after the grace period is
killed.

Every flag has an environment variable, for images: CORRAL_INIT_GRACE=30s is
--grace 30s, CORRAL_INIT_WAIT_ALL=1 is --wait-all. A flag on the command line
counts more. COMMAND does not see these variables.`
	c.Example = `  corral init -- nginx -g 'daemon off;'
  corral init --grace 25s --exit-zero-on 143 -- java -jar app.jar
  corral init --rewrite RTMIN+3:TERM --wait-all -- start-daemons`
	c.Annotations = map[string]string{exitStatuses: `123	the command succeeded, but left processes behind (--leftovers fail)
124	it ran out of time, or wrote nothing for too long (137 if it had to be killed)
125	bad arguments or variables, or corral itself failed
126	the command was found but cannot be executed
127	the command was not found
128+n	signal n ended the command; it ends corral, too, if corral has got it and is not PID 1
other	the exit status of the command, 0 if --exit-zero-on lists it
`}
	return c
}

func (i *initFlags) define(flags *pflag.FlagSet) {
	flags.BoolVar(&i.all, "all", false, "pass signals on to all processes")
	flags.BoolVar(&i.waitAll, "wait-all", false, "when the command has ended, wait until all have: --leftovers wait")
	flags.Var(i.zeroOn, "exit-zero-on", "exit with 0 if the command's is one of these STATUSES, such as 130,143; may be repeated")
	flags.Var(i.rewrite, "rewrite", "take the first signal for the second one, in SIG:SIG; SIG:0: ignore it; may be repeated")
}

// initArguments turns `corral COMMAND`, run as PID 1, into `corral init COMMAND`.
func initArguments(root *cobra.Command, args []string) []string {
	if slices.ContainsFunc(args, mayHaveC) {
		args = asCommandLine(root, newInit().Flags(), args)
	}
	args = splitShortFlags(root.Flags(), args)
	about := len(args) == 0 || slices.Contains([]string{"-h", "--help", "--version"}, args[0])
	if c, _, err := root.Find(args); about || err != nil || c != root {
		return args
	}
	addCommands(root, "init")
	return append([]string{"init"}, args...)
}

// check says what keeps corral from being an init.
func (i *initFlags) check() error {
	if err := checkInit(); err != nil {
		return &exitError{statusOwn, err}
	}
	return nil
}

// keepsNothing is the error about a flag or variable of keepNames: an init has none.
func keepsNothing(written string) error {
	return fmt.Errorf("%s: an init keeps nothing, as its container ends with it; --wait-all waits for what is left, and 'corral run' has --keep", written)
}

// refuseKeepVariables refuses variables of flags that an init has not, but might be
// thought to have.
func refuseKeepVariables() error {
	for _, name := range keepNames {
		name = variableOf(initPrefix, name)
		if os.Getenv(name) != "" {
			return keepsNothing(name)
		}
	}
	return nil
}

// apply sets what the flags of an init stand for.
func (i *initFlags) apply(cmd *corral.Cmd) {
	if i.waitAll {
		cmd.Leftovers = corral.WaitForLeftovers
	}
	if cmd.PTY == nil {
		cmd.SysProcAttr = takeTerminal()
	}
}

// statuses is a flag's value: a set of exit statuses.
type statuses map[int]bool

func (s statuses) Set(list string) error {
	for word := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 0 || n > 255 {
			return errors.New("an exit status is a number from 0 to 255")
		}
		s[n] = true
	}
	return nil
}

func (s statuses) String() string { return "" }
func (s statuses) Type() string   { return "STATUSES" }

// rewrites is a flag's value: what to take signals for, 0 for nothing.
type rewrites map[syscall.Signal]syscall.Signal

func (r rewrites) Set(list string) error {
	for pair := range strings.SplitSeq(list, ",") {
		from, to, ok := strings.Cut(strings.TrimSpace(pair), ":")
		if !ok || from == "" || to == "" {
			return errors.New("use two signals with a colon, such as TERM:QUIT")
		}
		sig, err := parseSignal(from)
		if err != nil {
			return fmt.Errorf("%s: %w", from, err)
		}
		if !slices.Contains(initSignals(), os.Signal(sig)) {
			return fmt.Errorf("%s: corral cannot receive this signal", from)
		}
		if r[sig] = 0; to == "0" {
			continue
		}
		if r[sig], err = parseSignal(to); err != nil {
			return fmt.Errorf("%s: %w", to, err)
		}
	}
	return nil
}

func (r rewrites) String() string { return "" }
func (r rewrites) Type() string   { return "SIG:SIG" }
