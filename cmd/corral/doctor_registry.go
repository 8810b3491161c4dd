//go:build linux || darwin || freebsd || windows

package main

import (
	"github.com/corral-run/corral/internal/registry"
)

// registered is whether runs are registered here, and where.
type registered struct {
	answer
	Dir string `json:"dir,omitempty"`
}

// tryRegistry does what each run does first: it opens the directory, and makes it if it
// is not there.
func tryRegistry() *registered {
	dir, err := registry.Own()
	if err != nil {
		return &registered{answer: answer{Reason: reasonOf(err)}}
	}
	return &registered{answer{Works: true}, dir}
}

func (r *registered) facts() []fact {
	switch {
	case r == nil:
		return nil
	case r.Works:
		return []fact{{"registry of runs", r.Dir}}
	}
	return []fact{{"registry of runs", r.String()}}
}

// advice is what to do so that 'corral ps' has something to show.
func (r *registered) advice() []string {
	if r == nil || r.Works || registry.Supported() != nil {
		return nil
	}
	return []string{"corral ps: mend the registry of runs, or set XDG_RUNTIME_DIR to a directory of this user's own with mode 0700"}
}
