package cgroup

import (
	"testing"
	"time"
)

func TestFormatCPUs(t *testing.T) {
	for cpus, want := range map[float64]string{
		1.5: "150000 100000", 1: "100000 100000", 0.25: "25000 100000", 1e-9: "1000 100000", 1e300: "214748364700000 100000",
	} {
		if got := formatCPUs(cpus); got != want {
			t.Errorf("%v: %q, want %q", cpus, got, want)
		}
	}
}

// TestParseUsage: what is not there is not known, and not 0.
func TestParseUsage(t *testing.T) {
	user, system := parseCPUStat([]byte("usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 0\n"))
	if user == nil || system == nil || *user != 20*time.Microsecond || *system != 10*time.Microsecond {
		t.Errorf("cpu.stat: %v, %v", user, system)
	}
	for _, text := range []string{"", "usage_usec 30\n", "user_usec x\n", "user_usec -1\nsystem_usec\n"} {
		if user, system := parseCPUStat([]byte(text)); user != nil || system != nil {
			t.Errorf("cpu.stat %q: %v, %v", text, user, system)
		}
	}
	for text, want := range map[string]int64{"0\n": 0, "4096\n": 4096} {
		if got := parseAmount([]byte(text)); got == nil || *got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
	for _, text := range []string{"", "max\n", "-1\n"} {
		if got := parseAmount([]byte(text)); got != nil {
			t.Errorf("%q: %v", text, *got)
		}
	}
	for text, want := range map[string][2]int64{
		"": {},
		"8:0 rbytes=100 wbytes=7 rios=1 wios=2 dbytes=9 dios=0\n8:16 \n253:0 rbytes=1 wbytes=0\n": {101, 7},
	} {
		read, written := parseIOStat([]byte(text))
		if *read != want[0] || *written != want[1] {
			t.Errorf("io.stat %q: %d, %d", text, *read, *written)
		}
	}
	const quiet = "low 0\nhigh 0\nmax 4\noom 0\noom_kill 0\noom_group_kill 0\n"
	const below = "low 0\nhigh 0\nmax 4\noom 1\noom_kill 2\noom_group_kill 1\n"
	for _, tt := range []struct {
		all, own      string
		killed, limit bool
	}{
		{"", "", false, false},
		{quiet, quiet, false, false},
		{below, quiet, false, false}, // a run in this one has been killed for its own limit
		{below, below, true, true},
		{below, "oom 1\noom_kill 0\n", true, true}, // by this limit, one in a cgroup below
		{"oom 1\noom_kill 0\n", "oom 1\noom_kill 0\n", false, false},
		{below, "oom 0\noom_kill 1\n", true, false}, // by a limit further out
		{below, "oom 0\noom_kill 0\noom_group_kill 1\n", true, false},
		{"oom_kill_disable 1\n", "oom_kill_disable 1\n", false, false},
	} {
		if killed, limit := outOfMemory([]byte(tt.all), []byte(tt.own)); killed != tt.killed || limit != tt.limit {
			t.Errorf("memory.events %q, local %q: %v, %v", tt.all, tt.own, killed, limit)
		}
	}
}
