//go:build linux

// Package mcp runs a client and a server of modelcontextprotocol/go-sdk, which talk
// over the server's standard streams. The server starts a process and does not stop
// it. Without corral that is left; with corral.Contain it is not.
package mcp

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/leavetest"
)

func TestMain(m *testing.M) {
	switch role() {
	case "server", "stubborn server":
		serve()
	case "host":
		host()
	}
	dir, err := os.MkdirTemp("", "mcp-")
	if err != nil {
		panic(err)
	}
	for name, from := range map[string]string{"corral": "../../cmd/corral", "mcphost": "./mcphost"} {
		build := exec.Command("go", "build", "-o", filepath.Join(dir, name), ".")
		build.Dir = from
		if out, err := build.CombinedOutput(); err != nil {
			panic(string(out))
		}
	}
	os.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// role is what this process is, empty for the test. It is an argument, because
// variables of the host's may come before those of a command.
func role() string {
	if len(os.Args) == 2 && !strings.HasPrefix(os.Args[1], "-") {
		return os.Args[1]
	}
	return ""
}

// serve is a server that leaves a process behind. A stubborn one stays when its
// input has ended, and when it is asked to end.
func serve() {
	held := leavetest.Leave()
	stubborn := role() == "stubborn server"
	if stubborn {
		signal.Ignore(syscall.SIGTERM)
		defer held.Close() // and not before: the finalizer would close it
	} else {
		held.Close()
	}
	server := mcp.NewServer(&mcp.Implementation{Name: "server", Version: "1"}, nil)
	mcp.AddTool(server, &mcp.Tool{Name: "nothing"}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
		return &mcp.CallToolResult{}, nil, nil
	})
	err := server.Run(context.Background(), &mcp.StdioTransport{})
	if stubborn {
		time.Sleep(time.Minute)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// host is a client that is killed.
func host() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := connect(ctx, "server", os.Getenv("MCP_HOW")); err != nil {
		panic(err)
	}
	fmt.Println("connected")
	<-ctx.Done()
	os.Exit(1)
}

// connect starts a server and returns the session with it, when it has answered.
func connect(ctx context.Context, role, how string) (*mcp.ClientSession, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, role)
	if how == byCommand { // as the configuration of a host has it
		cmd = exec.Command("corral", "-q", "--lifeline", "stdin", "--", exe, role)
	}
	cmd.Stderr = os.Stderr
	if how == byHelper {
		if corral.HelperPath, err = exec.LookPath("corral"); err != nil {
			return nil, err
		}
		defer func() { corral.HelperPath = "" }()
	}
	if how == contained || how == byHelper {
		if err := corral.Contain(cmd, corral.ContainOptions{}); err != nil {
			return nil, err
		}
	}
	patience := 30 * time.Second // for one that ends with its input
	if role == "stubborn server" {
		patience = 200 * time.Millisecond
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.CommandTransport{Command: cmd, TerminateDuration: patience}, nil)
	if err != nil {
		return nil, err
	}
	return session, session.Ping(ctx, nil)
}

// How a server is started.
const (
	control   = "control" // without corral
	contained = "contained"
	byHelper  = "contained, HelperPath"
	byCommand = "by the command"
)

func forEach(t *testing.T, test func(t *testing.T, how string)) {
	for _, how := range []string{control, contained, byHelper, byCommand} {
		t.Run(how, func(t *testing.T) { test(t, how) })
	}
}

// TestClosed: the client closes the session, and the server ends by itself.
func TestClosed(t *testing.T) {
	forEach(t, func(t *testing.T, how string) {
		l := leavetest.Watch(t)
		session, err := connect(t.Context(), "server", how)
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Close(); err != nil {
			t.Error(err)
		}
		l.ComesTo(how == control)
	})
}

// TestKilled: the server does not end when its input does, nor by SIGTERM, so the
// client kills it. The command corral gets SIGTERM, and then SIGKILL, too.
func TestKilled(t *testing.T) {
	forEach(t, func(t *testing.T, how string) {
		l := leavetest.Watch(t)
		session, err := connect(t.Context(), "stubborn server", how)
		if err != nil {
			t.Fatal(err)
		}
		if err := session.Close(); err == nil || err.Error() != "signal: killed" {
			t.Errorf("Close: %v", err)
		}
		l.ComesTo(how == control)
	})
}

// TestHostKilled: the client gets SIGKILL.
func TestHostKilled(t *testing.T) {
	forEach(t, func(t *testing.T, how string) {
		l := leavetest.Watch(t)
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "host")
		cmd.Env = append(os.Environ(), "MCP_HOW="+how)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		cmd.Process.Kill()
		cmd.Wait()
		if err != nil || line != "connected\n" {
			t.Fatalf("%q, %v", line, err)
		}
		l.ComesTo(how == control)
	})
}

// TestHost: the example of a host lists the server's tools, and leaves nothing.
func TestHost(t *testing.T) {
	l := leavetest.Watch(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	host := exec.Command("mcphost", exe, "server")
	host.Stderr = os.Stderr
	if out, err := host.Output(); err != nil || string(out) != "nothing\n" {
		t.Errorf("%q, %v", out, err)
	}
	l.ComesTo(false)
}
