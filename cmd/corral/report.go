//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/registry"
)

// record is what --report writes: the library's report, and the host that tells it
// from others.
type record struct {
	label
	*corral.Report

	// raw is the report as it was read, also with fields of a later corral.
	raw json.RawMessage
}

// label is what a record has besides the library's report.
type label struct {
	Host string `json:"host,omitempty"`
	// File is where merge has read it.
	File string `json:"file,omitempty"`
}

// MarshalJSON writes the fields of both parts as those of one object.
func (r record) MarshalJSON() ([]byte, error) {
	var before, after bytes.Buffer
	if err := errors.Join(writeJSON(&before, r.label), writeJSON(&after, r.Report)); err != nil {
		return nil, err
	}
	fields := bytes.TrimSpace(bytes.Trim(bytes.TrimSpace(before.Bytes()), "{}"))
	if len(fields) > 0 {
		fields = append(fields, ',')
	}
	return slices.Concat([]byte("{"), fields, bytes.TrimPrefix(after.Bytes(), []byte("{"))), nil
}

func (r *record) UnmarshalJSON(b []byte) error {
	r.Report = new(corral.Report)
	if err := json.Unmarshal(b, r.Report); err != nil {
		return err
	}
	return json.Unmarshal(b, &r.label)
}

func writeReport(w io.WriteCloser, r *corral.Report) error {
	host, _ := os.Hostname() // a report without it is better than none
	var b bytes.Buffer       // written at once: whole, or cut where the disk is full
	if err := writeJSON(&b, record{label: label{Host: host}, Report: r}); err != nil {
		return err
	}
	_, err := w.Write(b.Bytes())
	return errors.Join(err, w.Close())
}

// redactReport returns a report without the arguments of its processes.
func redactReport(r *corral.Report) *corral.Report {
	redacted := *r
	redacted.Command = registry.Shown(r.Command, true)
	redacted.Leader.Command = registry.Shown(r.Leader.Command, true)
	redacted.Leftovers, redacted.Holders = slices.Clone(r.Leftovers), slices.Clone(r.Holders)
	for i, l := range r.Leftovers {
		redacted.Leftovers[i].Command = registry.Shown(l.Command, true)
	}
	for i, p := range r.Holders {
		redacted.Holders[i].Command = registry.Shown(p.Command, true)
	}
	return &redacted
}

// writeJSON writes v for people, too: with indentation, and & as &.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func newReport() *cobra.Command {
	c := &cobra.Command{
		Use:   "report COMMAND",
		Short: "Work with the reports that --report has written",
		Long:  `Work with the reports that corral --report has written.`,
		Annotations: map[string]string{exitStatuses: `125	bad arguments
`},
		DisableFlagsInUseLine: true,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("there is no command %q; report needs one, such as merge", args[0])
			}
			return errors.New("report needs a command, such as merge")
		},
	}
	c.AddCommand(newMerge())
	return c
}

func newMerge() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:   "merge [flags] FILE...",
		Short: "Put the reports of many runs into one table",
		Long: `Write one table of all reports in the FILEs, a line for each, in their order. They
are what corral --report has written, on whatever hosts. A FILE may hold several,
one after another, or what merge --json has written; - is standard input.

STATUS is the exit status of the command, or the signal that ended it. FORCED is
whether the grace period was not enough, and something had to be killed.

A FILE that cannot be read, or is not all reports, is named on standard error. All
reports before that, and those of the other files, are written all the same.`,
		Example: `  corral report merge reports/*.json
  corral report merge --json reports/*.json | jq '.[] | select(.exit_code != 0)'`,
		Annotations: map[string]string{exitStatuses: `0	all reports have been read and written, whatever they say
125	bad arguments, not all could be read, or the table cannot be written
`},
		DisableFlagsInUseLine: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no file given")
			}
			return nil
		},
		ValidArgsFunction: completeFiles,
		RunE: func(c *cobra.Command, args []string) error {
			var all []record
			status := 0
			for _, name := range args {
				records, err := readReports(name, c.InOrStdin())
				all = append(all, records...)
				if err != nil {
					say(c.ErrOrStderr(), "%v", err)
					status = statusOwn
				}
			}
			write := writeTable
			switch {
			case asJSON:
				write = writeRecords
			case len(all) == 0:
				return &exitError{status: status} // a table of nothing looks like an answer
			}
			if err := write(c.OutOrStdout(), all); err != nil {
				return &exitError{statusOwn, err}
			}
			return &exitError{status: status}
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.BoolVar(&asJSON, "json", false, "write a JSON list of the reports, each with its file")
	return c
}

