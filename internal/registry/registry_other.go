//go:build !(linux || darwin || freebsd)

package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
)

var errUnsupported = fmt.Errorf("runs are registered on Linux, macOS and FreeBSD only: %w", errors.ErrUnsupported)

// Supported says why runs cannot be registered on this system.
func Supported() error { return errUnsupported }

// Listing is for systems where runs are registered.
type Listing struct{}

func Register(Entry, Handler) (*Listing, error) { return nil, Supported() }
func (*Listing) Update(func(*Entry)) error      { return nil }
func (*Listing) Keep([]Process) error           { return nil }
func (*Listing) Close(Outcome)                  {}

// Dir is for systems where runs are registered.
type Dir struct{}

func Own() (string, error)                    { return "", Supported() }
func OpenDir(string, int, bool) (*Dir, error) { return nil, Supported() }
func Foreign(string, int) bool                { return false }
func Dirs(int) ([]*Dir, []error)              { return nil, []error{Supported()} }
func (*Dir) Path() string                     { return "" }
func (*Dir) UID() int                         { return -1 }
func (*Dir) Close() error                     { return nil }
func (*Dir) List() (*Contents, error)         { return nil, Supported() }
func (*Dir) Sweep() (int, error)              { return 0, Supported() }
func (*Dir) Names() ([]string, error)         { return nil, Supported() }
func (*Dir) Read(string) (*Entry, error)      { return nil, Supported() }
func (*Dir) Write(string, *Entry) error       { return Supported() }
func (*Dir) WriteRoomy(string, *Entry) error  { return Supported() }
func (*Dir) Complete(string, *Entry) error    { return Supported() }
func (*Dir) Rename(string, string) error      { return Supported() }
func (*Dir) Delete(string) error              { return Supported() }
func (*Dir) DeleteEntry(string) error         { return Supported() }
func (*Dir) InUse(string) bool                { return false }
func Hold(*os.File)                           {}

func (*Dir) Open(string, int) (*os.File, error) { return nil, Supported() }

func (*Found) Forget() error                               { return Supported() }
func (*Found) Ask(context.Context, Request) (Reply, error) { return Reply{}, Supported() }
