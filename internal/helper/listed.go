//go:build linux || darwin

package helper

import (
	"iter"
	"os"
	"strconv"
)

// listed yields the descriptors that a directory has an entry for.
func listed(dir string) iter.Seq[int] {
	return func(yield func(int) bool) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return
		}
		for _, entry := range entries {
			if fd, err := strconv.Atoi(entry.Name()); err == nil && !yield(fd) {
				return
			}
		}
	}
}
