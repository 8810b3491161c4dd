//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/corral-run/corral"
)

// asTimeout is corral called by the name timeout.
func asTimeout(args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = execute(asRoot(newTimeout(corral.Auto)), args, &out, &err)
	return status, out.String(), err.String()
}

func TestCalledTimeout(t *testing.T) {
	for program, want := range map[string]bool{
		"timeout": true, "/usr/bin/timeout": true, "./timeout": true, "timeout.exe": true,
		"corral": false, "/opt/timeout/corral": false, "timeouts": false, "corral-keeper": false, "": false,
	} {
		if got := calledTimeout(program); got != want {
			t.Errorf("calledTimeout(%q) = %v", program, got)
		}
	}
}

// A command line that is wrong is answered as corral's are (TestBadCommandLine),
// in GNU timeout's words where it is about a value.
func TestTimeoutBadCommandLine(t *testing.T) {
	for line, want := range map[string]string{
		"":                             "no duration given; see 'timeout --help'",
		"--":                           "no duration given",
		"5":                            "no command given",
		"-f -p 5":                      "no command given",
		"soon true":                    "invalid time interval 'soon'; see 'timeout --help'",
		"1m30s true":                   "invalid time interval '1m30s'",
		"-- -1 true":                   "invalid time interval '-1'",
		"-k soon 5 true":               "invalid time interval 'soon'; see 'timeout --help'",
		"--kill-after= 5 true":         "invalid time interval ''",
		"-s BANG 5 true":               "'BANG': invalid signal; see 'timeout --help'",
		"-s a\nb 5 true":               `'a\nb': invalid signal`,
		"--kill-after":                 "--kill-after needs a value (DURATION); see 'timeout --help'",
		"-k":                           "-k needs a value (DURATION)",
		"-5 true":                      "unknown flag: -5",
		"-9 5 true":                    "unknown flag: -9; a signal is given by --signal KILL; see 'timeout --help'",
		"-signal KILL 5 true":          "unknown flag: -signal; it is written with two dashes: --signal",
		"-k -- 5 true":                 "invalid time interval '--'",
		"-k -v 5 true":                 "invalid time interval '-v'",
		"--signl KILL 5 true":          "unknown flag: --signl (did you mean --signal?)",
		"--verbose=x 5 true":           `--verbose takes no value but true or false, and not "x"`,
		"--frobnicate 5 true":          "unknown flag: --frobnicate",
		"--ver 5 true":                 "unknown flag: --ver", // --verbose or --version?
		"--timeout 5s true":            "unknown flag: --timeout",
		"--containment keeper 5s true": "unknown flag: --containment",
	} {
		var args []string
		if line != "" {
			args = strings.Split(line, " ")
		}
		status, stdout, stderr := asTimeout(args...)
		if status != 125 || !strings.HasPrefix(stderr, "timeout: ") || !strings.Contains(stderr, want) ||
			strings.Count(stderr, "\n") != 1 || !strings.HasSuffix(stderr, "\n") || stdout != "" {
			t.Errorf("timeout %s: status %d, stdout %q, stderr %q; want one line with %q", line, status, stdout, stderr, want)
		}
	}
	var stdout, stderr bytes.Buffer
	status := run([]string{"timeout", "5"}, &stdout, &stderr)
	if want := "timeout: no command given; see 'corral timeout --help'\n"; status != 125 || stderr.String() != want || stdout.Len() > 0 {
		t.Errorf("corral timeout 5: status %d, stdout %q, stderr %q; want %q", status, stdout.String(), stderr.String(), want)
	}
}

func TestTimeoutHelp(t *testing.T) {
	for line, want := range map[string]string{
		"--help":    "\n  timeout [options] DURATION COMMAND",
		"--he":      "\n  timeout [options] DURATION COMMAND",
		"--version": "timeout (corral) ",
		"--vers":    "timeout (corral) ",
	} {
		if status, stdout, stderr := asTimeout(line); status != 0 || !strings.Contains(stdout, want) || stderr != "" {
			t.Errorf("timeout %s: status %d, stdout %q, stderr %q; want %q", line, status, stdout, stderr, want)
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
