// Package pty opens pseudo-terminals.
package pty

import "os"

// Settings are the settings of a terminal: see corral.PTY.
type Settings struct {
	Like       *os.File
	Rows, Cols uint16
	NoEcho     bool
}
