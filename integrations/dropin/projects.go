//go:build linux

package main

// project is another project's module, at a fixed version.
type project struct {
	name     string // short, for people
	module   string
	version  string
	packages []string // the tested ones, which start commands
	skip     string   // a -skip pattern of tests that do not run, before or after
	short    bool     // also run with -short
	explain  []explanation
}

// explanation is why a test that passes with os/exec does not pass with Corral.
type explanation struct {
	test string // a regular expression for package and test
	held string // the containment under which that happens; empty is any
	why  string
}

var projects = []project{
	{name: "go-cmd", module: "github.com/go-cmd/cmd", version: "v1.4.4", packages: []string{"."}, short: true},
	{name: "k8s-utils", module: "k8s.io/utils", version: "v0.0.0-20261023123148-ca04ba58ecab", packages: []string{"./exec/...", "./mount"}, short: true},
	{name: "mage", module: "github.com/magefile/mage", version: "v1.17.2", packages: []string{"./internal", "./mage", "./mg", "./sh"}},
	{name: "sh", module: "mvdan.cc/sh/v3", version: "v3.14.1", packages: []string{"./interp"}},
	{
		name: "air", module: "github.com/air-verse/air", version: "v1.67.4", packages: []string{"./runner"},
		explain: []explanation{{
			test: `runner (TestBuildRun|TestCtrlC|TestFixClose|TestRebuild$|TestRun$|Test_killCmd_SendInterrupt)`, held: "keeper",
			why: "it waits by Process.Wait, which fails under a keeper: docs/migrate.md",
		}},
	},
}
