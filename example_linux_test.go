package corral_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/corral-run/corral"
)

// A function that wants an exec.Cmd gets one, of which nothing is left.
func ExampleContain() {
	starter := func(cmd *exec.Cmd) ([]byte, error) { return cmd.Output() } // another package's

	cmd := exec.Command("sh", "-c", "sleep 60 & echo built")
	if err := corral.Contain(cmd, corral.ContainOptions{}); err != nil {
		panic(err)
	}
	out, err := starter(cmd) // os/exec's Output would wait for sleep
	fmt.Printf("%s%v\n", out, err)
	// Output:
	// built
	// <nil>
}

// A server that one command has started lives on for the next one.
func ExampleScope() {
	var scope corral.Scope
	output := &corral.Tail{Limit: 1 << 20}
	for _, line := range []string{"sleep 60 & echo server is up", "echo tested"} {
		cmd := scope.Command("sh", "-c", line)
		cmd.Stdout, cmd.Stderr = output, output
		if err := cmd.Run(); err != nil {
			panic(err)
		}
	}
	fmt.Print(output)
	report, err := scope.Close(context.Background())
	fmt.Println("stopped:", len(report.Leftovers), err)
	// Output:
	// server is up
	// tested
	// stopped: 1 <nil>
}

// Of what a command leaves, one program is kept, and the rest is stopped. Here cat is
// a server, which answers what it is asked.
func ExampleKeepPrograms() {
	keep, err := corral.KeepPrograms("cat", "/opt/tools/bin/*")
	if err != nil {
		panic(err)
	}
	in, requests, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	answers, out, err := os.Pipe()
	if err != nil {
		panic(err)
	}
	cmd := corral.Command("sh", "-c", "cat <&3 >&4 & sleep 60 & read answer <&5; echo $answer")
	cmd.Keep = keep
	cmd.Stdout = os.Stdout
	cmd.ExtraFiles = []*os.File{in, out, answers}
	fmt.Fprintln(requests, "the server is up")
	if err := cmd.Run(); err != nil {
		panic(err)
	}
	for _, l := range cmd.Report().Leftovers {
		if l.Fate == corral.Kept {
			fmt.Println(l.Command[0], "is", l.Fate)
		}
	}
	requests.Close() // by which the server ends
	for _, f := range cmd.ExtraFiles {
		f.Close()
	}
	// Output:
	// the server is up
	// cat is kept
}
