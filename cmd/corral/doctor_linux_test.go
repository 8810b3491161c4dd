package main

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestHidepid(t *testing.T) {
	proc := func(options string) mounted { return mounted{"/proc", "proc", options} }
	for _, tt := range []struct {
		mounts []mounted
		want   string
	}{
		{nil, "0"},
		{[]mounted{proc("rw")}, "0"},
		{[]mounted{proc("rw,hidepid=2")}, "2"},
		{[]mounted{proc("rw,gid=4,hidepid=invisible")}, "invisible"},
		{[]mounted{proc("rw,hidepid=off")}, "0"},
		{[]mounted{proc("rw,hidepid=2"), proc("rw")}, "0"},
		{[]mounted{proc("rw"), {"/chroot/proc", "proc", "rw,hidepid=2"}, {"/proc", "autofs", "hidepid=1"}}, "0"},
	} {
		if got := hidepid(tt.mounts); got != tt.want {
			t.Errorf("%v: %s; want %s", tt.mounts, got, tt.want)
		}
	}
}

// Looking at the host leaves no trace in it.
func TestInspectHostLeavesNoTrace(t *testing.T) {
	l := inspectHost().Linux
	if l.Kernel == "" || l.UID != os.Geteuid() || len(mountinfo()) == 0 {
		t.Errorf("%+v", l)
	}
	c := l.Cgroup
	if (c.Own == "") == (c.OwnReason == "") || (c.Own == "") != (c.Mount == "") || c.Own != "" && c.Mkdir.Works == (c.Mkdir.Reason != "") {
		t.Errorf("%+v", c)
	}
	if c.Own != "" {
		left, err := filepath.Glob(filepath.Join(c.Own, "doctor-*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left %q, error %v", left, err)
		}
	}
	open := func() []string {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	before := open()
	inspectHost()
	if after := open(); !slices.Equal(before, after) {
		t.Errorf("descriptors %v, then %v", before, after)
	}
}
