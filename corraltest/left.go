package corraltest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/proctree"
)

// patience is for what is about to end when its parent does: it has been killed,
// or its input has come to an end. Only tests change it.
var patience = time.Second

// left is what a leader has left, as long as it was there: a Report has no parents.
type left struct {
	seen sync.Mutex
	rows []proctree.Process
}

func (l *left) Patience() time.Duration { return patience }

func (l *left) Left(rows []proctree.Process) {
	l.seen.Lock()
	defer l.seen.Unlock()
	l.rows = slices.DeleteFunc(slices.Clone(rows), helper.Is)
}

// verdict says what is wrong with how the run of what has ended. It is empty if nothing
// is.
func (l *left) verdict(r *corral.Report, what string) string {
	var text []string
	if behind := unwanted(r.Leftovers); r.Ending == corral.Exited && len(behind) > 0 {
		text = append(text, fmt.Sprintf("%s has left %s behind:\n%s", what, count(len(behind)), l.tree(behind)))
	} else if s := r.Survivors(); len(s) > 0 {
		text = append(text, fmt.Sprintf("%s cannot be stopped:\n%s", what, l.tree(s)))
	}
	if r.Unknown != "" {
		text = append(text, fmt.Sprintf("%s: cannot tell whether anything is left: %s", what, r.Unknown))
	}
	if r.KeeperLost {
		text = append(text, fmt.Sprintf("%s: %v", what, corral.ErrKeeperLost))
	}
	return strings.Join(text, "\n")
}

// unwanted are the leftovers that have not been kept on purpose.
func unwanted(all []corral.Leftover) []corral.Leftover {
	return slices.DeleteFunc(slices.Clone(all), func(l corral.Leftover) bool { return l.Fate == corral.Kept || l.Fate == corral.Detached })
}

func count(n int) string {
	if n == 1 {
		return "a process"
	}
	return fmt.Sprintf("%d processes", n)
}

// tree draws the leftovers, each below its parent if that is one too.
func (l *left) tree(leftovers []corral.Leftover) string {
	l.seen.Lock()
	defer l.seen.Unlock()
	parents := make(map[int]int)
	for _, p := range l.rows {
		parents[p.PID] = p.PPID
	}
	there := make(map[int]bool)
	for _, p := range leftovers {
		there[p.PID] = true
	}
	children := make(map[int][]corral.Leftover)
	for _, p := range leftovers {
		parent := parents[p.PID]
		if !there[parent] || parent == p.PID {
			parent = 0
		}
		children[parent] = append(children[parent], p)
	}
	var b strings.Builder
	var draw func(parent int, indent string)
	draw = func(parent int, indent string) {
		below := children[parent]
		slices.SortFunc(below, func(a, b corral.Leftover) int {
			return cmp.Or(cmp.Compare(a.Start, b.Start), a.PID-b.PID)
		})
		for _, p := range below {
			fmt.Fprintf(&b, "    %s%d %s  (%s)\n", indent, p.PID, oneLine(p.Command), fate(p))
			draw(p.PID, indent+"  ")
		}
	}
	draw(0, "")
	return strings.TrimSuffix(b.String(), "\n")
}

func fate(p corral.Leftover) string {
	switch p.Fate {
	case corral.Signalled:
		return "stopped by " + p.Signal
	case corral.Forced:
		return "killed"
	case corral.Survived:
		return "survives: " + p.Reason
	}
	return string(p.Fate)
}

// oneLine is a command line as text that is none of the terminal's, nor of
// test2json's.
func oneLine(args []string) string {
	const longest = 200
	text := []rune(strings.Join(args, " "))
	if len(text) > longest {
		text = append(text[:longest], '…')
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, string(text))
}
