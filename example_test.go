//go:build linux || darwin || freebsd

package corral_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/corral-run/corral"
)

// What a command leaves behind is stopped when it ends. Here that is a process
// which has left its parent, too.
func ExampleCommand() {
	cmd := corral.Command("sh", "-c", "(sleep 60 &) ; echo built")
	out, err := cmd.Output()
	fmt.Printf("%s%v\n", out, err)
	for _, l := range cmd.Report().Leftovers {
		fmt.Println("1 leftover was", l.Fate)
	}
	// Output:
	// built
	// <nil>
	// 1 leftover was signalled
}

// When the context is done, the whole run is asked to end. The error is os/exec's;
// why the run has ended is in the report.
func ExampleCommandContext() {
	ctx, cancel := context.WithCancelCause(context.Background())
	cmd := corral.CommandContext(ctx, "sleep", "60")
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	cancel(errors.New("the user has gone"))
	err := cmd.Wait()
	if exit, ok := err.(*corral.ExitError); ok {
		fmt.Println(exit)
	}
	fmt.Println(cmd.Report().Ending, "because", cmd.Report().Cause)
	// Output:
	// signal: terminated
	// cancelled because the user has gone
}

// A command that takes too long is stopped, with all that it has started.
func ExampleCmd_timeout() {
	cmd := corral.Command("sh", "-c", "sleep 60 & sleep 60")
	cmd.Timeout = 100 * time.Millisecond
	err := cmd.Run()
	fmt.Println(errors.Is(err, context.DeadlineExceeded), cmd.Report().Ending)
	// Output:
	// true timed_out
}

// A command that writes nothing for too long is taken to hang.
func ExampleIdleError() {
	cmd := corral.Command("sh", "-c", "echo connecting; sleep 60")
	cmd.Stdout = new(bytes.Buffer)
	cmd.IdleTimeout = 100 * time.Millisecond
	err := cmd.Run()
	var idle *corral.IdleError
	fmt.Println(errors.As(err, &idle), cmd.Report().Ending)
	// Output:
	// true idle
}

// The members of a run are the command and all that it has started.
func ExampleCmd_Members() {
	cmd := corral.Command("sh", "-c", "sleep 60 & sleep 60 & echo ready; wait")
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	io.ReadFull(stdout, make([]byte, len("ready\n")))
	members, err := cmd.Members()
	fmt.Println(len(members), err)
	cmd.Kill()
	fmt.Println(cmd.Wait())
	// Output:
	// 3 <nil>
	// signal: killed
}

// Nothing is started if only a process group could hold the run.
func ExampleContainmentError() {
	cmd := corral.Command("true")
	cmd.Require = corral.Keeper
	err := cmd.Run()
	var unavailable *corral.ContainmentError
	if errors.As(err, &unavailable) {
		for _, d := range unavailable.Declined {
			fmt.Printf("%s does not work here: %s\n", d.Containment, d.Reason)
		}
	}
}

// Each process of this run may have 64 descriptors.
func ExampleLimits() {
	cmd := corral.Command("sh", "-c", "ulimit -n")
	cmd.Limits = corral.Limits{OpenFiles: 64}
	out, err := cmd.Output()
	fmt.Printf("%s%v\n", out, err)
	// Output:
	// 64
	// <nil>
}

// First what this server takes for a request to finish its work, then SIGTERM, then
// the kill that ends every plan. The first is enough here.
func ExampleStopPlan() {
	cmd := corral.Command("sh", "-c", "trap 'echo saved; exit 0' USR1; echo ready; while :; do sleep .05; done")
	cmd.StopPlan = corral.StopPlan{
		{Signal: syscall.SIGUSR1, Wait: 30 * time.Second},
		{Signal: syscall.SIGTERM, Wait: time.Second},
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	io.ReadFull(stdout, make([]byte, len("ready\n")))
	fmt.Println(cmd.Stop(context.Background()))
	rest, _ := io.ReadAll(stdout)
	fmt.Printf("%s%v, forced: %v\n", rest, cmd.Wait(), cmd.Report().Forced)
	// Output:
	// <nil>
	// saved
	// <nil>, forced: false
}

// As os/exec does it: when the context is done, SIGKILL at once, and for the whole
// run.
func ExampleStopPlan_kill() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	cmd := corral.CommandContext(ctx, "sleep", "60")
	cmd.StopPlan = corral.StopPlan{}
	fmt.Println(cmd.Run())
	// Output:
	// signal: killed
}

