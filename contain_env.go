//go:build linux || darwin || freebsd || windows

package corral

import (
	"os"
	"slices"
	"strings"

	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/stub"
	"github.com/corral-run/corral/internal/wire"
)

// heldPrefix begins the name of a variable that the runner must not see under its
// own.
const heldPrefix = "CORRAL_HELD_"

// steers reports whether a variable steers Go's runtime, the dynamic linker or this
// package.
func steers(name string) bool {
	return slices.Contains(helper.RuntimeVariables, name) || name == autoVariable || name == stub.Switch || isLinkers(name)
}

// ownSteering is what this package reads of this program's environment.
func ownSteering() (entries []string) {
	for _, name := range []string{autoVariable, stub.Switch} {
		if value, ok := os.LookupEnv(name); ok {
			entries = append(entries, name+"="+value)
		}
	}
	return entries
}

func isLinkers(name string) bool {
	return strings.HasPrefix(name, "LD_") || strings.HasPrefix(name, "DYLD_") || name == "GLIBC_TUNABLES"
}

// holdBack returns env for the runner: what would steer it has another name, and the
// dynamic linker is steered as it is here. spec says so. The other variables stay
// as they are, because the caller may look at them.
func holdBack(env, own []string, spec *wire.RunnerSpec) []string {
	held := make([]string, 0, len(env))
	for _, entry := range env {
		name, _, found := strings.Cut(entry, "=")
		if found && steers(name) {
			entry = heldPrefix + entry
			if !slices.Contains(spec.Held, name) {
				spec.Held = append(spec.Held, name)
			}
		}
		held = append(held, entry)
	}
	for _, entry := range own {
		if name, _, _ := strings.Cut(entry, "="); isLinkers(name) {
			spec.Set = append(spec.Set, entry)
		}
	}
	return append(held, spec.Set...)
}

// giveBack is the reverse of holdBack. What the caller has added under its own name after
// holdBack wins, as the later one of two entries does.
func giveBack(env []string, spec *wire.RunnerSpec) []string {
	env = slices.DeleteFunc(env, func(entry string) bool { return slices.Contains(spec.Set, entry) })
	later := make(map[string]bool)
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		later[name] = true
	}
	released := []string{} // nil would be the runner's
	for _, entry := range env {
		rest, _ := strings.CutPrefix(entry, heldPrefix)
		name, _, _ := strings.Cut(rest, "=")
		if rest == entry || !slices.Contains(spec.Held, name) {
			released = append(released, entry)
		} else if !later[name] {
			released = append(released, rest)
		}
	}
	return released
}
