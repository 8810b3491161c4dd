//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/stop"
)

// userScope is the value of --user-scope: when corral moves itself to a scope of the
// user's systemd manager, where it may make control groups. A login's session is none.
//
// It does so only for what nothing else can do. A keeper needs no scope, and a scope
// takes some time to start and ends with the user's last session, as the session's own
// processes need not.
type userScope string

const (
	scopeAuto   userScope = "auto"   // if control groups are asked for
	scopeAlways userScope = "always" // also if they would be chosen
	scopeNever  userScope = "never"
)

// userScopeVariable is the flag's, which whoever is started to try one has to keep.
const userScopeVariable = runPrefix + "USER_SCOPE"

var userScopes = []string{string(scopeAuto), string(scopeAlways), string(scopeNever)}

func (s *userScope) Set(word string) error {
	switch userScope(word) {
	case scopeAlways:
		if !haveUserScopes {
			return errors.New("only Linux has such scopes")
		}
	case scopeAuto, scopeNever:
	default:
		return errors.New("it must be one of auto, always, never")
	}
	*s = userScope(word)
	return nil
}

func (s *userScope) String() string { return string(*s) }
func (s *userScope) Type() string   { return "WHEN" }

func (s *userScope) define(c *cobra.Command) {
	*s = scopeAuto
	c.Flags().Var(s, "user-scope", "move corral from a login's session to a scope of the user's systemd, which may have control groups: WHEN they are asked for (auto), would be chosen (always), or never")
	complete(c, "user-scope", func() []string { return userScopes })
}

// wantsScope reports whether the run is worth a scope, if there is no other way to
// control groups.
func (o *runFlags) wantsScope() bool {
	if o.userScope == scopeNever {
		return false
	}
	lowered := os.Getenv(autoVariable)
	chosen := o.containment == corral.Auto && o.require != corral.PIDNS && (lowered == "" || lowered == string(corral.Cgroup))
	asked := o.require == corral.Cgroup || o.limit.needControlGroup()
	return o.containment == corral.Cgroup || chosen && (o.userScope == scopeAlways || asked)
}

// scopeTimeout is how long the manager is to wait for a run that it wants to end: as
// long as the run's stop may take.
func (o *runFlags) scopeTimeout() time.Duration {
	const reserve = 30 * time.Second // for what no plan has: output, a busy machine
	plan := o.stop.plan
	if plan == nil {
		plan = stopPlan(0, time.Duration(o.grace))
	}
	sum := reserve + stop.KillPatience
	for _, step := range plan {
		if step.Wait > forever-sum {
			return forever
		}
		sum += step.Wait
	}
	return sum
}

// noScope is between why there is no cgroup containment and why there is no scope.
const noScope = "; and in no scope of the user's systemd: "

// declinedScope adds to the reason why there is no cgroup containment that there is no
// scope for it, and why.
func declinedScope(declined []corral.Declined, err error) {
	for i := range declined {
		if err != nil && declined[i].Containment == corral.Cgroup {
			declined[i].Reason += noScope + err.Error()
		}
	}
}
