//go:build linux || darwin || freebsd || windows

package main

import (
	"syscall"
	"testing"
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
