//go:build unix

package test

import (
	"bufio"
	"testing"

	"github.com/corral-run/corral/corraltest"
)

// What any test of this package leaves, by whatever means it was started, fails it.
func TestMain(m *testing.M) { corraltest.NoLeaks(m) }

// TestServer ends while its server, and what that has started, still run.
func TestServer(t *testing.T) {
	server := corraltest.Command(t, "sh", "-c", "sleep 60 & echo ready; wait")
	out, err := server.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Errorf("%q, %v", line, err)
	}
}
