package corraltest_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/corral-run/corral/corraltest"
)

// A test of a server, which says on its first line where it listens. The server and
// all that it has started are stopped when the test ends, however it ends.
func ExampleCommand() {
	_ = func(t *testing.T) { // func TestServer(t *testing.T)
		server := corraltest.Command(t, "./server", "-listen", "127.0.0.1:0")
		out, err := server.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		address, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatal(err) // and the server's standard error is logged
		}
		resp, err := http.Get("http://" + strings.TrimSpace(address) + "/health")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Error(resp.Status)
		}
	}
}

// A cleanup function that still needs the command: t.Context is done before it is
// called.
func ExampleCommandContext() {
	_ = func(t *testing.T) { // func TestShell(t *testing.T)
		shell := corraltest.CommandContext(t, context.WithoutCancel(t.Context()), "sh")
		in, err := shell.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := shell.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { io.WriteString(in, "rm -f scratch; exit\n") })
	}
}

// What any test of the package leaves, by whatever means it was started, fails the
// package.
func ExampleNoLeaks() {
	_ = func(m *testing.M) { // func TestMain(m *testing.M)
		corraltest.NoLeaks(m)
	}
}

// What has to be done before and after the tests is done once, in the process that
// runs them.
func ExampleNoLeaks_setup() {
	_ = func(m *testing.M) { // func TestMain(m *testing.M)
		corraltest.NoLeaks(withDatabase{m})
	}
}

// withDatabase runs tests that need a database.
type withDatabase struct{ m *testing.M }

func (w withDatabase) Run() int {
	// Start the database here.
	return w.m.Run()
}
