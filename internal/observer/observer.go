// Package observer lets package corraltest follow a run from inside: what it
// observes with comes with the command's context. Nobody else has one.
package observer

import (
	"context"
	"time"

	"github.com/corral-run/corral/internal/proctree"
)

// Observer is told of one run. Who calls Start calls Starting and Started, and who looks
// after the run the others.
type Observer interface {
	// Starting is called before Start does anything. Its error is Start's.
	Starting() error
	// Started is called when Start is over. If err is nil, wait does what Cmd.Wait
	// does, and returns the same. Both may be called, at any time.
	Started(err error, wait func() error)
	// Patience is how long what the leader leaves may take to end by itself.
	Patience() time.Duration
	// Left gets what the leader has left, before that is stopped.
	Left([]proctree.Process)
}

type key struct{}

// With returns a context with which a command is observed by o.
func With(ctx context.Context, o Observer) context.Context {
	return context.WithValue(ctx, key{}, o)
}

// Of returns who observes commands with ctx, which may be nil: perhaps nobody.
func Of(ctx context.Context) Observer {
	if ctx != nil {
		if o, ok := ctx.Value(key{}).(Observer); ok {
			return o
		}
	}
	return nobody{}
}

type nobody struct{}

func (nobody) Starting() error             { return nil }
func (nobody) Started(error, func() error) {}
func (nobody) Patience() time.Duration     { return 0 }
func (nobody) Left([]proctree.Process)     {}
