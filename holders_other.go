//go:build !linux

package corral

import "os"

// end would name an open file, if there were a way to find out who has it open.
type end struct{}

func endOf(*os.File) end { return end{} }

func holders([]end) []Process { return nil }
