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
	Ignore  bool `json:",omitempty"` // it ignores SIGHUP, SIGINT and SIGTERM, and so do those below it
	Stopped bool `json:",omitempty"` // it has stopped itself by SIGSTOP
	Below   []Node
}

// Tree returns a child whose leader has started nodes, which have the role
// "node". It is not among All.
func Tree(nodes ...Node) Child {
	shape, err := json.Marshal(nodes)
	if err != nil {
		panic(err)
	}
	return Child{
		Name:    treeRole,
		Doc:     string(shape),
		Members: 1 + count(nodes),
		args:    []string{string(shape)},
	}
}

func count(nodes []Node) int {
	n := len(nodes)
	for _, node := range nodes {
		n += count(node.Below)
	}
	return n
}

const treeRole = "tree"

func init() {
	addMember(treeRole, func(p *process) {
		p.grow()
		p.lead()
	})
	addMember("node", func(p *process) {
		n := p.grow()[0]
		p.named(os.Getpid(), "node")
		if n.Stopped {
			if err := syscall.Kill(os.Getpid(), syscall.SIGSTOP); err != nil {
				p.fail(os.NewSyscallError("kill", err))
			}
		}
		p.stay()
	})
	addMember("node-parent", func(p *process) { p.member("node", nil, p.args) })
}

// grow starts what is below the nodes of the arguments if the process is one of
// them, else the nodes, and returns them.
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
