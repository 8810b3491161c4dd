//go:build linux

// Package plugin runs a host and a plugin of hashicorp/go-plugin. The plugin starts a
// process and does not stop it. Without corral that is left; with corral.Contain it
// is not.
package plugin

import (
	"bufio"
	"fmt"
	"net/rpc"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/leavetest"
)

func TestMain(m *testing.M) {
	switch role() {
	case "plugin", "stubborn plugin":
		leavetest.Leave().Close()
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: plugins})
		if role() == "stubborn plugin" {
			time.Sleep(time.Minute)
		}
		os.Exit(0)
	case "host":
		host()
	}
	os.Exit(m.Run())
}

// role is what this process is, empty for the test. It is an argument, because
// variables of the host's may come before those of a command.
func role() string {
	if len(os.Args) == 2 && !strings.HasPrefix(os.Args[1], "-") {
		return os.Args[1]
	}
	return ""
}

var (
	handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "CORRAL_PLUGIN", MagicCookieValue: "yes"}
	plugins   = plugin.PluginSet{"greeter": &greeterPlugin{}}
)

type greeterPlugin struct{}

func (greeterPlugin) Server(*plugin.MuxBroker) (any, error)                  { return greeter{}, nil }
func (greeterPlugin) Client(_ *plugin.MuxBroker, c *rpc.Client) (any, error) { return c, nil }

type greeter struct{}

func (greeter) Greet(name string, reply *string) error {
	*reply = "hello " + name
	return nil
}

// host is a host that is killed.
func host() {
	if _, err := connect("plugin", os.Getenv("PLUGIN_CONTAIN") == "true"); err != nil {
		panic(err)
	}
	fmt.Println("connected")
	time.Sleep(time.Minute)
	os.Exit(1)
}

// connect starts a plugin and returns its client, when it has greeted.
func connect(role string, contain bool) (*plugin.Client, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, role)
	if contain {
		if err := corral.Contain(cmd, corral.ContainOptions{}); err != nil {
			return nil, err
		}
	}
	client := plugin.NewClient(&plugin.ClientConfig{
		Cmd: cmd, HandshakeConfig: handshake, Plugins: plugins, Logger: hclog.NewNullLogger(),
	})
	protocol, err := client.Client()
	if err != nil {
		return nil, err
	}
	raw, err := protocol.Dispense("greeter")
	if err != nil {
		return nil, err
	}
	var reply string
	if err := raw.(*rpc.Client).Call("Plugin.Greet", "you", &reply); err != nil || reply != "hello you" {
		return nil, fmt.Errorf("it says %q, %v", reply, err)
	}
	return client, nil
}

// both runs a test with corral.Contain, and the control.
func both(t *testing.T, test func(t *testing.T, contain bool)) {
	for name, contain := range map[string]bool{"contained": true, "control": false} {
		t.Run(name, func(t *testing.T) { test(t, contain) })
	}
}

// TestClosed: the host ends the plugin, which does as it is asked.
func TestClosed(t *testing.T) {
	both(t, func(t *testing.T, contain bool) {
		l := leavetest.Watch(t)
		client, err := connect("plugin", contain)
		if err != nil {
			t.Fatal(err)
		}
		client.Kill()
		if !client.Exited() {
			t.Error("the plugin has not ended")
		}
		l.ComesTo(!contain)
	})
}

// TestKilled: the plugin does not end when it is asked, so the host kills it after two
// seconds.
func TestKilled(t *testing.T) {
	both(t, func(t *testing.T, contain bool) {
		l := leavetest.Watch(t)
		client, err := connect("stubborn plugin", contain)
		if err != nil {
			t.Fatal(err)
		}
		client.Kill()
		l.ComesTo(!contain)
	})
}

// TestHostKilled: the host gets SIGKILL.
func TestHostKilled(t *testing.T) {
	both(t, func(t *testing.T, contain bool) {
		l := leavetest.Watch(t)
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(exe, "host")
		cmd.Env = append(os.Environ(), fmt.Sprintf("PLUGIN_CONTAIN=%t", contain))
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
		l.ComesTo(!contain)
	})
}
