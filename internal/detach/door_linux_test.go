package detach

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"
)

// TestDoorClosesForAll: a process that has the door's descriptors, as one has that the
// owner has forked, neither holds the door open nor whoever stands in it.
func TestDoorClosesForAll(t *testing.T) {
	door, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	fork, err := door.socket.File()
	if err != nil {
		t.Fatal(err)
	}
	defer fork.Close()
	member, err := net.Dial("unix", door.Address())
	if err != nil {
		t.Fatal(err)
	}
	defer member.Close()
	conn, err := door.socket.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	forked, err := conn.File()
	if err != nil {
		t.Fatal(err)
	}
	defer forked.Close()
	if !door.admit(conn) {
		t.Fatal("the door is closed")
	}

	door.Close()
	if _, err := net.Dial("unix", door.Address()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the door is open: %v", err)
	}
	member.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := member.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("who stood in the door is still there: %v", err)
	}
}
