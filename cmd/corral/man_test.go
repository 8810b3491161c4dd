//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"

	"github.com/corral-run/corral/internal/winetest"
)

func TestManPage(t *testing.T) {
	root := &cobra.Command{Use: "top [flags]", Short: "Be on top", Long: "One.\n\n.Two \\n 'quoted'", Version: "1.0",
		Example: "  top -x", Annotations: map[string]string{exitStatuses: "0\tfine\n128+n\tsignal n\n"}, Run: func(*cobra.Command, []string) {}}
	root.Flags().StringP("out", "o", "a-b", "write to `FILE`")
	root.AddCommand(
		&cobra.Command{Use: "sub", Short: "Be below", Run: func(*cobra.Command, []string) {}},
		&cobra.Command{Use: "secret", Hidden: true, Run: func(*cobra.Command, []string) {}},
	)
	const want = `.TH "TOP" "1" "" "top 1.0"
.SH NAME
top \- Be on top
.SH SYNOPSIS
.B top [flags]
.SH DESCRIPTION
One.
.PP
\&.Two \en \(aqquoted\(aq
.SH COMMANDS
.TP
.B sub
Be below.
.SH OPTIONS
.TP
\fB\-h\fR, \fB\-\-help\fR
help for top
.TP
\fB\-o\fR, \fB\-\-out\fR \fIFILE\fR
write to FILE (default a\-b)
.TP
\fB\-v\fR, \fB\-\-version\fR
version for top
.SH EXIT STATUS
.TP
.B 0
fine
.TP
.B 128+n
signal n
.SH EXAMPLES
.nf
  top \-x
.fi
.SH SEE ALSO
.BR top\-sub (1),
.BR timeout (1)
`
	if diff := cmp.Diff(want, manPage(root)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// The pages are what troff takes for a man page, where there is a troff.
func TestManPagesFormat(t *testing.T) {
	dir := winetest.TempDir(t)
	var out bytes.Buffer
	if status := run([]string{"man", dir}, &out, &out); status != 0 || out.Len() > 0 {
		t.Fatalf("man: status %d, output %q", status, out.String())
	}
	pages, _ := filepath.Glob(filepath.Join(dir, "*"))
	var names []string
	for _, page := range pages {
		names = append(names, filepath.Base(page))
	}
	if diff := cmp.Diff([]string{"corral-completion.1", "corral-detach.1", "corral-doctor.1", "corral-init.1", "corral-inspect.1", "corral-kill.1", "corral-logs.1", "corral-man.1", "corral-prune.1", "corral-ps.1", "corral-report-merge.1", "corral-report.1", "corral-run.1", "corral-signal.1", "corral-stop.1", "corral-timeout.1", "corral-top.1", "corral-tree.1", "corral-version.1", "corral-wait.1", "corral.1"}, names); diff != "" {
		t.Errorf("pages: -want +got:\n%s", diff)
	}
	if _, err := exec.LookPath("groff"); err != nil {
		t.Skip("SKIPPED: no groff to check the pages with")
	}
	for _, page := range pages {
		text, err := exec.Command("groff", "-man", "-ww", "-Tutf8", "-P-cbou", page).CombinedOutput()
		if err != nil {
			t.Errorf("groff: %v", err)
		}
		if bytes.Contains(text, []byte("warning:")) || bytes.Contains(text, []byte("error:")) {
			t.Errorf("%s: %s", page, text)
		}
		if !bytes.Contains(text, []byte("EXIT STATUS")) {
			t.Errorf("%s has no section on exit statuses", page)
		}
	}
}
