//go:build linux

package main

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// again is how often a test that differs is run again, on both sides.
const again = 3

// differences prints each test that has ended otherwise. One that passed before
// and does not now is run again: if it then passes always, or fails before as
// well, it is unsteady by itself. What is left has to be explained.
func (d *dropin) differences(p project, before, after string, w way, old, now *result) error {
	shown := make(map[string]bool) // of the explanations
	for _, name := range slices.Sorted(maps.Keys(union(old.tests, now.tests))) {
		was, is := cmp.Or(old.tests[name], "not run"), cmp.Or(now.tests[name], "not run")
		if was == is {
			continue
		}
		short := strings.TrimPrefix(strings.TrimPrefix(name, p.module), "/")
		verdict := ""
		if was == "pass" || is == "fail" && was != "skip" {
			var err error
			if verdict, err = d.repeat(p, before, after, w, name); err != nil {
				return err
			}
			if verdict == "" {
				verdict = p.explained(name, w.held)
				shown[verdict] = true
			}
			if verdict == "" {
				verdict = "NOT EXPLAINED"
				d.failed = true
			}
		}
		fmt.Printf("  %s: %s, now %s. %s\n", short, was, is, verdict)
		if verdict == "NOT EXPLAINED" {
			fmt.Print(indented(now.output[name]))
		}
	}
	for _, e := range p.explain {
		if (e.held == "" || e.held == w.held) && !shown[e.why] && d.run == "" {
			fmt.Printf("  %s: did not show this time: %s\n", e.test, e.why)
		}
	}
	return nil
}

// repeat runs a test again on both sides, and says whether it is unsteady.
func (d *dropin) repeat(p project, before, after string, w way, name string) (string, error) {
	pkg, test, _ := strings.Cut(name, " ")
	p.packages = []string{pkg}
	top, _, _ := strings.Cut(test, "/")
	match := "^" + regexp.QuoteMeta(top) + "$"
	if top == "" {
		match = ""
	}
	old, err := d.test(p, before, w, match, again)
	if err != nil {
		return "", err
	}
	now, err := d.test(p, after, w, match, again)
	switch {
	case err != nil:
		return "", err
	case old.tests[name] == "fail":
		return fmt.Sprintf("Unsteady: again, %d of %d fail with os/exec, %d with Corral", old.failures[name], again, now.failures[name]), nil
	case now.tests[name] == "pass":
		return fmt.Sprintf("Unsteady: again, none of %d fails", again), nil
	}
	return "", nil
}

func (p project) explained(name, held string) string {
	for _, e := range p.explain {
		if (e.held == "" || e.held == held) && regexp.MustCompile(e.test).MatchString(name) {
			return e.why
		}
	}
	return ""
}

func union(a, b map[string]string) map[string]string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return all
}
