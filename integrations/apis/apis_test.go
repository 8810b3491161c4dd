//go:build linux

// Package apis shows what to write where another module's function wants an
// *exec.Cmd: docs/migrate.md has the same lines. In each test the command leaves
// something behind, which has to be gone in the end.
package apis

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/creack/pty"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"github.com/mark3labs/mcp-go/client"
	"github.com/mark3labs/mcp-go/client/transport"
	mcpgo "github.com/mark3labs/mcp-go/mcp"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/corral-run/corral"
)

func TestMain(m *testing.M) {
	switch os.Getenv("APIS_SERVER") {
	case "mcp":
		leave()
		server := mcp.NewServer(&mcp.Implementation{Name: "server", Version: "1"}, nil)
		if err := server.Run(context.Background(), &mcp.StdioTransport{}); err != nil && !errors.Is(err, io.EOF) {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	case "plugin":
		leave()
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugins})
		os.Exit(0)
	}
	os.Exit(withCommand(m))
}

// withCommand runs the tests with the command corral in PATH.
func withCommand(m *testing.M) int {
	dir, err := os.MkdirTemp("", "apis-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "corral"), ".")
	build.Dir = "../../cmd/corral"
	if out, err := build.CombinedOutput(); err != nil {
		panic(string(out))
	}
	os.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return m.Run()
}

// leave starts what the server leaves behind.
func leave() {
	held, err := os.OpenFile(os.Getenv("APIS_HELD"), os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	sleep := exec.Command("sleep", "30")
	sleep.Stdout = held
	if err := sleep.Start(); err != nil {
		panic(err)
	}
	held.Close()
}

// holder makes a FIFO for what is left behind to hold open. gone fails the test if
// something still holds it.
func holder(t *testing.T) (path string, gone func()) {
	path = filepath.Join(t.TempDir(), "held")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	t.Setenv("APIS_HELD", path)
	return path, func() {
		t.Helper()
		f.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := f.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("something is left: %v", err)
		}
	}
}

func self(t *testing.T) string {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return exe
}

// pty.Start: the command as a prefix, or a corral.PTY.

func TestPTYStart(t *testing.T) {
	held, gone := holder(t)
	cmd := exec.Command("corral", "--", "sh", "-c", `trap "" HUP; sleep 30 >"$0" 2>&1 & tty`, held)
	f, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out, _ := io.ReadAll(f) // ends with EIO
	if err := cmd.Wait(); err != nil || !strings.HasPrefix(string(out), "/dev/pts/") {
		t.Errorf("%v, %q", err, out)
	}
	gone()
}

func TestPTY(t *testing.T) {
	held, gone := holder(t)
	cmd := corral.Command("sh", "-c", `trap "" HUP; sleep 30 >"$0" 2>&1 & tty`, held)
	cmd.PTY = &corral.PTY{Rows: 24, Cols: 80}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(cmd.PTY)
	if err := cmd.Wait(); err != nil || !strings.HasPrefix(string(out), "/dev/pts/") {
		t.Errorf("%v, %q", err, out)
	}
	gone()
}

// tea.ExecProcess: tea.Exec takes an interface, which a corral.Cmd satisfies with
// three more lines.

type teaCommand struct{ *corral.Cmd }

func (c teaCommand) SetStdin(r io.Reader)  { c.Stdin = r }
func (c teaCommand) SetStdout(w io.Writer) { c.Stdout = w }
func (c teaCommand) SetStderr(w io.Writer) { c.Stderr = w }

type model struct {
	cmd *corral.Cmd
	err *error
}

type over struct{ err error }

func (m model) Init() tea.Cmd {
	return tea.Exec(teaCommand{m.cmd}, func(err error) tea.Msg { return over{err} })
}

func (m model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if msg, ok := msg.(over); ok {
		*m.err = msg.err
		return m, tea.Quit
	}
	return m, nil
}

func (m model) View() string { return "" }

func TestTeaExec(t *testing.T) {
	held, gone := holder(t)
	err := errors.New("not run")
	var out strings.Builder
	cmd := corral.Command("sh", "-c", `sleep 30 >"$0" & echo edited`, held)
	if _, runErr := tea.NewProgram(model{cmd, &err}, tea.WithInput(strings.NewReader("")), tea.WithOutput(&out)).Run(); runErr != nil {
		t.Fatal(runErr)
	}
	if err != nil || !strings.Contains(out.String(), "edited") || cmd.Report() == nil {
		t.Errorf("%v, %q", err, out.String())
	}
	gone()
}

// mcp.CommandTransport of modelcontextprotocol/go-sdk: the command as a prefix,
// or the pipes of a corral.Cmd.

func TestCommandTransport(t *testing.T) {
	_, gone := holder(t)
	cmd := exec.Command("corral", "--", self(t))
	cmd.Env = append(os.Environ(), "APIS_SERVER=mcp")
	talk(t, &mcp.CommandTransport{Command: cmd})
	gone()
}

func TestIOTransport(t *testing.T) {
	_, gone := holder(t)
	cmd := corral.Command(self(t))
	cmd.Env = append(os.Environ(), "APIS_SERVER=mcp")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	talk(t, &mcp.IOTransport{Reader: stdout, Writer: stdin})
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	gone()
}

func talk(t *testing.T, transport mcp.Transport) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "client", Version: "1"}, nil).Connect(ctx, transport, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := session.Ping(ctx, nil); err != nil {
		t.Error(err)
	}
	if err := session.Close(); err != nil {
		t.Error(err)
	}
}

