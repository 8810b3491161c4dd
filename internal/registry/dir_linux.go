package registry

import (
	"os"
	"strconv"
)

// openPath is a path to the directory as it is open.
func (d *Dir) openPath() (string, error) {
	path := "/proc/self/fd/" + strconv.Itoa(d.fd())
	_, err := os.Stat(path)
	return path, err
}
