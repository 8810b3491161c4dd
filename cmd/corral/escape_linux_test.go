package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/escape"
)

// TestEscape: nothing that is started by way of the command corral stays, not
// even what the library loses: corral is the next one that orphans come to.
func TestEscape(t *testing.T) {
	for _, cont := range []string{"pidns", "cgroup", "keeper", "group"} {
		t.Run(cont, func(t *testing.T) {
			if testing.Short() && (cont == "pidns" || cont == "group") {
				t.Skip("it takes its time")
			}
			skipWithout(t, cont)
			for _, child := range append(escape.All(), escape.KillOwner(), escape.KillHelper()) {
				t.Run(child.Name, func(t *testing.T) {
					if err := child.Unavailable(); err != nil {
						t.Skip("SKIPPED: ", err)
					}
					killer := child.Name == escape.KillOwner().Name
					orphans := cont == "keeper" && child.Name == escape.KillHelper().Name
					if cont == "group" && killer {
						t.Skip("corral is killed, and there is nobody to act for it: see the library's table")
					}
					t.Run("ends", func(t *testing.T) {
						if cont == "pidns" && killer {
							t.Skip("the parent is PID 1 of the namespace, which no member can kill: the command goes on")
						}
						hold(t, cont, child, func(_ *os.Process, probe *escape.Probe) { probe.Release() })
					})
					t.Run("stop", func(t *testing.T) {
						hold(t, cont, child, func(corral *os.Process, _ *escape.Probe) { corral.Signal(syscall.SIGTERM) })
					})
					if cont != "group" && !killer && !orphans { // else there is nobody left to act
						t.Run("owner", func(t *testing.T) {
							hold(t, cont, child, func(corral *os.Process, _ *escape.Probe) { corral.Kill() })
						})
					}
				})
			}
		})
	}
}

func hold(t *testing.T, cont string, child escape.Child, act func(corral *os.Process, probe *escape.Probe)) {
	t.Parallel()
	escape.StartBystander(t)
	probe := escape.NewProbe(t, child)
	path, args, files := probe.Command()
	cmd := exec.Command("corral", append([]string{"--containment", cont, "--require", cont, "--grace", "300ms", "--", path}, args...)...)
	var said strings.Builder
	cmd.Stderr = &said
	cmd.ExtraFiles = files
	cmd.WaitDelay = 10 * time.Second // a member that is left holds the standard error
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	probe.Started()
	probe.Ready(t.Context())
	act(cmd.Process, probe)
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := probe.Gone(ctx); err != nil {
		t.Errorf("%v; corral said %q", err, said.String())
	}
}
