package corral_test

import (
	"context"
	"fmt"
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

// Of what a command leaves, two programs are kept, and the rest is stopped.
func ExampleKeepPrograms() {
	keep, err := corral.KeepPrograms("gpg-agent", "/opt/tools/bin/server")
	if err != nil {
		panic(err)
	}
	cmd := corral.Command("make", "release")
	cmd.Keep = keep
	if err := cmd.Run(); err != nil {
		panic(err)
	}
	for _, l := range cmd.Report().Leftovers {
		fmt.Printf("%v: %s\n", l.Process, l.Fate) // 4711 (gpg-agent --daemon): kept
	}
}
