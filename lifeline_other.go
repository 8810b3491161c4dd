//go:build !linux && !darwin && !freebsd && !windows

package corral

import (
	"context"
	"errors"
	"os"
)

func watchTTY() (lost func(context.Context) error, close func() error, err error) {
	return nil, nil, errors.ErrUnsupported
}

func watchDescriptor(int) (lost func(context.Context) error, close func() error, err error) {
	return nil, nil, errors.ErrUnsupported
}

func watchInput(*os.File) (inputReader, error) { return nil, errors.ErrUnsupported }

func readInput(*os.File) (inputReader, error) { return nil, errors.ErrUnsupported }
