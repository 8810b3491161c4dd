// Command mcphost is a host of MCP: it starts a server, says which tools that has, and
// ends it. Nothing that the server has started is left, however the server or this
// program ends.
//
//	mcphost npx -y @modelcontextprotocol/server-everything
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/corral-run/corral"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: mcphost COMMAND [ARG...]")
		os.Exit(2)
	}
	if err := run(context.Background(), os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mcphost:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, argv []string) error {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = os.Stderr
	if err := corral.Contain(cmd, corral.ContainOptions{}); err != nil { // the line
		return err
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "mcphost", Version: "1"}, nil)
	session, err := client.Connect(ctx, &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		cmd.Process.Kill() // the SDK leaves a server that does not answer
		return err
	}
	for tool, err := range session.Tools(ctx, nil) {
		if err != nil {
			session.Close()
			return err
		}
		fmt.Println(tool.Name)
	}
	return session.Close()
}
