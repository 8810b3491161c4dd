package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// liveScreen is for systems with termios(4).
type liveScreen struct{}

// openLiveScreen refuses a console: nothing here has been tried with one.
func openLiveScreen(out io.Writer) (*liveScreen, error) {
	if f := fileOf(out); f != nil && term.IsTerminal(int(f.Fd())) {
		return nil, fmt.Errorf("a console is not drawn on here; with its output in a file or pipe it shows all once: %w", errors.ErrUnsupported)
	}
	return nil, nil
}

func goLive(c *cobra.Command, s source, _ *liveScreen, _ time.Duration) error { return showOnce(c, s) }