// A command that is to leave nothing behind fails if it does.
func ExampleLeftoverPolicy() {
	cmd := corral.Command("sh", "-c", "exec sleep 60 & exit 0")
	cmd.Leftovers = corral.FailOnLeftovers
	err := cmd.Run()
	var left *corral.LeftoverError
	if errors.As(err, &left) {
		fmt.Println("processes left behind:", len(left.Leftovers))
	}
	// Output:
	// processes left behind: 1
}

// A server that is to outlive the command that starts it is kept. Its output goes
// to a file, which is there as long as the server wants it.
func ExampleLeftoverPolicy_keep() {
	log, err := os.CreateTemp("", "server")
	if err != nil {
		panic(err)
	}
	defer os.Remove(log.Name())
	r, w, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	cmd := corral.Command("sh", "-c", "(read x <&3; echo served) & echo started")
	cmd.Leftovers = corral.KeepLeftovers
	cmd.Stdout = log
	cmd.ExtraFiles = []*os.File{r}
	fmt.Println(cmd.Run())
	for _, l := range cmd.Report().Leftovers {
		fmt.Println("the server is", l.Fate)
	}
	fmt.Fprintln(w, "a request")
	r.Close()
	w.Close()
	// Output:
	// <nil>
	// the server is kept
}

// The report says how a run has ended, and what was done about what it left.
func ExampleReport() {
	cmd := corral.Command("sh", "-c", "exit 3")
	cmd.Run()
	r := cmd.Report()
	fmt.Println(strings.Join(r.Command, " "))
	fmt.Println("ending:", r.Ending)
	fmt.Println("status:", r.ExitCode)
	fmt.Println("leftovers:", len(r.Leftovers), "forced:", r.Forced)
	fmt.Println("held by something:", r.Containment != "")
	// Output:
	// sh -c exit 3
	// ending: exited
	// status: 3
	// leftovers: 0 forced: false
	// held by something: true
}

// A command that behaves differently on a terminal has one of its own.
func ExamplePTY() {
	cmd := corral.Command("sh", "-c", "test -t 1 && stty size && read name && echo hello, $name")
	cmd.PTY = &corral.PTY{Rows: 24, Cols: 100, NoEcho: true}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	fmt.Fprintln(cmd.PTY, "gopher")
	shown, err := io.ReadAll(cmd.PTY)
	fmt.Print(strings.ReplaceAll(string(shown), "\r\n", "\n"))
	fmt.Println(err, cmd.Wait())
	// Output:
	// 24 100
	// hello, gopher
	// <nil> <nil>
}

// A run ends when something outside it does: here another process.
func ExampleLifeline() {
	session := exec.Command("sleep", "60")
	if err := session.Start(); err != nil {
		panic(err)
	}
	cmd := corral.Command("sleep", "60")
	cmd.Lifelines = []corral.Lifeline{corral.Lifeline(fmt.Sprintf("pid:%d", session.Process.Pid))}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	session.Process.Kill()
	session.Wait()
	err := cmd.Wait()
	var lost *corral.LifelineError
	fmt.Println(errors.As(err, &lost), cmd.Report().Ending)
	// Output:
	// true lifeline_lost
}

// Code that makes an exec.Cmd elsewhere can have it run here.
func ExampleWrap() {
	inner := exec.Command("sh", "-c", "echo $GREETING; sleep 60 &")
	inner.Env = append(os.Environ(), "GREETING=hello")
	inner.Stdout = os.Stdout
	cmd := corral.Wrap(inner)
	fmt.Println(cmd.Run())
	fmt.Println("leftovers:", len(cmd.Report().Leftovers))
	// Output:
	// hello
	// <nil>
	// leftovers: 1
}

// A server that speaks over standard input and output is asked to end by closing its
// input, as an MCP host does it.
func ExampleMCPStopPlan() {
	server := corral.Command("sh", "-c", "while read request; do echo answer to $request; done; echo bye")
	server.Stdout = os.Stdout
	server.StopPlan = corral.MCPStopPlan()
	server.StopPlan[0].Wait = time.Minute // for a server that has much to do at its end
	if _, err := server.StdinPipe(); err != nil {
		panic(err)
	}
	if err := server.Start(); err != nil {
		panic(err)
	}
	fmt.Println(server.Stop(context.Background()))
	fmt.Println(server.Wait(), server.Report().Ending)
	// Output:
	// bye
	// <nil>
	// <nil> stopped
}
