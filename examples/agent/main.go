// Command agent is the shell tool of a coding agent: it reads one command a line, runs
// it with sh, and prints what that has written. A server that a command starts in the
// background lives on, and what it writes is shown with the next call. When the agent
// ends, however it ends, nothing is left.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/corral-run/corral"
)

func main() {
	tool := newBash()
	defer tool.Close()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		tool.Call(os.Stdout, lines.Text())
	}
}

// bash is the tool.
type bash struct {
	scope  corral.Scope
	output corral.Tail
	shown  int64 // how much of output has been shown
}

func newBash() *bash { return &bash{output: corral.Tail{Limit: 1 << 20}} }

// Call runs one command, at most for two minutes, and shows what has been written since
// the last call.
func (b *bash) Call(to io.Writer, script string) {
	cmd := b.scope.Command("sh", "-c", script)
	cmd.Stdout, cmd.Stderr = &b.output, &b.output
	cmd.Timeout = 2 * time.Minute
	err := cmd.Run()
	b.show(to)
	if err != nil {
		fmt.Fprintf(to, "[%v]\n", err)
	}
	held, err := b.scope.Processes()
	for _, p := range held {
		fmt.Fprintf(to, "[still running: %v]\n", p.Command)
	}
	if err != nil {
		fmt.Fprintf(to, "[%v]\n", err)
	}
}

func (b *bash) show(to io.Writer) {
	data, lost, next := b.output.Since(b.shown)
	b.shown = next
	if lost > 0 {
		fmt.Fprintf(to, "[%d bytes left out]\n", lost)
	}
	to.Write(data)
}

// Close stops what is still running.
func (b *bash) Close() {
	report, err := b.scope.Close(context.Background())
	var survivors *corral.SurvivorError
	if errors.As(err, &survivors) {
		fmt.Fprintln(os.Stderr, survivors)
	}
	if report != nil {
		for _, l := range report.Leftovers {
			fmt.Printf("[stopped: %v, %s]\n", l.Command, l.Fate)
		}
	}
}