// mark3labs/mcp-go makes its *exec.Cmd by a function that the caller may set.

func TestCommandFunc(t *testing.T) {
	_, gone := holder(t)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c, err := client.NewStdioMCPClientWithOptions(self(t), []string{"APIS_SERVER=mcp"}, nil,
		transport.WithCommandFunc(func(ctx context.Context, name string, env, args []string) (*exec.Cmd, error) {
			cmd := exec.CommandContext(ctx, "corral", append([]string{"--", name}, args...)...)
			cmd.Env = append(os.Environ(), env...)
			return cmd, nil
		}))
	if err != nil {
		t.Fatal(err)
	}
	hello := mcpgo.InitializeRequest{}
	hello.Params.ProtocolVersion = mcpgo.LATEST_PROTOCOL_VERSION
	hello.Params.ClientInfo = mcpgo.Implementation{Name: "client", Version: "1"}
	if _, err := c.Initialize(ctx, hello); err != nil {
		t.Error(err)
	}
	if err := c.Ping(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	gone()
}

// plugin.ClientConfig of hashicorp/go-plugin: Cmd, with the command as a prefix, or
// RunnerFunc.

var (
	handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "APIS_PLUGIN", MagicCookieValue: "yes"}
	plugins   = plugin.PluginSet{"greeter": &greeterPlugin{}}
)

type greeterPlugin struct{}

func (greeterPlugin) Server(*plugin.MuxBroker) (any, error) { return greeter{}, nil }
func (greeterPlugin) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) {
	return c, nil
}

type greeter struct{}

func (greeter) Greet(name string, reply *string) error {
	*reply = "hello " + name
	return nil
}

func TestPluginCmd(t *testing.T) {
	_, gone := holder(t)
	cmd := exec.Command("corral", "--", self(t))
	cmd.Env = append(os.Environ(), "APIS_SERVER=plugin")
	greet(t, &plugin.ClientConfig{Cmd: cmd})
	gone()
}

func TestPluginRunner(t *testing.T) {
	_, gone := holder(t)
	greet(t, &plugin.ClientConfig{RunnerFunc: func(_ hclog.Logger, spec *exec.Cmd, _ string) (runner.Runner, error) {
		cmd := corral.Command(self(t))
		cmd.Env = append(append(os.Environ(), spec.Env...), "APIS_SERVER=plugin")
		return newPluginRunner(cmd)
	}})
	gone()
}

func greet(t *testing.T, config *plugin.ClientConfig) {
	t.Helper()
	config.HandshakeConfig, config.Plugins, config.Logger = handshake, plugins, hclog.NewNullLogger()
	c := plugin.NewClient(config)
	defer c.Kill()
	protocol, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.Dispense("greeter")
	if err != nil {
		t.Fatal(err)
	}
	var reply string
	if err := raw.(*rpc.Client).Call("Plugin.Greet", "you", &reply); err != nil || reply != "hello you" {
		t.Errorf("%q, %v", reply, err)
	}
}

// pluginRunner is a corral.Cmd as go-plugin wants it.
type pluginRunner struct {
	cmd            *corral.Cmd
	stdout, stderr io.ReadCloser
}

func newPluginRunner(cmd *corral.Cmd) (*pluginRunner, error) {
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	stderr, err := cmd.StderrPipe()
	return &pluginRunner{cmd, stdout, stderr}, err
}

func (r *pluginRunner) Start(context.Context) error     { return r.cmd.Start() }
func (r *pluginRunner) Wait(context.Context) error      { return r.cmd.Wait() }
func (r *pluginRunner) Kill(ctx context.Context) error  { return r.cmd.Stop(ctx) }
func (r *pluginRunner) Stdout() io.ReadCloser           { return r.stdout }
func (r *pluginRunner) Stderr() io.ReadCloser           { return r.stderr }
func (r *pluginRunner) Name() string                    { return r.cmd.Path }
func (r *pluginRunner) ID() string                      { return strconv.Itoa(r.cmd.Process.Pid) }
func (r *pluginRunner) Diagnose(context.Context) string { return "" }

func (r *pluginRunner) PluginToHost(network, addr string) (string, string, error) {
	return network, addr, nil
}

func (r *pluginRunner) HostToPlugin(network, addr string) (string, string, error) {
	return network, addr, nil
}
