//go:build linux || darwin || freebsd || windows

package main

import (
	"math"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want time.Duration
	}{
		{"0", 0},
		{"0s", 0},
		{"-0", 0},
		{"0d", 0},
		{"10", 10 * time.Second},
		{"+10", 10 * time.Second},
		{"2.5", 2500 * time.Millisecond},
		{".5", 500 * time.Millisecond},
		{"5.", 5 * time.Second},
		{"0.3", 300 * time.Millisecond},
		{"1e3", 1000 * time.Second},
		{"10s", 10 * time.Second},
		{"5m", 5 * time.Minute},
		{"1h", time.Hour},
		{"2d", 48 * time.Hour},
		{"1.5d", 36 * time.Hour},
		{"1m30s", 90 * time.Second},
		{"+1m30s", 90 * time.Second},
		{"1d12h", 36 * time.Hour},
		{"1.5h", 90 * time.Minute},
		{"500ms", 500 * time.Millisecond},
		{"7us", 7 * time.Microsecond},
		{"7µs", 7 * time.Microsecond},
		{"7μs", 7 * time.Microsecond},
		{"7ns", 7},
		{"1h2m3s4ms5us6ns", time.Hour + 2*time.Minute + 3*time.Second + 4*time.Millisecond + 5*time.Microsecond + 6},
		// Too short to count is not zero, which would mean no limit.
		{"0.1ns", 1},
		{"1e-300", 1},
		{"1e-400", 1},
		{"1e-10000", 1},
		{"0x1p-9999", 1},
		{"0." + strings.Repeat("0", 400) + "1s", 1},
		{"1h0." + strings.Repeat("0", 400) + "1s", time.Hour + 1},
		{"-0e-400", 0},
		// Too long to count is for ever.
		{"inf", forever},
		{"infinity", forever},
		{"1e400", forever},
		{"99999999999999999999", forever},
		{"9223372036.854775807", forever},
		{"300000d", forever},
		{"2000000h2000000h", forever},
		{"2562047h47m16.854775807s", forever},
		{strings.Repeat("9", 400) + "s", forever},
	} {
		got, err := parseDuration(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("parseDuration(%q) = %v, %v; want %v", tt.in, got, err, tt.want)
		}
	}
}

func TestParseDurationRefuses(t *testing.T) {
	for in, want := range map[string]string{
		"":           "empty",
		"+":          "empty",
		"-1":         "negative",
		"-5s":        "negative",
		"-1m30s":     "negative",
		"-inf":       "negative",
		"-1e-400":    "negative",
		"-1e-10000":  "negative",
		"-0x1p-9999": "negative",
		"nan":        "not a number",
		"NaN":        "not a number",
		"s":          "use for example",
		".":          "use for example",
		".s":         "use for example",
		"1.2.3s":     "use for example",
		"5x":         `unknown unit "x"`,
		"5S":         `unknown unit "S"`,
		"5 s":        `unknown unit " s"`,
		" 5":         "use for example",
		"1m30":       "a unit is missing after 30",
		"5s-1s":      `unknown unit "s-"`,
		"fast":       "use for example",
	} {
		if got, err := parseDuration(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("parseDuration(%q) = %v, %v; want an error with %q", in, got, err, want)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"0", "10", "2.5m", "1h30m", "inf", "nan", "-1", "9e99d", "0.1ns", "1m30", "µs"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := parseDuration(s)
		if got < 0 {
			t.Errorf("parseDuration(%q) = %v, negative", s, got)
		}
		// Whatever Go takes must mean the same here, to the precision of a
		// float64, unless it is too small for Go.
		if want, goErr := time.ParseDuration(s); goErr == nil && want > 0 {
			if err != nil || math.Abs(float64(got-want)) > 8+float64(want)*1e-15 {
				t.Errorf("parseDuration(%q) = %v, %v; Go: %v", s, int64(got), err, int64(want))
			}
		}
		// So must a number of seconds.
		if n, numErr := strconv.ParseUint(s, 10, 32); numErr == nil {
			if want := time.Duration(n) * time.Second; err != nil || got != want {
				t.Errorf("parseDuration(%q) = %v, %v; want %v", s, got, err, want)
			}
		}
	})
}

func TestParseSignal(t *testing.T) {
	for _, in := range []string{"TERM", "SIGTERM", "term", "SigTerm", "15"} {
		if got, err := parseSignal(in); err != nil || got != syscall.SIGTERM {
			t.Errorf("parseSignal(%q) = %v, %v; want SIGTERM", in, got, err)
		}
	}
	for _, in := range []string{"", "SIG", "0", "-1", "-15", "9999", "TERMINATE", "TERM ", "15.0", "SIGSIGTERM"} {
		if got, err := parseSignal(in); err == nil {
			t.Errorf("parseSignal(%q) = %v; want an error", in, got)
		}
	}
}

// Every signal that is offered must be taken, by name and by number.
func TestSignalNames(t *testing.T) {
	names := signalNames()
	if len(names) < 3 {
		t.Fatalf("signalNames() = %q; want INT, KILL and TERM at least", names)
	}
	for _, name := range names {
		byName, err := parseSignal(name)
		if err != nil {
			t.Errorf("parseSignal(%q): %v", name, err)
		}
		byNumber, err := parseSignal(strconv.Itoa(int(byName)))
		if err != nil || byNumber != byName {
			t.Errorf("parseSignal(%d) = %v, %v; want %v", int(byName), byNumber, err, byName)
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "65536": 65536, "64K": 64 << 10, "64k": 64 << 10, "64KiB": 64 << 10, "1M": 1 << 20,
		"2G": 2 << 30, "3T": 3 << 40, "8388607T": 8388607 << 40, "9223372036854775807": 1<<63 - 1,
	} {
		if got, err := parseSize(in); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "K", "-1", "+1", "1.5M", "1 K", "10KB", "10iB", "1x", "0x10", "8388608T", "9223372036854775808"} {
		if got, err := parseSize(in); err == nil {
			t.Errorf("%q: %d; want an error", in, got)
		}
	}
}
