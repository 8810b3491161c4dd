//go:build linux || darwin || freebsd || windows

package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// watch goes on showing a source in the terminal, and shows it once where there is none.
func watch(c *cobra.Command, s source, pause time.Duration) error {
	screen, err := openLiveScreen(c.OutOrStdout())
	switch {
	case err != nil:
		return &exitError{statusOwn, err}
	case screen == nil:
		return showOnce(c, s)
	}
	return goLive(c, s, screen, pause)
}

// showOnce shows what there is, after a moment in which it is seen what that uses.
func showOnce(c *cobra.Command, s source) error {
	if _, err := s.look(c.Context(), oncePatience); err != nil {
		return &exitError{statusStuck, err}
	}
	select {
	case <-c.Context().Done():
		return &exitError{statusOwn, context.Cause(c.Context())}
	case <-time.After(glimpse):
	}
	pic, err := s.look(c.Context(), oncePatience)
	if err != nil {
		return &exitError{statusStuck, err}
	}
	for _, note := range pic.notes {
		say(c.ErrOrStderr(), "%s", note)
	}
	v := viewFor(c.OutOrStdout())
	if _, err := fmt.Fprint(c.OutOrStdout(), joinLines(drawUsage(usageTree(pic.parts, &pic.meter, v), v))); err != nil {
		return &exitError{statusOwn, err}
	}
	return nil
}
