//go:build linux || darwin || freebsd || windows

package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral"
)

func TestParsePlan(t *testing.T) {
	closing := corral.StopStep{CloseStdin: true, Wait: 5 * time.Second}
	term := corral.StopStep{Signal: syscall.SIGTERM, Wait: 500 * time.Millisecond}
	for in, want := range map[string]corral.StopPlan{
		"stdin:5s":               {closing},
		"STDIN:5":                {closing},
		"stdin:5s,TERM:500ms":    {closing, term},
		"sigterm:.5 , stdin:5s":  {term, closing},
		"TERM:500ms,KILL":        {term},
		"KILL":                   {},
		"INT:0,TERM:0.5s":        {{Signal: syscall.SIGINT}, term},
		"stdin:5s,stdin:5s,KILL": {closing, closing},
	} {
		if got, err := parsePlan(in); err != nil || !slices.Equal(got, want) || got == nil {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"":                "a step is missing",
		"TERM:5s,":        "a step is missing",
		":5s":             "a step is missing",
		"stdin":           "how long may the step stdin take? write for example stdin:5s",
		"TERM":            "how long may the step TERM take?",
		"TERM:":           "TERM:: empty",
		"TERM:fast":       "TERM:fast: use for example",
		"TERM:-1s":        "TERM:-1s: a duration cannot be negative",
		"TREM:5s":         "TREM: there is no such signal here (did you mean TERM?)",
		"KILL,TERM:5s":    "KILL is the last step",
		"KILL:5s":         "KILL is the last step",
		"TERM:5s;KILL":    "unknown unit",
		"stdin+TERM:5s":   "stdin+TERM: there is no such signal",
		"stdin:5s TERM:5": "unknown unit",
	} {
		if got, err := parsePlan(in); err == nil || got != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v; want %q", in, got, err, want)
		}
	}
	for _, name := range planNames() {
		if _, err := parsePlan(name); err != nil {
			t.Errorf("%q, which is offered: %v", name, err)
		}
	}
}
