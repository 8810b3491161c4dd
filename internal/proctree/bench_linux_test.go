package proctree

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
)

// BenchmarkSnapshot and BenchmarkGroup look at a table of 5,000 processes,
// besides those that were there.

func BenchmarkSnapshot(b *testing.B) {
	startMany(b, 50, 100)
	b.ReportAllocs()
	for b.Loop() {
		table, err := Snapshot()
		if err != nil {
			b.Fatal(err)
		}
		if len(table) < 5000 {
			b.Fatalf("%d processes", len(table))
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/op")
}

func BenchmarkGroup(b *testing.B) {
	startMany(b, 50, 100)
	// A group of one among them.
	child := exec.Command("sleep", "60")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := child.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { child.Process.Kill(); child.Wait() })
	for b.Loop() {
		members, err := Group(child.Process.Pid)
		if err != nil || len(members) != 1 {
			b.Fatalf("%d members, error %v", len(members), err)
		}
	}
	b.ReportMetric(b.Elapsed().Seconds()*1e3/float64(b.N), "ms/op")
}

// startMany starts shells, each with a number of idle children. They end with
// the benchmark, as they wait for the end of a pipe that it holds. It returns
// when all of them have come so far.
func startMany(b *testing.B, shells, children int) {
	b.Helper()
	stay, hold, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	ready, started, err := os.Pipe()
	if err != nil {
		b.Fatal(err)
	}
	defer ready.Close()
	var cmds []*exec.Cmd
	b.Cleanup(func() {
		hold.Close()
		for _, cmd := range cmds {
			cmd.Wait()
		}
	})
	for range shells {
		// Each of them closes its end of started right before it waits.
		cmd := exec.Command("sh", "-c", `i=1; while [ $i -lt $1 ]; do { exec <&3 >&-; read x; } & i=$((i+1)); done; exec >&-; wait`, "sh", strconv.Itoa(children))
		cmd.Stdout, cmd.ExtraFiles = started, []*os.File{stay}
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		cmds = append(cmds, cmd)
	}
	stay.Close()
	started.Close()
	if _, err := io.Copy(io.Discard, ready); err != nil {
		b.Fatal(err)
	}
}
