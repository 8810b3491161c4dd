//go:build linux || darwin || freebsd || windows

package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseInterval(t *testing.T) {
	for in, want := range intervals {
		if got, ok := parseInterval(in); !ok || got != want {
			t.Errorf("parseInterval(%.20q) = %v, %v; want %v", in, got, ok, want)
		}
	}
	for _, in := range append(tinyNegatives, badIntervals...) {
		if got, ok := parseInterval(in); ok {
			t.Errorf("parseInterval(%q) = %v", in, got)
		}
	}
}

func FuzzParseInterval(f *testing.F) {
	for in := range intervals {
		f.Add(in)
	}
	for _, in := range badIntervals {
		f.Add(in)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, ok := parseInterval(s)
		if got < 0 || !ok && got != 0 {
			t.Errorf("parseInterval(%q) = %v, %v", s, got, ok)
		}
		// What both take is the same.
		if want, err := parseDuration(s); ok && err == nil && got != want {
			t.Errorf("parseInterval(%q) = %v; parseDuration: %v", s, got, want)
		}
	})
}

func TestParseTimeoutSignal(t *testing.T) {
	for in, want := range map[string]syscall.Signal{
		"TERM": 15, "SIGTERM": 15, "term": 15, "SigTerm": 15, "15": 15, "015": 15, "SIG15": 15,
		"0": 0, "EXIT": 0, "sigexit": 0,
		"143": 15, "137": 9, "128": 0, "256": 0, "271": 15, // what a shell says
		"INT": 2, "KILL": 9,
	} {
		if got, ok := parseTimeoutSignal(in); !ok || got != want {
			t.Errorf("parseTimeoutSignal(%q) = %d, %v; want %d", in, got, ok, want)
		}
	}
	for _, in := range badSignals {
		if got, ok := parseTimeoutSignal(in); ok {
			t.Errorf("parseTimeoutSignal(%q) = %d", in, got)
		}
	}
}

// What GNU timeout takes, and what it does not: TestTimeoutLikeGNU asks it.
var intervals = map[string]time.Duration{
	"0":                       0,
	"-0":                      0,
	"0d":                      0,
	"0x0p5":                   0,
	"0e9":                     0,
	"10":                      10 * time.Second,
	"+10":                     10 * time.Second,
	"2.5":                     2500 * time.Millisecond,
	".5":                      500 * time.Millisecond,
	"5.":                      5 * time.Second,
	"1e3":                     1000 * time.Second,
	"1e3m":                    1000 * time.Minute,
	"10s":                     10 * time.Second,
	"5m":                      5 * time.Minute,
	"1.5h":                    90 * time.Minute,
	"2d":                      48 * time.Hour,
	" \t\n\v\f\r10":           10 * time.Second,
	"0x10":                    16 * time.Second,
	"0X1F":                    31 * time.Second,
	"0x1d":                    29 * time.Second,
	"0x1ds":                   29 * time.Second,
	"0x.8":                    500 * time.Millisecond,
	"0x1p4":                   16 * time.Second,
	"0x1p-1m":                 30 * time.Second,
	"0x1p1d":                  48 * time.Hour,
	"9.999999999":             9999999999,
	"inf":                     forever,
	"INFINITY":                forever,
	"infd":                    forever,
	"1e5000":                  forever,
	"99999999999999999999d":   forever,
	"1e308d":                  forever,
	"1e-10":                   1,
	"1e-5000":                 1, // 0, no limit, for GNU timeout 9.1
	"0x1p-9999":               1,
	strings.Repeat("9", 5000): forever,
}

var badIntervals = []string{
	"", " ", "-", "+", ".", "s", "-1", "-inf", "-1e-9", "nan", "-nan", "NaN", "x", "5x", "5S", "5D", "5 s", "5 ", "1m30s", "5ss", "1ms", "1us",
	"1_0", "0x_1", "1,5", "1e", "0x", "0xs", "0x1p", "1e+", "1e5000x", "fast", "5\x00", "µs",
}

// What is negative is that also if it is too small for a float64. For GNU timeout
// 9.1 it is 0, no limit.
var tinyNegatives = []string{"-1e-400", "-1e-10000", "-1e-10000d", " -.1e-999s", "-0x1p-9999", "-0." + strings.Repeat("0", 400) + "1"}

var badSignals = []string{
	"", "SIG", "-1", "+15", " 15", "15 ", "15x", "0x0f", "255", "1000", "99999999999999999999", "TERMINATE", "NONE", "SIGSIGTERM", "SIG-1", "SIG+1",
	"RTMIN-1", "RTMIN+31", "RTMAX+1", "RTMAX-31", "RTMINX", "RTMIN+",
}
