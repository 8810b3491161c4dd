//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"strings"
	"testing"

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
		"--verbose=x 5 true":           `--verbose takes true or false, not "x"`,
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
