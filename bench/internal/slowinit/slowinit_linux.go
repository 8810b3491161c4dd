// Package slowinit stands for the packages of a large program: Go initialises it
// before Corral's, by the order of import paths.
package slowinit

import (
	"strings"
	"syscall"
	"time"
)

// Name is at the end of the name of a program in which initialisation takes Time.
const (
	Name = "-slowinit"
	Time = 50 * time.Millisecond
)

func init() {
	// A helper has another argv[0], and may have another environment.
	path := make([]byte, 4096)
	n, err := syscall.Readlink("/proc/self/exe", path)
	if err != nil || !strings.HasSuffix(string(path[:n]), Name) {
		return
	}
	for began := time.Now(); time.Since(began) < Time; {
	}
}
