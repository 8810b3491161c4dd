//go:build darwin || freebsd

package keeper

import (
	"os"

	"github.com/corral-run/corral/internal/wire"
)

// startBare does nothing: see bare_linux.go.
func (k *containment) startBare(*wire.Spec, []*os.File) (event wire.Event, done bool, err error) {
	return event, false, nil
}
