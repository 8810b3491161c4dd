//go:build darwin || freebsd

package registry

import "errors"

// openPath would be a path to the directory as it is open.
func (d *Dir) openPath() (string, error) {
	return "", errors.New("use a shorter XDG_RUNTIME_DIR or TMPDIR")
}
