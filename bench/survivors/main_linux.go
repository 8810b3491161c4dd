// Command survivors tries the hostile children of Corral's tests against what people
// use to run commands, and prints a Markdown table of how many leave something: see
// docs/survivors.md. It is for Linux.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"github.com/corral-run/corral/internal/escape"
)

func main() {
	escape.Main()
	if len(os.Args) == 3 && os.Args[1] == trialRole {
		inCage(os.Args[2])
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "survivors:", err)
		os.Exit(1)
	}
}

func run() error {
	peers := flag.String("peers", "", "only the peers whose name matches this `regexp`")
	names := flag.String("children", "", "only the children whose name matches this `regexp`")
	modules := flag.String("node-modules", "", "the `directory` node_modules in which npm has installed execa, tree-kill, bun and deno")
	atOnce := flag.Int("j", 4, "`trials` at the same time")
	flag.Parse()
	wantedPeers, err1 := regexp.Compile(*peers)
	wantedNames, err2 := regexp.Compile(*names)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if flag.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if *atOnce < 1 {
		return fmt.Errorf("-j %d: at least one trial has to go on at a time", *atOnce)
	}
	if *modules != "" { // node would look for a relative one among its packages
		var err error
		if *modules, err = filepath.Abs(*modules); err != nil {
			return err
		}
	}
	dir, err := os.MkdirTemp("", "corral-survivors-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{dir: dir, modules: *modules}
	if err := b.prepare(); err != nil {
		return err
	}
	return table(os.Stdout, b, wantedPeers, wantedNames, *atOnce)
}
