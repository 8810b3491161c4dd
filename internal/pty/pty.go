// Package pty opens pseudo-terminals.
package pty

import "os"

// Settings are how a terminal is to be: see corral.PTY.
type Settings struct {
	Like       *os.File
	Rows, Cols uint16
	NoEcho     bool
}
