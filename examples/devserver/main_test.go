//go:build linux || darwin || freebsd

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// role is the variable that makes the test binary one of the programs below.
const role = "DEVSERVER_TEST_ROLE"

// lifetime is how long what a test may leave lives at most.
const lifetime = time.Minute

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "devserver":
		os.Setenv(role, "npm")
		main()
	case "npm":
		npm()
	case "node":
		node()
	default:
		os.Exit(m.Run())
	}
}

// npm starts the server in a session of its own, and waits for it.
func npm() {
	cmd := self("node", os.Args[1])
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		fmt.Println(err)
	}
}

// node is the server. It says that it serves, and who it is.
func node() {
	time.AfterFunc(lifetime, func() { os.Exit(1) })
	l, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("serving", os.Getpid())
	for {
		if conn, err := l.Accept(); err == nil {
			conn.Close()
		}
	}
}

// self is this program in a role.
func self(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), role+"="+name)
	return cmd
}

// freePort is an address that nobody listens at.
func freePort(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Skip("SKIPPED: no loopback interface here: ", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serving reads the line with which a server says that it serves.
func serving(t *testing.T, out *bufio.Reader) (pid int) {
	t.Helper()
	line, err := out.ReadString('\n')
	pid, nerr := strconv.Atoi(strings.TrimPrefix(strings.TrimSpace(line), "serving "))
	if err != nil || nerr != nil || pid <= 1 {
		t.Fatalf("%q, %v; want that the server serves", line, err)
	}
	return pid
}

// TestDevserver: a change starts the server anew, at the same port; and nothing is
// left when devserver ends, is told to, or is killed.
func TestDevserver(t *testing.T) {
	for name, end := range map[string]os.Signal{"told": syscall.SIGTERM, "killed": os.Kill} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address, dir := freePort(t), t.TempDir()
			cmd := self("devserver", "-dir", dir, os.Args[0], address)
			cmd.Stderr = os.Stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			stdout.(*os.File).SetReadDeadline(time.Now().Add(time.Minute))
			out := bufio.NewReader(stdout)
			first := serving(t, out)
			// To write it there would be two changes, and perhaps two new servers.
			file := filepath.Join(t.TempDir(), "index.js")
			err = os.WriteFile(file, []byte("// changed"), 0o666)
			if err == nil {
				err = os.Rename(file, filepath.Join(dir, "index.js"))
			}
			if err != nil {
				t.Fatal(err)
			}
			if second := serving(t, out); second == first {
				t.Error("the server is still the same")
			}
			if err := cmd.Process.Signal(end); err != nil {
				t.Error(err)
			}
			// All that holds the output has ended when that is at its end.
			if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
				t.Errorf("%q, %v", rest, err)
			}
			cmd.Wait()
			l, err := net.Listen("tcp", address)
			if err != nil {
				t.Fatalf("somebody still has the port: %v", err)
			}
			l.Close()
		})
	}
}

// TestWithoutCorral is what devserver would do with os/exec: it kills the command, and
// the port is still in use.
func TestWithoutCorral(t *testing.T) {
	address := freePort(t)
	cmd := self("npm", address)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	server := serving(t, out)
	cmd.Process.Kill()
	cmd.Process.Wait() // Wait would wait for the output, which the server holds
	l, err := net.Listen("tcp", address)
	if err == nil {
		l.Close()
		t.Error("the port is free")
	} else if !strings.Contains(err.Error(), "address already in use") {
		t.Error(err)
	}
	syscall.Kill(server, syscall.SIGKILL) // it has not ended: its output is not at its end
	io.Copy(io.Discard, out)
}
