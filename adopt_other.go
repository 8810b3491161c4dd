//go:build !linux

package corral

import (
	"errors"
	"fmt"
)

func (c *choice) adopt() error {
	return fmt.Errorf("corral: AdoptOrphans: %w", errors.ErrUnsupported)
}
