//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/corral-run/corral"
)

// TestWantsScope: only what nothing else can do is worth a scope.
func TestWantsScope(t *testing.T) {
	always := "always"
	if !haveUserScopes {
		always = "auto"
	}
	for line, want := range map[string]bool{
		"":                                            false,
		"--containment keeper":                        false,
		"--containment group --require group":         false,
		"--require keeper":                            false,
		"--require pidns":                             false,
		"--containment pidns":                         false,
		"--containment cgroup":                        haveUserScopes,
		"--containment cgroup --require cgroup":       haveUserScopes,
		"--require cgroup":                            true,
		"--require cgroup --user-scope never":         false,
		"--user-scope " + always:                      haveUserScopes,
		"--require pidns --user-scope " + always:      false,
		"--containment keeper --user-scope " + always: false,
		"--memory 1G":                                 true,
		"--pids 9 --require keeper":                   true,
		"--cpus 1.5 --user-scope never":               false,
		"--memory 1G --containment keeper":            false,
		"--open-files 64 --core 0":                    false,
		"AUTO=keeper --user-scope " + always:          false,
		"AUTO=group --require cgroup":                 false,
		"AUTO=cgroup --user-scope " + always:          haveUserScopes,
	} {
		auto := ""
		words := strings.Fields(line)
		if len(words) > 0 && strings.HasPrefix(words[0], "AUTO=") {
			auto, words = strings.TrimPrefix(words[0], "AUTO="), words[1:]
		}
		t.Setenv(autoVariable, auto)
		o := &runFlags{}
		c := newRun("x", nil)
		c.ResetFlags()
		o.define(c)
		if err := c.Flags().Parse(words); err != nil {
			if haveUserScopes || !strings.Contains(err.Error(), "only Linux") && !strings.Contains(err.Error(), "not available on") {
				t.Errorf("%s: %v", line, err)
			}
			continue
		}
		if got := o.wantsScope(); got != want {
			t.Errorf("%s: %v; want %v", line, got, want)
		}
	}
}

// TestScopeTimeout: the manager waits for all steps of the plan, whatever it is.
func TestScopeTimeout(t *testing.T) {
	for _, tt := range []struct {
		o     runFlags
		least time.Duration
		most  time.Duration
	}{
		{runFlags{grace: duration(10 * time.Second)}, 40 * time.Second, time.Minute},
		{runFlags{stop: planValue{plan: corral.StopPlan{{Wait: time.Hour}, {Wait: time.Hour}}}}, 2 * time.Hour, 2*time.Hour + time.Minute},
		{runFlags{grace: duration(forever)}, forever, forever},
		{runFlags{stop: planValue{plan: corral.StopPlan{{Wait: forever - time.Minute}, {Wait: time.Hour}}}}, forever, forever},
	} {
		if got := tt.o.scopeTimeout(); got < tt.least || got > tt.most {
			t.Errorf("%+v: %v; want %v to %v", tt.o.stop, got, tt.least, tt.most)
		}
	}
}

// TestDeclinedScope: the reason for the one containment that a scope is for has why
// there is none.
func TestDeclinedScope(t *testing.T) {
	declined := []corral.Declined{{Containment: corral.PIDNS, Reason: "a"}, {Containment: corral.Cgroup, Reason: "b"}}
	declinedScope(declined, nil)
	if declined[1].Reason != "b" {
		t.Errorf("without an error: %v", declined)
	}
	declinedScope(declined, errors.New("c"))
	if declined[0].Reason != "a" || declined[1].Reason != "b; and in no scope of the user's systemd: c" {
		t.Errorf("%v", declined)
	}
}
