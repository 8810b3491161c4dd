package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/escape"
)

// cell is what has come of all children, of one peer in one scenario.
type cell struct {
	tried int
	left  []string // the children that have left something
}

// table tries all that is wanted, and prints a row for each peer. A trial that fails
// does not stop the others; its child counts neither as held nor as left.
func table(w io.Writer, b *bench, wantedPeers, wantedNames *regexp.Regexp, atOnce int) error {
	children, skipped := childrenHere(wantedNames)
	if len(children) == 0 {
		return errors.New("no child has such a name")
	}
	var peers []peerOf
	for _, p := range b.peers() {
		if !wantedPeers.MatchString(p.name) {
			continue
		}
		if err := p.missing(); err != nil {
			skipped = append(skipped, fmt.Sprintf("%s: %v", p.name, err))
			continue
		}
		peers = append(peers, p)
	}
	fmt.Fprintf(w, "%s, %s, %s; %d children, by user %d.\n\n", time.Now().UTC().Format("2006-01-02"), kernel(),
		runtime.GOARCH, len(children), os.Geteuid())
	fmt.Fprintln(w, "| peer | the command ends | it is stopped | SIGKILL |\n| --- | --- | --- | --- |")
	var notes, failures []string
	for _, p := range peers {
		fmt.Fprintln(os.Stderr, "trying:", p.name)
		for _, child := range children {
			if why := p.cannot[child]; why != "" {
				skipped = append(skipped, fmt.Sprintf("%s, the child %s: %s", p.name, child, why))
			}
		}
		cells, failed := tryAll(b, p, children, atOnce)
		failures = append(failures, failed...)
		fmt.Fprintf(w, "| %s |", p.name)
		for _, s := range scenarios {
			fmt.Fprintf(w, " %d of %d |", len(cells[s].left), cells[s].tried)
		}
		fmt.Fprintln(w)
		notes = append(notes, fmt.Sprintf("%s: %s. %s", p.name, p.version(), p.how())+whatIsLeft(cells))
	}
	list(w, "Peers, and what they leave", notes)
	list(w, "Skipped", skipped)
	list(w, "Failed", failures)
	if len(failures) > 0 {
		return fmt.Errorf("%d trials have failed", len(failures))
	}
	return nil
}

// whatIsLeft names the children of a peer that leaves few.
func whatIsLeft(cells map[string]cell) string {
	const few = 6
	var said []string
	for _, s := range scenarios {
		if n := len(cells[s].left); n > 0 && n <= few {
			said = append(said, fmt.Sprintf("%s: %s", s, strings.Join(cells[s].left, ", ")))
		}
	}
	if len(said) == 0 {
		return ""
	}
	return " Left: " + strings.Join(said, "; ") + "."
}

func list(w io.Writer, title string, lines []string) {
	if len(lines) > 0 {
		fmt.Fprintf(w, "\n%s:\n\n- %s\n", title, strings.Join(lines, "\n- "))
	}
}

// childrenHere returns the children that this machine and user can have, and a line for
// each of the others.
func childrenHere(wanted *regexp.Regexp) (here []string, skipped []string) {
	for _, c := range escape.All() {
		if !wanted.MatchString(c.Name) {
			continue
		}
		if err := c.Unavailable(); err != nil {
			skipped = append(skipped, fmt.Sprintf("the child %s: %v", c.Name, err))
			continue
		}
		here = append(here, c.Name)
	}
	return here, skipped
}

// tryAll tries all children with one peer, in all scenarios.
func tryAll(b *bench, p peerOf, children []string, atOnce int) (cells map[string]cell, failures []string) {
	cells = make(map[string]cell)
	var mu sync.Mutex
	var all sync.WaitGroup
	tokens := make(chan struct{}, atOnce)
	for _, child := range children {
		if p.cannot[child] != "" {
			continue
		}
		for _, s := range scenarios {
			tokens <- struct{}{}
			all.Go(func() {
				defer func() { <-tokens }()
				left, err := b.try(trial{Peer: p.name, Scenario: s, Child: child})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failures = append(failures, fmt.Sprintf("%s, %s, %s: %v", p.name, s, child, err))
					return
				}
				c := cells[s]
				c.tried++
				if len(left) > 0 {
					c.left = append(c.left, child)
					slices.Sort(c.left)
				}
				cells[s] = c
			})
		}
	}
	all.Wait()
	return cells, failures
}

func kernel() string {
	var u unix.Utsname
	unix.Uname(&u)
	return "Linux " + unix.ByteSliceToString(u.Release[:])
}
