package detach

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"golang.org/x/sys/unix"
)

// Run leaves the run that the calling process is in, and those around it as far as
// they allow it. Then it starts the command, tells ready, and returns the status of
// the command when it and all that it has started have ended. If the command cannot be
// started, again, which may be nil, may return another one to start in its place.
//
// The calling process stays for that long, as a subreaper (prctl(2)): so all that the
// command starts stays below it, and is known by that. It must have no other
// children, and should lead a session of its own.
func Run(cmd *exec.Cmd, again func(error) *exec.Cmd, ready func(error)) (status int) {
	var doors []net.Conn
	err := cmd.Err // before anything is left
	if err == nil {
		doors, err = leave()
	}
	if err == nil {
		if err = begin(cmd); err != nil && again != nil {
			if other := again(err); other != nil {
				cmd, err = other, other.Start()
			}
		}
	}
	if err == nil {
		awaitExecute(cmd.Process.Pid)
	}
	for _, door := range doors {
		if err == nil {
			fmt.Fprintf(door, "%d\n", cmd.Process.Pid)
			io.Copy(io.Discard, door) // until the owner has seen it
		}
		door.Close()
	}
	ready(err)
	if err != nil {
		return 1
	}
	for {
		var ended syscall.WaitStatus
		switch pid, err := syscall.Wait4(-1, &ended, 0, nil); {
		case pid == cmd.Process.Pid && ended.Signaled():
			status = 128 + int(ended.Signal())
		case pid == cmd.Process.Pid:
			status = ended.ExitStatus()
		case err == syscall.ECHILD:
			return status
		}
	}
}

// begin starts the command, which knows of no door.
func begin(cmd *exec.Cmd) error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_CHILD_SUBREAPER", err)
	}
	os.Unsetenv(Variable)
	return cmd.Start()
}

// awaitExecute waits until a child that Start has returned is known by what it
// executes: newer kernels close what is close-on-exec, which is what Start waits for,
// a little before that.
func awaitExecute(pid int) {
	id, err := proctree.Identify(pid)
	for err == nil && proctree.AboutToExecute(id, time.Second) {
		time.Sleep(time.Millisecond)
	}
}

// leave knocks at one door after the other.
func leave() (doors []net.Conn, err error) {
	address := os.Getenv(Variable)
	if address == "" {
		return nil, ErrNoDoor
	}
	for address != "" {
		conn, outer, err := knock(address)
		if err != nil {
			if len(doors) == 0 {
				return nil, err
			}
			break // it ends with that run
		}
		doors, address = append(doors, conn), outer
	}
	return doors, nil
}

// knock leaves one run. It returns the connection, on which to say what has been
// started, and the address of the next door.
func knock(address string) (conn net.Conn, outer string, err error) {
	conn, err = net.DialTimeout("unix", address, patience)
	if err != nil {
		if errors.Is(err, unix.ECONNREFUSED) {
			return nil, "", errors.New("the run that " + Variable + " names is over, or in another network namespace")
		}
		return nil, "", err
	}
	conn.SetDeadline(time.Now().Add(patience))
	// The owner says no more until it is told the PID.
	said, err := bufio.NewReaderSize(io.LimitReader(conn, 4096), 4096).ReadString('\n')
	word, rest, _ := strings.Cut(strings.TrimSuffix(said, "\n"), " ")
	switch {
	case err != nil:
		err = fmt.Errorf("the owner of the run does not answer: %w", err)
	case word == "ok":
		return conn, rest, nil
	default:
		err = &RefusedError{rest}
	}
	conn.Close()
	return nil, "", err
}
