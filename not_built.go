//go:build !linux && !darwin && !freebsd

package corral

import "errors"

// notBuilt opens the containments that are still to come.
func notBuilt(request) (containment, error) { return nil, errors.New("not built yet") }
