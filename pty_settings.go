package corral

import "os"

// terminalSettings are how a terminal is to be: see corral.PTY.
type terminalSettings struct {
	Like       *os.File
	Rows, Cols uint16
	NoEcho     bool
}
