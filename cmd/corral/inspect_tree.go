//go:build linux || darwin || freebsd || windows

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/registry"
)

// memberTree is the picture of a run's members, as `corral tree` draws it. Those of an
// owner in another PID namespace have other numbers here, so that they are listed as
// the owner tells of them.
func memberTree(w io.Writer, r *knownRun, members []registry.Process) (string, error) {
	if r.state == stateUnseen {
		var b strings.Builder
		for _, p := range members {
			fmt.Fprintf(&b, "%d %s\n", p.PID, printable(strings.Join(p.Command, " ")))
		}
		return b.String(), nil
	}
	ids := make(map[proctree.ID]bool, len(members))
	for _, p := range members {
		ids[p.ID()] = true
	}
	table, err := proctree.Snapshot()
	if err != nil {
		return "", err
	}
	table = slices.DeleteFunc(table, func(p proctree.Process) bool { return !ids[p.ID] })
	if r.Redacted {
		for i, p := range table {
			table[i].Args = p.Args[:min(1, len(p.Args))]
		}
	}
	v := view{now: time.Now(), ascii: !utf8Locale(os.Getenv)}
	if f := fileOf(w); f != nil && term.IsTerminal(int(f.Fd())) {
		v.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
		v.width, _, _ = term.GetSize(int(f.Fd()))
	}
	return drawTree(table, v), nil
}
