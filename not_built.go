//go:build darwin || freebsd

package corral

import (
	"errors"

	"github.com/corral-run/corral/internal/promise"
)

// notBuilt opens the containments that are still to come.
func notBuilt(request) (containment, error) { return nil, errors.New(string(promise.NotBuilt)) }
