//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
)

// limitable is which limits a run of corral can have here.
type limitable struct {
	Memory answer `json:"memory"`
	PIDs   answer `json:"pids"`
	CPUs   answer `json:"cpus"`
	// Process is about those that each process has for itself: --open-files,
	// --file-size, --core.
	Process answer `json:"process"`
}

// tryLimitsFlag has a corral try its limits, and nothing else. For them it may have to
// move to another control group, and whoever is asked what works here stays.
const tryLimitsFlag = "try-limits"

// tryLimits runs the program, which is corral, with each kind of limit.
func tryLimits(program string) *limitable {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "doctor", "--"+tryLimitsFlag)
	cmd.Args[0] = "corral"
	// What lowers the containment of all runs counts for these, too.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(entry string) bool {
		return strings.HasPrefix(entry, runPrefix) && !strings.HasPrefix(entry, autoVariable+"=") && !strings.HasPrefix(entry, userScopeVariable+"=")
	})
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	l := &limitable{}
	if err == nil {
		err = json.Unmarshal(out, l)
	}
	if err != nil {
		why := answer{Reason: fmt.Sprintf("they could not be tried: %v %s", err, strings.TrimSpace(said.String()))}
		return &limitable{why, why, why, why}
	}
	return l
}

// answerLimits is what the corral does that tryLimits has started.
func answerLimits(c *cobra.Command, program string) error {
	scopeless := enterScopeToTry()
	if err := stepAside(); err != nil {
		return &exitError{statusOwn, err}
	}
	try := func(l corral.Limits) answer { return tryLimit(program, l, scopeless) }
	return writeJSON(c.OutOrStdout(), limitable{
		Memory: try(corral.Limits{Memory: 1 << 30}), PIDs: try(corral.Limits{PIDs: 1000}), CPUs: try(corral.Limits{CPUs: 1}),
		Process: try(corral.Limits{Core: corral.LimitToZero}),
	})
}

func tryLimit(program string, l corral.Limits, scopeless error) answer {
	cmd := corral.Command(program, "--version")
	cmd.Args[0] = "corral"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, io.Discard, io.Discard
	cmd.Timeout = 10 * time.Second
	cmd.Limits = l
	err := cmd.Run()
	var none *corral.ContainmentError
	var exited *corral.ExitError
	switch {
	case errors.As(err, &none) && len(none.Declined) > 0:
		declinedScope(none.Declined, scopeless)
		return answer{Reason: none.Declined[0].Reason} // the strongest: the others can do less
	case errors.As(err, &exited) && exited.ExitCode() >= 0 && cmd.Report().Ending == corral.Exited:
		// It ran, and that is all that was asked of it.
	case err != nil:
		return answer{Reason: reasonOf(err)}
	}
	return answer{Works: true}
}

// facts are the lines about limits. Those that do not work for one reason share one.
func (l *limitable) facts() []fact {
	if l == nil {
		return nil
	}
	return []fact{{"limits of a run", l.ofRun()}, {"limits of processes", l.Process.String()}}
}

func (l *limitable) ofRun() string {
	var words []string
	reasons := make(map[string][]string)
	var order []string
	for _, a := range []struct {
		name, controller string
		answer
	}{{"memory", "memory", l.Memory}, {"pids", "pids", l.PIDs}, {"cpus", "cpu", l.CPUs}} {
		if a.Works {
			words = append(words, a.name)
			continue
		}
		// What is limited is said before that.
		_, reason, _ := strings.Cut(a.Reason, " cannot be limited: ")
		if reason == "" {
			reason = a.Reason
		}
		reason = strings.ReplaceAll(reason, "the controller "+a.controller, "the controller")
		if reasons[reason] == nil {
			order = append(order, reason)
		}
		reasons[reason] = append(reasons[reason], a.name)
	}
	if len(words) > 0 {
		words = []string{"yes: " + strings.Join(words, ", ")}
	}
	for _, reason := range order {
		words = append(words, fmt.Sprintf("no %s: %s", strings.Join(reasons[reason], ", "), reason))
	}
	return strings.Join(words, "; ")
}

// all reports whether a run can have each of its limits.
func (l *limitable) all() bool { return l.Memory.Works && l.PIDs.Works && l.CPUs.Works }

// limitsAdvice is what to do where there is cgroup containment, and some limits
// do not work.
func (l *linux) limitsAdvice(limits *limitable) []string {
	if limits == nil || limits.all() {
		return nil
	}
	c := &l.Cgroup
	switch {
	case c.Layout != "v2":
		return []string{"limits: on the host kernel's command line, cgroup_no_v1=all (with systemd, systemd.unified_cgroup_hierarchy=1), so that version 2 has the controllers"}
	case len(l.Container) > 0 && c.Own == c.Mount:
		return []string{fmt.Sprintf("limits: D=%s; mkdir $D/main; for p in $(cat $D/cgroup.procs); do echo $p >$D/main/cgroup.procs; done", c.Own)}
	case !l.Systemd || limits.Memory.Works || limits.PIDs.Works || limits.CPUs.Works:
		return nil
	case l.UID == 0:
		return []string{"limits: systemd-run --scope -p Delegate=yes -- corral --memory 512M -- COMMAND"}
	case l.UserManager:
		return []string{"limits: systemd-run --user --scope -p Delegate=yes -- corral --memory 512M -- COMMAND"}
	}
	return nil
}
