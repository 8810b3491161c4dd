//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/promise"
)

func newDoctor() *cobra.Command {
	asJSON, onlyLimits := false, false
	c := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Say which containments work here, and why others do not",
		Long: `Try every containment of this system on a harmless command, corral --version.
A containment is what holds a run: a run is a command with all that it starts.

For one that works, the table says which processes can escape from it, and what
happens to the run if its owner, the program that asked for it, gets SIGKILL. For
one that does not work, it says why.

Then come the facts of this host that decide about it, the limits that a run can
have (--memory and the others), and where runs are registered for 'corral ps'. The
last part says what to change for better.

(auto) marks the one that a run gets if none is asked for: the strongest that
works, except pidns. CORRAL_AUTO in the environment lowers it.`,
		Example: `  corral doctor
  corral doctor --json`,
		Annotations: map[string]string{exitStatuses: `0	what a run gets if none is asked for outlasts the SIGKILL of its owner
1	only a weaker one works, or none
125	bad arguments, or corral itself failed
`},
		DisableFlagsInUseLine: true,
		Args:                  noArguments,
		ValidArgsFunction:     cobra.NoFileCompletions,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := reserve(0, 0); err != nil {
				return err
			}
			program, err := os.Executable()
			if err != nil && proctree.Usable() != nil {
				err = errors.New("/proc is not mounted, or is not that of this PID namespace, and doctor needs it: mount -t proc proc /proc")
			}
			if err != nil {
				return &exitError{statusOwn, err}
			}
			if onlyLimits {
				return answerLimits(c, program)
			}
			d := diagnose(program)
			write := d.writeText
			if asJSON {
				write = d.writeJSON
			}
			if err := write(c.OutOrStdout()); err != nil {
				return &exitError{statusOwn, err}
			}
			if !d.Survives {
				return &exitError{status: statusStuck}
			}
			return nil
		},
	}
	flags := c.Flags()
	flags.SortFlags = false
	flags.BoolVar(&asJSON, "json", false, "write JSON")
	flags.BoolVar(&onlyLimits, tryLimitsFlag, false, "")
	flags.MarkHidden(tryLimitsFlag)
	return c
}

// autoVariable is the library's: see corral.Auto.
const autoVariable = "CORRAL_AUTO"

// diagnosis is what the doctor says. The names in its JSON form are those of
// docs/cli.md, and stay as they are.
type diagnosis struct {
	Version string `json:"version"`
	// Auto is what a run gets if no containment is asked for, empty if none;
	// AutoReason is why none.
	Auto       corral.Containment `json:"auto"`
	AutoReason string             `json:"auto_reason,omitempty"`
	// AutoFrom is what the environment has lowered Auto to.
	AutoFrom string `json:"auto_from,omitempty"`
	// Survives says that Auto still does its work after the owner's SIGKILL.
	Survives     bool      `json:"survives_owner_kill"`
	Containments []finding `json:"containments"`
	Host         host      `json:"host"`
	Improve      []string  `json:"to_improve"`
}

// finding is about one containment.
type finding struct {
	Containment corral.Containment `json:"containment"`
	Works       bool               `json:"works"`
	Auto        bool               `json:"auto"`
	// What is promised: what can escape while the owner lives, what happens to the
	// run when it gets SIGKILL, and whether that has been tested on this system.
	Escapes     string        `json:"can_escape"`
	OwnerKilled string        `json:"owner_killed"`
	State       promise.State `json:"state"`
	Reason      string        `json:"reason,omitempty"` // why it does not work
}

// diagnose tries everything with the given program, which is corral.
func diagnose(program string) *diagnosis {
	d := &diagnosis{Version: version(), Improve: []string{}, AutoFrom: os.Getenv(autoVariable)}
	auto, err := tryContainment(program, corral.Auto)
	if err != nil {
		d.AutoReason = reasonOf(err)
	}
	d.Auto = auto
	d.Survives = auto != corral.Auto && auto != corral.Group
	d.Host = inspectHost()
	d.Host.Limits, d.Host.Registry = tryLimits(program), tryRegistry()
	for _, p := range promise.On(d.Host.OS) {
		c := corral.Containment(p.Containment)
		_, err := tryContainment(program, c)
		f := finding{Containment: c, Works: err == nil, Auto: c == auto, Escapes: p.Escapes, OwnerKilled: p.OwnerKilled, State: p.State}
		if err != nil {
			f.Reason = strings.TrimPrefix(strings.TrimPrefix(reasonOf(err), p.Containment+" containment: "), p.Containment+": ")
		}
		d.Containments = append(d.Containments, f)
	}
	if l := d.Host.Linux; l != nil {
		d.Improve = append(d.Improve, l.advice(d.Containments)...)
		if d.worksIn(corral.Cgroup) { // else that has been said
			d.Improve = append(d.Improve, l.limitsAdvice(d.Host.Limits)...)
		}
	}
	d.Improve = append(d.Improve, d.Host.Registry.advice()...)
	return d
}

