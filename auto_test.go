//go:build linux || darwin || freebsd || windows

package corral_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/corral-run/corral"
)

// TestAutoLowered: CORRAL_AUTO is where Auto starts from, and nothing else.
func TestAutoLowered(t *testing.T) {
	run := func(auto string, wanted, required corral.Containment) (*corral.Report, error) {
		t.Setenv("CORRAL_AUTO", auto)
		cmd := corral.Command(succeed[0], succeed[1:]...)
		cmd.Containment, cmd.Require = wanted, required
		err := cmd.Run()
		if err == nil && cmd.Report().Containment == "" {
			t.Error("no containment in the report")
		}
		return cmd.Report(), err
	}
	before, err := run("", corral.Auto, corral.Auto)
	if err != nil {
		t.Fatal(err)
	}
	ladder := []corral.Containment{corral.Job, corral.Cgroup, corral.Keeper, corral.Group}
	for i, from := range ladder {
		rep, err := run(string(from), corral.Auto, corral.Auto)
		var none *corral.ContainmentError
		if errors.As(err, &none) {
			rep = &corral.Report{Declined: none.Declined} // there is nothing that is so weak here
		} else if err != nil {
			t.Errorf("%s: %v", from, err)
			continue
		} else if slices.Index(ladder, rep.Containment) < i {
			t.Errorf("from %s: %s", from, rep.Containment)
		}
		lowered := slices.Index(ladder, before.Containment) < i
		told := slices.ContainsFunc(rep.Declined, func(d corral.Declined) bool {
			return d.Containment == before.Containment && d.Reason == "CORRAL_AUTO="+string(from)+" in the environment of the owner"
		})
		if lowered != told {
			t.Errorf("from %s: %s before, declined %v", from, before.Containment, rep.Declined)
		}
	}

	// What is wanted by name has nothing to do with it, and what is required is
	// required.
	if rep, err := run("group", before.Containment, before.Containment); err != nil || rep.Containment != before.Containment {
		t.Errorf("%s wanted: %v, %v", before.Containment, rep, err)
	}
	if before.Containment != corral.Group {
		var none *corral.ContainmentError
		if _, err := run("group", corral.Auto, before.Containment); !errors.As(err, &none) || !strings.Contains(err.Error(), "CORRAL_AUTO=group") {
			t.Errorf("%s required: %v", before.Containment, err)
		}
	}
	for _, bad := range []string{"pidns", "auto", "Keeper", " "} {
		if _, err := run(bad, corral.Auto, corral.Auto); err == nil || !strings.HasPrefix(err.Error(), "corral: CORRAL_AUTO=") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