// readReports returns the reports in a file, up to the first item that is none. The
// error says so, and names the file.
func readReports(name string, stdin io.Reader) (records []record, err error) {
	from := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("cannot read the report: %w", err)
		}
		defer f.Close()
		from = f
	}
	in := json.NewDecoder(from)
	for {
		var item json.RawMessage
		err := in.Decode(&item)
		if err == io.EOF {
			break
		}
		if err == nil {
			records, err = appendRecords(records, item, name)
		}
		if err != nil {
			return records, readError(name, len(records)+1, err)
		}
	}
	if len(records) == 0 {
		// --report makes the file when the run begins.
		return nil, fmt.Errorf("%s: there is no report in it: the run is not over, its corral was killed, or nothing was started", name)
	}
	return records, nil
}

// appendRecords appends an item of a file: a report, or a list of them, as merge
// --json writes it.
func appendRecords(records []record, item json.RawMessage, file string) ([]record, error) {
	list := []json.RawMessage{item}
	if item[0] == '[' {
		if err := json.Unmarshal(item, &list); err != nil {
			return records, err
		}
	}
	for _, raw := range list {
		r, err := parseRecord(raw, file)
		if err != nil {
			return records, err
		}
		records = append(records, r)
	}
	return records, nil
}

// parseRecord reads a report, and gives it the name of its file unless it has one.
func parseRecord(raw json.RawMessage, file string) (record, error) {
	r := record{raw: raw}
	var wrong *json.UnmarshalTypeError
	switch err := json.Unmarshal(raw, &r); {
	case errors.As(err, &wrong) && wrong.Field != "":
		_, name, _ := strings.Cut(wrong.Field, "Report.")
		return r, fmt.Errorf("its %s cannot be a %s", cmp.Or(name, wrong.Field), wrong.Value)
	case errors.As(err, &wrong):
		return r, fmt.Errorf("it is a %s", wrong.Value)
	case err != nil:
		return r, err
	}
	if r.Ending == "" || len(r.Command) == 0 {
		return r, errors.New("it has no ending, or no command")
	}
	if r.File == "" {
		r.File = file
		var quoted bytes.Buffer
		if err := writeJSON(&quoted, file); err != nil {
			return r, err
		}
		r.raw = slices.Concat([]byte(`{"file":`), quoted.Bytes(), []byte(","), bytes.TrimPrefix(raw, []byte("{")))
	}
	return r, nil
}

// readError is an error of reading the nth item of a file, in words that say what
// to look at.
func readError(file string, n int, err error) error {
	var path *fs.PathError
	switch {
	case errors.As(err, &path):
		return fmt.Errorf("cannot read the report: %w", err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s: report %d is cut off", file, n)
	}
	return fmt.Errorf("%s: item %d is not a report written by corral: %w", file, n, err)
}

func writeRecords(w io.Writer, all []record) error {
	list := []json.RawMessage{} // not null if there is none
	for _, r := range all {
		list = append(list, r.raw)
	}
	return writeJSON(w, list)
}

// countFates counts what became of the leftovers.
func countFates(leftovers []corral.Leftover) string {
	count := make(map[corral.Fate]int)
	for _, l := range leftovers {
		count[l.Fate]++
	}
	var parts []string
	forced := count[corral.Forced]
	if stopped := count[corral.Signalled] + forced; stopped > 0 {
		part := "stopped " + processes(stopped, "")
		switch forced {
		case 0:
		case stopped:
			part += " by force"
		default:
			part += fmt.Sprintf(" (%d by force)", forced)
		}
		parts = append(parts, part)
	}
	if n := count[corral.Ended]; n > 0 {
		parts = append(parts, "waited for "+processes(n, ""))
	}
	if n := count[corral.Kept]; n > 0 {
		parts = append(parts, "left "+processes(n, "")+" running")
	}
	if n := count[corral.Detached]; n > 0 {
		parts = append(parts, processes(n, "")+" detached")
	}
	if n := count[corral.Survived]; n > 0 {
		parts = append(parts, "could not stop "+processes(n, ""))
	}
	return strings.Join(parts, ", ")
}

func writeTable(w io.Writer, all []record) error {
	table := newTable(w)
	table.row("HOST", "COMMAND", "ENDING", "STATUS", "CONTAINMENT", "ELAPSED", "FORCED", "LEFTOVERS", "FILE")
	for _, r := range all {
		status, forced := strconv.Itoa(r.ExitCode), "no"
		if r.Signal != "" {
			status = r.Signal
		}
		if r.Forced {
			forced = "yes"
		}
		leftovers := countFates(r.Leftovers)
		if leftovers == "" {
			leftovers = "none"
		}
		table.row(r.Host, commandOf(corral.Process{Command: r.Command}), string(r.Ending), status, string(r.Containment),
			time.Duration(r.Elapsed).Round(time.Millisecond).String(), forced, leftovers, r.File)
	}
	return table.Flush()
}
