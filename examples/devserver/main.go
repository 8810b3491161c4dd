// Devserver runs a development server, and starts it anew whenever a file changes:
//
//	devserver [-dir DIR] COMMAND [ARG...]
//
// A development server is rarely one process: npm runs a shell, which runs node,
// which runs a compiler. Whoever kills the first one leaves the last one, and with it
// the port: "address already in use". Here nothing of the old server is left when the
// new one starts, nor when devserver itself ends, even by SIGKILL.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/corral-run/corral"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("devserver: ")
	dir := flag.String("dir", ".", "the `directory` whose files are watched")
	flag.Parse()
	if flag.NArg() == 0 {
		log.Fatal("no command given; use devserver [-dir DIR] COMMAND [ARG...]")
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := serve(ctx, *dir, flag.Args()); err != nil {
		log.Fatal(err)
	}
}

// serve runs the server again and again, until ctx is done.
func serve(ctx context.Context, dir string, argv []string) error {
	for ctx.Err() == nil {
		changed, forget := watch(ctx, dir)
		err := runUntil(ctx, changed, argv)
		if err != nil && ctx.Err() == nil {
			log.Printf("%v; waiting for a change", err)
			<-changed
		}
		forget()
	}
	return nil
}

// runUntil runs the server until something has changed, or ctx is done, or the server
// ends by itself, which is an error. Nothing of the server is left then.
func runUntil(ctx context.Context, changed <-chan struct{}, argv []string) error {
	cmd := corral.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.StopPlan = corral.StopPlan{{Signal: syscall.SIGTERM, Wait: 2 * time.Second}}
	if err := cmd.Start(); err != nil {
		return err
	}
	waited := make(chan error, 1)
	go func() { waited <- cmd.Wait() }()
	select {
	case err := <-waited:
		if err == nil {
			err = errors.New("the server has ended")
		}
		return err
	case <-changed:
	}
	if err := cmd.Stop(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("cannot start anew: %w", err) // somebody who cannot be killed
	}
	<-waited
	return nil
}

// watch returns a channel that is closed when a file in dir has changed, or ctx is
// done. A watcher such as fsnotify's would tell sooner.
func watch(ctx context.Context, dir string) (changed <-chan struct{}, forget func()) {
	ctx, forget = context.WithCancel(ctx)
	closed := make(chan struct{})
	before := look(dir)
	go func() {
		defer close(closed)
		for every := time.Tick(200 * time.Millisecond); ; {
			select {
			case <-ctx.Done():
				return
			case <-every:
				if look(dir) != before {
					return
				}
			}
		}
	}()
	return closed, forget
}

// look returns what changes when a file does: how many there are, how large they are,
// and when one was changed last.
func look(dir string) (state struct {
	files, bytes int64
	latest       time.Time
}) {
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // it has just been removed, which is a change, too
		}
		if info, err := e.Info(); err == nil && !e.IsDir() {
			state.files++
			state.bytes += info.Size()
			if info.ModTime().After(state.latest) {
				state.latest = info.ModTime()
			}
		}
		return nil
	})
	return state
}
