//go:build linux

package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// asAgent makes the test's program the agent.
const asAgent = "TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if os.Getenv(asAgent) != "" {
		main()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// server starts a server in the background. Every process of it holds the fifo alive
// open for writing, and none that runs is without.
const server = `mkfifo in out
(exec 9>alive; echo here >&9; while read line <in; do echo request $line; echo done >out; done) & echo server is up
`

// newAgent returns an agent that runs in a directory of its own, and the end for
// reading of the fifo alive there: it has come to its end when no process of the
// server is left.
func newAgent(t *testing.T) (agent *exec.Cmd, alive *os.File) {
	t.Helper()
	dir := t.TempDir()
	fifo := filepath.Join(dir, "alive")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	alive, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { alive.Close() })
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	agent = exec.Command(self)
	agent.Dir = dir
	agent.Env = append(os.Environ(), asAgent+"=1")
	return agent, alive
}

// TestAgent: a server lives on across calls, its output arrives with a later one, and
// when the agent has ended, it has been stopped.
func TestAgent(t *testing.T) {
	agent, alive := newAgent(t)
	agent.Stdin = strings.NewReader(server + `echo GET >in; cat out >/dev/null
exit 3
`)
	var out bytes.Buffer
	agent.Stdout, agent.Stderr = &out, &out
	if err := agent.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"server is up\n[still running: ", "request GET\n", "[exit status 3]\n", "[stopped: "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	conn, err := alive.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	// Without waiting: the end must have come.
	var all []byte
	conn.Read(func(fd uintptr) bool {
		buf := make([]byte, 100)
		n := 0
		for n, err = syscall.Read(int(fd), buf); n > 0; n, err = syscall.Read(int(fd), buf) {
			all = append(all, buf[:n]...)
		}
		return true
	})
	if string(all) != "here\n" || err != nil {
		t.Errorf("the server has said %q, %v; want its word and the end", all, err)
	}
}

// TestAgentIsKilled: the server does not outlive an agent that has no time to stop it.
func TestAgentIsKilled(t *testing.T) {
	agent, alive := newAgent(t)
	in, err := agent.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := agent.StdoutPipe()
	if err == nil {
		err = agent.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(in, server)
	for out := bufio.NewScanner(r); out.Scan() && !strings.HasPrefix(out.Text(), "[still running: "); {
	}
	agent.Process.Kill()
	if err := agent.Wait(); err == nil || err.Error() != "signal: killed" {
		t.Errorf("Wait: %v", err)
	}
	alive.SetReadDeadline(time.Now().Add(20 * time.Second))
	if all, err := io.ReadAll(alive); string(all) != "here\n" || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the server has said %q, %v; want its word and the end", all, err)
	}
}
