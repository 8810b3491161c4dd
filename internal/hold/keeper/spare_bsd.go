//go:build darwin || freebsd

package keeper

import (
	"errors"

	"github.com/corral-run/corral/internal/proctree"
)

const canSpare = false

func (k *containment) Spare(proctree.ID) error { return errors.ErrUnsupported }