// worksIn reports whether a run can have that containment.
func (d *diagnosis) worksIn(c corral.Containment) bool {
	return slices.ContainsFunc(d.Containments, func(f finding) bool { return f.Containment == c && f.Works })
}

// tryContainment runs the program in containment c, or in what it gets for Auto,
// and returns the containment that it had.
func tryContainment(program string, c corral.Containment) (corral.Containment, error) {
	const patience = 10 * time.Second
	cmd := corral.Command(program, "--version")
	cmd.Args[0] = "corral"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, io.Discard, io.Discard // there may be no null device
	cmd.Timeout = patience
	cmd.Containment, cmd.Require = c, c
	err := cmd.Run()
	var none *corral.ContainmentError
	var exited *corral.ExitError
	switch {
	case errors.As(err, &none) && len(none.Declined) == 1:
		return "", errors.New(none.Declined[0].Reason)
	case errors.As(err, &exited) && exited.ExitCode() >= 0 && cmd.Report().Ending == corral.Exited:
		// It ran, and that is all that was asked of it.
	case err != nil:
		return "", err
	}
	got := cmd.Report().Containment
	if c != corral.Auto && got != c {
		return "", fmt.Errorf("%s was given instead", got)
	}
	return got, nil
}

// reasonOf is an error as the words after "no".
func reasonOf(err error) string { return strings.TrimPrefix(err.Error(), "corral: ") }

func (d *diagnosis) writeJSON(w io.Writer) error {
	return writeJSON(w, d)
}

// writeText writes the diagnosis for people.
func (d *diagnosis) writeText(w io.Writer) error {
	for _, write := range []func(io.Writer) error{d.writeContainments, d.writeHost, d.writeAdvice} {
		if err := write(w); err != nil {
			return err
		}
	}
	return nil
}

func (d *diagnosis) writeContainments(w io.Writer) error {
	const escapes = "can escape"
	wide := len(escapes)
	for _, f := range d.Containments {
		wide = max(wide, len(f.Escapes))
	}
	// A reason stands in place of what is promised, and must not widen its columns.
	promised := func(escapes, ownerKilled string) string {
		return fmt.Sprintf("%-*s   %s", wide, escapes, ownerKilled)
	}
	table := newTable(w)
	table.row("containments", "", promised(escapes, "owner gets SIGKILL"))
	for _, f := range d.Containments {
		works, text := "no", f.Reason
		if f.Works {
			works, text = "yes", promised(f.Escapes, f.OwnerKilled)
			if f.State != promise.Tested {
				text += " (" + string(f.State) + ")"
			}
		}
		if f.Auto {
			works += " (auto)"
		}
		table.row("  "+string(f.Containment), works, text)
	}
	switch {
	case d.AutoReason != "":
		table.row("  auto", "no", d.AutoReason)
	case d.AutoFrom != "":
		table.row("  auto", "lowered", autoVariable+"="+d.AutoFrom+" in the environment")
	}
	return table.Flush()
}

func (d *diagnosis) writeHost(w io.Writer) error {
	table := newTable(w)
	table.row("")
	table.row("host")
	table.row("  corral", d.Version)
	for _, fact := range d.Host.facts() {
		table.row("  "+fact.name, fact.text)
	}
	return table.Flush()
}

func (d *diagnosis) writeAdvice(w io.Writer) error {
	lines := slices.Clone(d.Improve)
	if len(lines) == 0 {
		lines = []string{"nothing"}
		if slices.ContainsFunc(d.Containments, func(f finding) bool { return !f.Works }) {
			lines = []string{"nothing that corral knows of"}
		}
	}
	table := newTable(w)
	table.row("")
	table.row("to improve")
	for _, line := range lines {
		table.row("  " + line)
	}
	return table.Flush()
}
