package main

// project is a module of other people's, at a fixed version.
type project struct {
	name     string // short, for people
	module   string
	version  string
	packages []string // what is tested; nil is all
	skip     string   // tests that are not run, before or after, as a -skip pattern
	short    bool     // also run with -short
	explain  []explanation
}

// explanation is why a test that passes with os/exec does not with Corral.
type explanation struct {
	test string // a regular expression for package and test
	held string // the containment that it happens under; empty is any
	why  string
}

var projects = []project{
	{name: "air", module: "github.com/air-verse/air", version: "v1.67.4"},
	{name: "mage", module: "github.com/magefile/mage", version: "v1.17.2"},
	{name: "go-cmd", module: "github.com/go-cmd/cmd", version: "v1.4.4"},
	{name: "sh", module: "mvdan.cc/sh/v3", version: "v3.14.1"},
	{name: "task", module: "github.com/go-task/task/v3", version: "v3.54.0"},
	{name: "go-git", module: "github.com/go-git/go-git/v5", version: "v5.19.3"},
	{name: "k8s-exec", module: "k8s.io/utils", version: "v0.0.0-20261023123148-ca04ba58ecab"},
	{name: "bubbletea", module: "github.com/charmbracelet/bubbletea", version: "v1.3.10"},
	{name: "go-runc", module: "github.com/containerd/go-runc", version: "v1.2.1"},
	{name: "go-sdk", module: "github.com/modelcontextprotocol/go-sdk", version: "v1.8.0"},
	{name: "go-plugin", module: "github.com/hashicorp/go-plugin", version: "v1.8.0"},
	{name: "go-internal", module: "github.com/rogpeppe/go-internal", version: "v1.16.0"},
}
