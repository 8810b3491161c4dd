//go:build go1.26

package corral_test

import "os"

func init() { withHandle = (*os.Process).WithHandle }
