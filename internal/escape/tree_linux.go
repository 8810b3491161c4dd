package escape

import (
	"encoding/json"
	"os"
	"os/signal"
	"syscall"
)

// Node is a process of a Tree, with those that it starts.
type Node struct {
	Session bool `json:",omitempty"` // it is in a session of its own
	Orphan  bool `json:",omitempty"` // its parent is gone
	// It ignores SIGHUP, SIGINT and SIGTERM, and so do those below it.
	Ignore  bool `json:",omitempty"`
	Stopped bool `json:",omitempty"` // it has stopped itself by SIGSTOP
	Below   []Node
}

// Tree returns a child whose leader has started nodes. Their role is "node". Tree
// is not among All.
func Tree(nodes ...Node) Child {
	shape, err := json.Marshal(nodes)
	if err != nil {
		panic(err)
	}
	c := trees
	c.Doc = string(shape)
	c.Members = 1 + count(nodes)
	c.args = []string{string(shape)}
	return c
}

func count(nodes []Node) int {
	n := len(nodes)
	for _, node := range nodes {
		n += count(node.Below)
	}
	return n
}

var trees = define(Child{Name: "tree"}, parts{
	"leader": func(p *process) {
		p.grow()
		p.lead()
	},
	"node": func(p *process) {
		n := p.grow()[0]
		p.named(os.Getpid(), "node")
		if n.Stopped {
			if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
				p.fail(os.NewSyscallError("kill", err))
			}
		}
		p.stay()
	},
	"node-parent": func(p *process) { p.member("node", nil, p.args) },
})

// grow returns the nodes of the arguments. In a node, which finds itself there, it
// starts what is below it; in the leader it starts the nodes.
func (p *process) grow() []Node {
	var nodes []Node
	if err := json.Unmarshal([]byte(p.args[0]), &nodes); err != nil {
		p.fail(err)
	}
	below := nodes
	if p.role == "node" {
		n := nodes[0]
		if n.Ignore {
			signal.Ignore(polite...)
		} else if n.Stopped {
			// As for the "frozen" of the child stopped.
			signal.Ignore(syscall.SIGHUP)
		}
		below = n.Below
	}
	for _, n := range below {
		shape, err := json.Marshal([]Node{n})
		if err != nil {
			p.fail(err)
		}
		var sys *syscall.SysProcAttr
		if n.Session {
			sys = &syscall.SysProcAttr{Setsid: true}
		}
		if n.Orphan {
			p.waitFor(p.member("node-parent", sys, []string{string(shape)}))
		} else {
			p.member("node", sys, []string{string(shape)})
		}
	}
	return nodes
}
