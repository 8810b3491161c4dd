//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

func TestHelp(t *testing.T) {
	for _, line := range []string{"--help", "-h", "help", "help kill", "kill --help", "tree -h", "run --help", "report --help", "help report merge", "timeout --help", "timeout --version", "completion --help", "--version", "version", "version --help", "help version", "man --help"} {
		var stdout, stderr bytes.Buffer
		if status := run(strings.Fields(line), &stdout, &stderr); status != 0 || stdout.Len() == 0 || stderr.Len() > 0 {
			t.Errorf("corral %s: status %d, stdout %q, stderr %q", line, status, stdout.String(), stderr.String())
		}
	}
}

// TestHelpSentences: no sentence of a command's help has more than 30 words.
func TestHelpSentences(t *testing.T) {
	end := regexp.MustCompile(`[.!?:]\s|\n\n|$`)
	for _, c := range documentedCommands(newRoot()) {
		for _, s := range end.Split(c.Long, -1) {
			if n := len(strings.Fields(s)); n > 30 {
				t.Errorf("%s: %d words: %s", c.CommandPath(), n, s)
			}
		}
	}
}

// Every flag of every visible command is in its help, its man page and
// docs/cli.md.
func TestDocumented(t *testing.T) {
	cli, err := os.ReadFile("../../docs/cli.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range documentedCommands(newRoot()) {
		var help bytes.Buffer
		if status := run(append(strings.Fields(c.CommandPath())[1:], "--help"), &help, &help); status != 0 {
			t.Errorf("%s --help: status %d", c.CommandPath(), status)
		}
		page := manPage(c)
		flags := 0
		eachFlag(c, func(f *pflag.Flag) {
			flags++
			if !strings.Contains(help.String(), "--"+f.Name) {
				t.Errorf("%s --help says nothing of --%s", c.CommandPath(), f.Name)
			}
			if !strings.Contains(page, `\fB\-\-`+roff(f.Name)+`\fR`) {
				t.Errorf("the man page of %s says nothing of --%s", c.CommandPath(), f.Name)
			}
			if !bytes.Contains(cli, []byte("--"+f.Name)) {
				t.Errorf("docs/cli.md says nothing of --%s of %s", f.Name, c.CommandPath())
			}
		})
		if flags == 0 {
			t.Errorf("%s has no flags, not even --help", c.CommandPath())
		}
		for line := range strings.Lines(c.Annotations[exitStatuses]) {
			code, meaning, _ := strings.Cut(strings.TrimSpace(line), "\t")
			if !strings.Contains(help.String(), meaning) {
				t.Errorf("%s --help does not explain exit status %s", c.CommandPath(), code)
			}
			if !strings.Contains(page, roff(meaning)) {
				t.Errorf("the man page of %s does not explain exit status %s", c.CommandPath(), code)
			}
		}
	}
}
