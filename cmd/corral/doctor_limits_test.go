//go:build linux || darwin || freebsd || windows

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var (
	works    = answer{Works: true}
	lacksCPU = answer{Reason: "CPUs cannot be limited: the control group /x does not have the controller cpu (cgroup.controllers)"}
	lacksPID = answer{Reason: "processes cannot be limited: the control group /x does not have the controller pids (cgroup.controllers)"}
)

// TestLimitFacts: limits that a run cannot have for the same reason share one.
func TestLimitFacts(t *testing.T) {
	for _, tt := range []struct {
		limits *limitable
		want   []fact
	}{
		{nil, nil},
		{&limitable{works, works, works, works}, []fact{{"limits of a run", "yes: memory, pids, cpus"}, {"limits of processes", "yes"}}},
		{&limitable{works, works, lacksCPU, answer{Reason: "why"}}, []fact{
			{"limits of a run", "yes: memory, pids; no cpus: the control group /x does not have the controller (cgroup.controllers)"}, {"limits of processes", "no: why"},
		}},
		{&limitable{answer{Reason: "why"}, lacksPID, lacksCPU, works}, []fact{
			{"limits of a run", "no memory: why; no pids, cpus: the control group /x does not have the controller (cgroup.controllers)"}, {"limits of processes", "yes"},
		}},
	} {
		if diff := cmp.Diff(tt.want, tt.limits.facts(), cmp.AllowUnexported(fact{})); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}

// TestLimitsAdvice: how to have limits where there are control groups, and nothing
// about it where there is no certain way.
func TestLimitsAdvice(t *testing.T) {
	hybrid := func(l *linux) { l.Cgroup.Layout = "hybrid" }
	topmost := func(l *linux) { l.Cgroup.Own = l.Cgroup.Mount }
	for _, tt := range []struct {
		name    string
		limits  *limitable
		changes changes
		want    string // a part of the line, empty for none
	}{
		{"not tried", nil, nil, ""},
		{"all", &limitable{works, works, works, works}, changes{hybrid}, ""},
		{"version 1 has the controllers", &limitable{lacksPID, lacksPID, lacksCPU, works}, changes{hybrid}, "cgroup_no_v1=all"},
		{"the topmost group of a container", &limitable{lacksPID, lacksPID, lacksCPU, works}, changes{topmost, noSystemd, inContainer(signDocker)}, "D=/sys/fs/cgroup; mkdir $D/main"},
		{"a user's systemd", &limitable{lacksPID, lacksPID, lacksCPU, works}, nil, "systemd-run --user --scope"},
		{"root, with a systemd", &limitable{lacksPID, lacksPID, lacksCPU, works}, changes{rootUser}, "limits: systemd-run --scope"},
		{"some", &limitable{works, works, lacksCPU, works}, nil, ""},
		{"no systemd", &limitable{lacksPID, lacksPID, lacksCPU, works}, changes{noSystemd}, ""},
	} {
		l := capableHost()
		for _, change := range tt.changes {
			change(&l)
		}
		got := strings.Join(l.limitsAdvice(tt.limits), "\n")
		if (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) || strings.Contains(got, "\n") {
			t.Errorf("%s: %q; want %q in it", tt.name, got, tt.want)
		}
	}
}

// TestRegistryAdvice: what is wrong with the registry is said, and what to do.
func TestRegistryAdvice(t *testing.T) {
	good, bad := &registered{works, "/run/user/7/corral"}, &registered{answer: answer{Reason: "it is open to others"}}
	if got := append(good.facts(), bad.facts()...); got[0].text != "/run/user/7/corral" || got[1].text != "no: it is open to others" {
		t.Errorf("%q", got)
	}
	if got := good.advice(); got != nil {
		t.Errorf("%q", got)
	}
}
