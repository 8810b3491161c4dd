package corral

import (
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/corral-run/corral/internal/pty"
)

// TestHangUpNotTheEnd: what the terminal has when a read says that it has hung up is
// read, too.
func TestHangUpNotTheEnd(t *testing.T) {
	master, tty, err := pty.Open(pty.Settings{})
	if err != nil {
		t.Skip("SKIPPED: no pseudo-terminals here: ", err)
	}
	defer master.Close()
	_, err = tty.WriteString("the last")
	tty.Close()
	if err != nil {
		t.Fatal(err)
	}
	term := &terminal{master: master}
	term.ended(&os.PathError{Op: "read", Path: master.Name(), Err: syscall.EIO})
	if got, err := io.ReadAll(term); string(got) != "the last" || err != nil {
		t.Errorf("%q, %v; want %q", got, err, "the last")
	}
}
