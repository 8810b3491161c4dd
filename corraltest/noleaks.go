package corraltest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/observer"
)

const (
	// insideVariable has, in a test binary that NoLeaks has started, its path: other
	// test binaries that the tests start have another.
	insideVariable = "CORRALTEST_INSIDE"
	// offVariable turns NoLeaks off.
	offVariable = "CORRALTEST_NOLEAKS"
)

// NoLeaks runs the tests of a package and ends the process, with a failure if any
// process is left that the tests have started, by whatever means:
//
//	func TestMain(m *testing.M) { corraltest.NoLeaks(m) }
//
// What is left, and does not end within a second, is stopped, and its tree is
// written to standard error. This holds, too, when -timeout or a goroutine
// panics, on os.Exit, and when a process of the test's is killed with SIGKILL.
//
// For that, NoLeaks starts the test binary once more, as a run of Corral's,
// and waits. Arguments, environment, directory and standard streams are the same,
// signals are passed on, and the exit status is that of the tests. What the program
// does before NoLeaks, in init functions and in TestMain, it does in both
// processes: let TestMain begin with NoLeaks, and give it a value whose Run
// does what has to be done before and after.
//
// Helpers that the tests start from the test binary run in the same run, and
// NoLeaks just calls m.Run for them. One that has been started without the variable
// CORRALTEST_INSIDE in its environment gets a run of its own inside.
//
// CORRALTEST_NOLEAKS=off in the environment makes NoLeaks look for nothing, for
// debuggers, as does a debugger that has started the process (on Linux and
// Windows). What cannot be looked for is said on standard error: on systems without
// a containment (see package corral) the tests are run all the same; elsewhere it is
// a failure, and the tests are not run. On macOS, what the keeper cannot follow is
// not seen.
func NoLeaks(m interface{ Run() int }) {
	exe, err := os.Executable()
	switch {
	case isInside(exe, err):
		os.Exit(m.Run())
	case os.Getenv(offVariable) == "off":
		warn("NoLeaks looks for nothing, as %s=off is set", offVariable)
		os.Exit(m.Run())
	case traced():
		warn("NoLeaks looks for nothing, as a debugger traces the tests")
		os.Exit(m.Run())
	case err != nil:
		warn("NoLeaks cannot find the test binary: %v", err)
		os.Exit(1)
	}
	o := &outer{}
	o.cmd = corral.CommandContext(observer.With(context.Background(), o), exe)
	o.cmd.Args = os.Args
	o.cmd.Env = append(os.Environ(), insideVariable+"="+exe)
	o.cmd.Stdin, o.cmd.Stdout, o.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	o.cmd.Require = weakest
	signals := catch()
	if err := o.cmd.Start(); err != nil {
		if none := (*corral.ContainmentError)(nil); errors.As(err, &none) && len(none.Declined) == 0 {
			warn("NoLeaks looks for nothing: %v", err)
			os.Exit(m.Run())
		}
		warn("NoLeaks cannot run the tests: %v", err)
		os.Exit(1)
	}
	go pass(signals, o.cmd)
	err = o.cmd.Wait()
	o.exit(err)
}

// isInside reports whether this process runs the tests for another one. Those that
// a fuzzer starts are in its run.
func isInside(exe string, err error) bool {
	if err == nil && os.Getenv(insideVariable) == exe {
		return true
	}
	for _, arg := range os.Args[1:] {
		if strings.HasPrefix(strings.TrimLeft(arg, "-"), "test.fuzzworker") {
			return true
		}
	}
	return false
}

func warn(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "corraltest: "+format+"\n", args...)
}

// outer is the process that waits for the tests.
type outer struct {
	left
	cmd *corral.Cmd
}

func (*outer) Starting() error             { return nil }
func (*outer) Started(error, func() error) {}

// exit ends this process as the tests have ended, or with a failure if they have
// left something.
func (o *outer) exit(err error) {
	r := o.cmd.Report()
	code := r.ExitCode
	text := o.verdict(r, "the test binary")
	if text != "" {
		warn("%s", text)
	}
	if r.Signal != "" {
		dieBy(o.cmd.ProcessState)
		warn("the test binary was ended by %s", r.Signal)
	}
	var exit *corral.ExitError
	if code == 0 && err != nil && !errors.As(err, &exit) && text == "" {
		warn("%v", err)
	}
	if code < 0 || code == 0 && (text != "" || err != nil) {
		code = 1
	}
	os.Exit(code)
}
