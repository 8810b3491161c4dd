//go:build !linux

package corral

import (
	"errors"
	"fmt"
)

func adopt(containment) (containment, error) {
	return nil, fmt.Errorf("corral: AdoptOrphans: %w", errors.ErrUnsupported)
}
