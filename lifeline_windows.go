package corral

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

func watchTTY() (lost func(context.Context) error, close func() error, err error) {
	return nil, nil, errors.ErrUnsupported
}

func watchDescriptor(int) (lost func(context.Context) error, close func() error, err error) {
	return nil, nil, errors.ErrUnsupported
}

var (
	peekNamedPipe          = windows.NewLazySystemDLL("kernel32.dll").NewProc("PeekNamedPipe")
	ntQueryInformationFile = windows.NewLazySystemDLL("ntdll.dll").NewProc("NtQueryInformationFile")
)

// fileReader reads a file until it is told to stop. A read of a pipe cannot be
// interrupted where the pipe was not made for that, and mostly it was not. So a pipe
// is read when there is something in it, and looked at again and again until then.
type fileReader struct {
	file   *os.File
	pipe   bool
	ctx    context.Context
	cancel context.CancelFunc
}

func watchInput(f *os.File) (inputReader, error) {
	r, err := newFileReader(f)
	if err != nil {
		return nil, err
	}
	if !r.pipe {
		return nil, errors.New("it is a file or a device, which cannot tell that anybody has gone")
	}
	return r, nil
}

func readInput(f *os.File) (inputReader, error) { return newFileReader(f) }

func newFileReader(f *os.File) (*fileReader, error) {
	if f == nil {
		return nil, os.ErrInvalid
	}
	r := &fileReader{file: f}
	if err := r.control(func(h windows.Handle) error {
		var mode uint32
		if windows.GetConsoleMode(h, &mode) == nil {
			return fmt.Errorf("it is a console, and nobody could stop reading it: %w", errors.ErrUnsupported)
		}
		kind, err := windows.GetFileType(h)
		if r.pipe = err == nil && kind == windows.FILE_TYPE_PIPE; !r.pipe {
			return err
		}
		if _, err = waiting(h); err != nil && err != io.EOF { // a socket
			return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	return r, nil
}

func (r *fileReader) stop() { r.cancel() }

func (r *fileReader) Read(b []byte) (int, error) {
	if !r.pipe {
		if r.ctx.Err() != nil {
			return 0, context.Cause(r.ctx)
		}
		return r.file.Read(b)
	}
	err := r.poll(r.ctx, func(h windows.Handle) (bool, error) {
		n, err := waiting(h)
		return n > 0, err
	})
	if err != nil {
		return 0, err
	}
	return r.file.Read(b)
}

// hungUp asks for the state of the pipe, which tells that the other end is closed
// also as long as there is something to read.
func (r *fileReader) hungUp(ctx context.Context) error {
	return r.poll(ctx, isClosing)
}

// poll asks until the answer is yes or an error.
func (r *fileReader) poll(ctx context.Context, ask func(windows.Handle) (bool, error)) error {
	const shortest, longest = time.Millisecond, 50 * time.Millisecond
	for pause := shortest; ; pause = min(2*pause, longest) {
		var yes bool
		err := r.control(func(h windows.Handle) (err error) {
			yes, err = ask(h)
			return err
		})
		if yes || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

// control calls f with the handle, which stays the file's until f returns.
func (r *fileReader) control(f func(windows.Handle) error) error {
	conn, err := r.file.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(h uintptr) { failed = f(windows.Handle(h)) }); err != nil {
		return err
	}
	return failed
}

// waiting is how many bytes there are to read in a pipe, or io.EOF if there are none,
// nor will be.
func waiting(pipe windows.Handle) (n uint32, err error) {
	ok, _, err := peekNamedPipe.Call(uintptr(pipe), 0, 0, 0, uintptr(unsafe.Pointer(&n)), 0)
	switch {
	case ok != 0:
		return n, nil
	case errors.Is(err, windows.ERROR_BROKEN_PIPE):
		return 0, io.EOF
	}
	return 0, os.NewSyscallError("PeekNamedPipe", err)
}

// isClosing reports whether the other end of a pipe has been closed.
func isClosing(pipe windows.Handle) (bool, error) {
	const filePipeLocalInformation, closing = 24, 4
	var info struct { // FILE_PIPE_LOCAL_INFORMATION
		namedPipeType, configuration                       uint32
		maximumInstances, currentInstances                 uint32
		inboundQuota, readAvailable, outboundQuota         uint32
		writeQuotaAvailable, namedPipeState, namedPipeEnd_ uint32
	}
	var status windows.IO_STATUS_BLOCK
	code, _, _ := ntQueryInformationFile.Call(uintptr(pipe), uintptr(unsafe.Pointer(&status)),
		uintptr(unsafe.Pointer(&info)), unsafe.Sizeof(info), filePipeLocalInformation)
	if code != 0 {
		return false, windows.NTStatus(code)
	}
	return info.namedPipeState == closing, nil
}
