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

// again is how often dropin runs a test again that differs, on both sides.
const again = 3

// differences prints each test that has ended otherwise than before. One that
// passed before and does not now has an explanation, or it runs again: if it then
// always passes, or fails before the change as well, it is unsteady by itself.
func (d *dropin) differences(p project, before, after string, w way, old, now *result) error {
	var worse []string
	for _, name := range union(old.tests, now.tests) {
		was, is := old.tests[name], now.tests[name]
		switch short := strings.TrimPrefix(strings.TrimPrefix(name, p.module), "/"); {
		case was == is:
		case was == "pass" || was == "" && is == "fail":
			worse = append(worse, name)
		default:
			fmt.Printf("  %s: %s, now %s\n", short, cmp.Or(was, "not run"), cmp.Or(is, "not run"))
		}
	}
	shown := make(map[string]bool) // of the explanations
	verdicts := make(map[string]string)
	var open []string
	for _, name := range worse {
		if why := p.explained(name, w.held); why != "" {
			verdicts[name], shown[why] = "explained: "+why, true
		} else {
			open = append(open, name)
		}
	}
	oldAgain, err := d.repeat(p, before, w, open)
	if err != nil {
		return err
	}
	nowAgain, err := d.repeat(p, after, w, open)
	if err != nil {
		return err
	}
	for _, name := range open {
		if oldAgain.tests[name] == "fail" || nowAgain.tests[name] == "pass" {
			verdicts[name] = fmt.Sprintf("unsteady: of %d more runs, %d fail with os/exec and %d with Corral",
				again, oldAgain.failures[name], nowAgain.failures[name])
			continue
		}
		verdicts[name] = "NOT EXPLAINED\n" + indented(now.output[name])
		d.failed = true
	}
	for _, name := range worse {
		fmt.Printf("  %s: passed, now %s: %s\n", strings.TrimPrefix(strings.TrimPrefix(name, p.module), "/"),
			cmp.Or(now.tests[name], "not run"), strings.TrimSpace(verdicts[name]))
	}
	for _, e := range p.explain {
		if (e.held == "" || e.held == w.held) && !shown[e.why] && d.run == "" {
			fmt.Printf("  %s: no difference this time, though there is an explanation for one\n", e.test)
		}
	}
	return nil
}

// repeat runs tests again, by their package and topmost name.
func (d *dropin) repeat(p project, dir string, w way, names []string) (*result, error) {
	all := newResult()
	byPackage := make(map[string][]string)
	for _, name := range names {
		pkg, test, _ := strings.Cut(name, " ")
		top, _, _ := strings.Cut(test, "/")
		byPackage[pkg] = append(byPackage[pkg], regexp.QuoteMeta(top))
	}
	for pkg, tests := range byPackage {
		match := ""
		if !slices.Contains(tests, "") { // else the package itself fails
			match = "^(" + strings.Join(tests, "|") + ")$"
		}
		p.packages = []string{pkg}
		r, err := d.test(p, dir, w, match, again)
		if err != nil {
			return nil, err
		}
		maps.Copy(all.tests, r.tests)
		maps.Copy(all.failures, r.failures)
	}
	return all, nil
}

func (p project) explained(name, held string) string {
	for _, e := range p.explain {
		if (e.held == "" || e.held == held) && regexp.MustCompile(e.test).MatchString(name) {
			return e.why
		}
	}
	return ""
}

func union(a, b map[string]string) []string {
	all := maps.Clone(a)
	maps.Copy(all, b)
	return slices.Sorted(maps.Keys(all))
}
