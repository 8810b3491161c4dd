//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"strings"
	"testing"
)

// badCommandLines are wrong; each has a part of what is said about it. The words
// are apart by a single blank, so that two make an empty one, and a last word
// `true` is for a command that would succeed.
var badCommandLines = map[string]string{
	"":                                       "no command given; see 'corral --help'",
	"--":                                     "no command given; see 'corral --help'",
	"run":                                    "no command given; see 'corral run --help'",
	"-- ":                                    "the command is an empty word; see 'corral --help'",
	"--quiet":                                "no command given",
	"--frobnicate -- true":                   "unknown flag: --frobnicate; see 'corral --help'",
	"-x true":                                "unknown flag: -x; an option of a shell needs -c, or the shell: corral -- sh -x; see 'corral --help'",
	"-y true":                                "unknown flag: -y; see 'corral --help'",
	"-c":                                     "-c needs a command line, in one word; see 'corral --help'",
	"run -ec":                                "-c needs a command line, in one word; see 'corral run --help'",
	"-c --frobnicate true":                   "unknown flag: --frobnicate; see 'corral --help'",
	"--shell sh true":                        "--shell needs -c; see 'corral --help'",
	"--shell -c true":                        "--shell needs a value (SHELL), but -c follows",
	"--lifeline foo true":                    `--lifeline "foo": foo is no lifeline; use stdin, tty, parent, fd:N or pid:N; see 'corral --help'`,
	"--lifeline fd:x true":                   "fd:x is no lifeline",
	"--lifeline pid:-1 true":                 "pid:-1 is no lifeline",
	"help -c":                                "-c is a flag of corral, which 'corral --help' explains",
	"help --timeout":                         "--timeout is a flag of corral",
	"-qx true":                               "unknown flag: -qx; see",
	"-é true":                                "unknown flag: -é; see",
	"---quiet true":                          "unknown flag: ---quiet (did you mean --quiet?)",
	"--tiemout 5 true":                       "unknown flag: --tiemout (did you mean --timeout?)",
	"--time 5 true":                          "unknown flag: --time (did you mean --timeout?)",
	"--output=5 true":                        "unknown flag: --output=5 (did you mean --output-limit?)",
	"run --reprot x true":                    "did you mean --report?",
	"-timeout 5 true":                        "unknown flag: -timeout; it is written with two dashes: --timeout; see 'corral --help'",
	"-signal=KILL true":                      "two dashes: --signal=KILL",
	"-report x true":                         "two dashes: --report",
	"-quiet true":                            "two dashes: --quiet",
	"init -all true":                         "two dashes: --all",
	"kill -tree 2147483647":                  "two dashes: --tree",
	"kill -grace 5 2147483647":               "two dashes: --grace",
	"-9 true":                                "unknown flag: -9; a signal is given by --signal KILL",
	"-HUP true":                              "unknown flag: -HUP; a signal is given by --signal HUP",
	"kill -9 2147483647":                     "unknown flag: -9; a signal is given by --signal KILL; see 'corral kill --help'",
	"kill -SIGINT 2147483647":                "a signal is given by --signal INT",
	"kill 2147483647 -KILL":                  "a signal is given by --signal KILL",
	"--report -- true":                       "--report needs a value (FILE), but -- follows; if that is meant, --report=--; see 'corral --help'",
	"--report --quiet true":                  "--report needs a value (FILE), but --quiet follows",
	"--report -5 true":                       "--report needs a value (FILE), but -5 follows",
	"--report -- kill 2147483647":            "--report needs a value (FILE), but -- follows",
	"--timeout -- true":                      "--timeout needs a value (DURATION), but -- follows",
	"-t -- true":                             "-t needs a value (DURATION), but -- follows; if that is meant, --timeout=--",
	"-qt -v true":                            "-t needs a value (DURATION), but -v follows",
	"--signal -- true":                       "--signal needs a value (SIGNAL), but -- follows",
	"--leftovers -- true":                    "--leftovers needs a value (POLICY), but -- follows",
	"--containment --pty true":               "--containment needs a value (MECHANISM), but --pty follows",
	"--require -- true":                      "--require needs a value (MECHANISM), but -- follows",
	"--lifeline -- true":                     "--lifeline needs a value (LIFELINE), but -- follows",
	"--output-limit -- true":                 "--output-limit needs a value (SIZE), but -- follows",
	"init --rewrite -- true":                 "--rewrite needs a value (SIG:SIG), but -- follows",
	"init --exit-zero-on -- true":            "--exit-zero-on needs a value (STATUSES), but -- follows",
	"kill --grace -- 2147483647":             "--grace needs a value (DURATION), but -- follows",
	"kill 2147483647 --signal":               "--signal needs a value (SIGNAL); see 'corral kill --help'",
	"--report= true":                         `--report "": the name of the file is empty`,
	"--lifeline= true":                       `--lifeline "": empty; use stdin, tty, parent, fd:N or pid:N`,
	"--lifeline stdin, true":                 "empty; use stdin",
	"--lifeline pid:2147483647 true":         "lifeline pid:2147483647: there is no such process",
	"version 1":                              `version takes no arguments, but got "1"; see 'corral version --help'`,
	"doctor host":                            `doctor takes no arguments, but got "host"`,
	"help timout":                            `no command "timout" to explain (did you mean 'corral timeout'?)`,
	"report mrege x":                         `there is no command "mrege"; report needs one, such as merge`,
	"run --frobnicate true":                  "see 'corral run --help'",
	"--timeout":                              "--timeout needs a value (DURATION); see 'corral --help'",
	"--timeout soon true":                    `--timeout "soon": use for example`,
	"--timeout -5s true":                     "a duration cannot be negative",
	"--timeout nan true":                     "not a number",
	"--grace 5x true":                        `unknown unit "x"`,
	"--signal BANG true":                     "there is no such signal here",
	"--signal TREM true":                     "there is no such signal here (did you mean TERM?)",
	"kill -s SIGKIL 2147483647":              "there is no such signal here (did you mean KILL?)",
	"--signal 0 true":                        "there is no such signal here",
	"--leftovers adopt true":                 "it must be one of kill, keep, fail, wait",
	"--containment jail true":                "it must be one of auto, ",
	"--containment  true":                    "it must be one of",
	"--user-scope sometimes true":            "it must be one of auto, always, never",
	"--require auto true":                    "it must be one of job, cgroup, pidns, keeper, group",
	"--quiet --verbose true":                 "--quiet and --verbose contradict each other",
	"--containment group --require job true": "job",
	"--report /no/such/dir/report true":      "cannot write the report: open /no/such/dir/report",
	"--quiet=maybe true":                     `--quiet takes true or false, not "maybe"`,
	"--bad\nflag true":                       `unknown flag: --bad\nflag`,
	"kill":                                   "no process ID given; see 'corral kill --help'",
	"kill x":                                 `"x" is not a process ID`,
	"kill 12x":                               `"12x" is not a process ID`,
	"kill 99999999999":                       `"99999999999" is not a process ID`,
	"kill -- -1":                             `"-1" is not a process ID`,
	"kill -5":                                "unknown flag: -5",
	"kill --signal HUP 2147483647":           "cannot stop with HUP; use TERM, INT or KILL",
	"kill --timeout 5s 2147483647":           "unknown flag: --timeout; corral has it",
	"kill -12345":                            "unknown flag: -12345; a process ID is not negative",
	"kill --report x 2147483647":             "unknown flag: --report; corral has it, corral kill has not",
	"-qt 5 tree 1":                           "unknown flag: -q; corral has it, corral tree has not",
	"--report x tree 1":                      "unknown flag: --report; corral has it, corral tree has not",
	"man ":                                   "man needs one directory",
	"init --rewrite TERM: true":              "use two signals with a colon",
	"tree x":                                 `"x" is not a process ID`,
	"tree -- -1":                             `"-1" is not a process ID`,
	"man":                                    "man needs one directory",
	"help -x":                                "unknown flag: -x; see 'corral help --help'",
	"help nonsense":                          `no command "nonsense" to explain`,
	"init":                                   "no command given; see 'corral init --help'",
	"init --exit-zero-on x true":             "an exit status is a number from 0 to 255",
	"init --exit-zero-on 256 true":           "an exit status is a number from 0 to 255",
	"init --rewrite TERM true":               "use two signals with a colon, such as TERM:QUIT",
	"init --rewrite TERM:BANG true":          "BANG: there is no such signal here",
	"report":                                 "report needs a command, such as merge; see 'corral report --help'",
	"report split":                           "report needs one, such as merge",
	"report merge":                           "no file given; see 'corral report merge --help'",
	"report merge --yaml x":                  "unknown flag: --yaml; see 'corral report merge --help'",
	"completion tcsh":                        "completion needs one of bash, fish, powershell, zsh; see 'corral completion --help'",
	"completion":                             "completion needs one of",
}

// TestBadCommandLine: a command line that is wrong is answered with one line that
// says what is wrong, and with status 125; nothing is started. It would show: the
// commands are there, and would succeed.
func TestBadCommandLine(t *testing.T) {
	for line, want := range badCommandLines {
		var stdout, stderr bytes.Buffer
		var args []string
		if line != "" {
			args = strings.Split(line, " ")
			if last := len(args) - 1; args[last] == "true" {
				args = append(args[:last], succeed...)
			}
		}
		status := run(args, &stdout, &stderr)
		said := stderr.String()
		if status != 125 || !strings.HasPrefix(said, "corral: ") || !strings.Contains(said, want) ||
			strings.Count(said, "\n") != 1 || !strings.HasSuffix(said, "\n") || stdout.Len() > 0 {
			t.Errorf("corral %s: status %d, stdout %q, stderr %q; want one line with %q", line, status, stdout.String(), said, want)
		}
	}
}
