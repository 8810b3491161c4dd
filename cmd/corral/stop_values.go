//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/corral-run/corral"
)

// planValue is a flag's value: how a run is stopped, step by step.
type planValue struct {
	plan corral.StopPlan // nil if it has not been given
	text string
}

func (v *planValue) Set(s string) error {
	plan, err := parsePlan(s)
	v.plan, v.text = plan, s
	return err
}

func (v *planValue) String() string { return v.text }
func (v *planValue) Type() string   { return "PLAN" }

// stdinStep is the name of the step that closes standard input.
const stdinStep = "stdin"

// parsePlan reads steps with commas: stdin:5s,TERM:5s. KILL may come last, and says
// what comes then anyway.
func parsePlan(s string) (corral.StopPlan, error) {
	plan := corral.StopPlan{}
	steps := strings.Split(s, ",")
	for i, text := range steps {
		name, wait, timed := strings.Cut(strings.TrimSpace(text), ":")
		if name == "" {
			return nil, errors.New("a step is missing; use for example stdin:5s,TERM:5s")
		}
		var step corral.StopStep
		if strings.EqualFold(name, stdinStep) {
			step.CloseStdin = true
		} else {
			sig, err := parseSignal(name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			step.Signal = sig
		}
		if step.Signal == syscall.SIGKILL {
			if timed || i < len(steps)-1 {
				return nil, errors.New("KILL is the last step, and has no time")
			}
			break
		}
		if !timed {
			return nil, fmt.Errorf("how long may the step %s take? write for example %s:5s", name, name)
		}
		var err error
		if step.Wait, err = parseDuration(wait); err != nil {
			return nil, fmt.Errorf("%s:%s: %w", name, wait, err)
		}
		plan = append(plan, step)
	}
	return plan, nil
}

// planNames are beginnings of a plan, for completion.
func planNames() []string { return []string{"stdin:5s,TERM:5s", "INT:5s,TERM:5s", "TERM:5s", "KILL"} }

// checkStop refuses a stop plan in both of its forms. written is a flag as the user has
// written it.
func checkStop(flags *pflag.FlagSet, written func(f *pflag.Flag) string) error {
	const plan = "stop"
	for _, short := range rivals[plan] {
		if flags.Changed(plan) && flags.Changed(short) {
			return fmt.Errorf("%s and %s cannot be given together: put the signal and its time into the plan, such as TERM:5s", written(flags.Lookup(plan)), written(flags.Lookup(short)))
		}
	}
	return nil
}

// asFlag is a flag as it is written on the command line.
func asFlag(f *pflag.Flag) string { return "--" + f.Name }
