package proctree

import (
	"context"
	"errors"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/windows"
)

// openProcess opens the process id with the access needed to identify it, and
// more.
func openProcess(id ID, more uint32) (windows.Handle, error) {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION|more, false, uint32(id.PID))
	if err == windows.ERROR_INVALID_PARAMETER {
		return 0, ErrGone
	}
	if err != nil {
		return 0, os.NewSyscallError("OpenProcess", err)
	}
	start, err := created(h)
	if err == nil && start != id.Start {
		err = ErrGone
	}
	if err == nil {
		return h, nil
	}
	windows.CloseHandle(h)
	return 0, err
}

// Dup returns a Handle for the process that h, a Windows handle of the caller's,
// refers to, with the access that h has.
func Dup(h uintptr) (*Handle, ID, error) {
	self := windows.CurrentProcess()
	var dup windows.Handle
	err := windows.DuplicateHandle(self, windows.Handle(h), self, &dup, 0, false, windows.DUPLICATE_SAME_ACCESS)
	if err != nil {
		return nil, ID{}, os.NewSyscallError("DuplicateHandle", err)
	}
	pid, err := windows.GetProcessId(dup)
	if err != nil {
		err = os.NewSyscallError("GetProcessId", err)
	}
	id := ID{PID: int(pid)}
	if err == nil {
		id.Start, err = created(dup)
	}
	if err != nil {
		windows.CloseHandle(dup)
		return nil, ID{}, err
	}
	return &Handle{id, processHandle{dup}}, id, nil
}

// created returns when a process was created.
func created(h windows.Handle) (uint64, error) {
	var created, exited, kernel, user windows.Filetime
	err := windows.GetProcessTimes(h, &created, &exited, &kernel, &user)
	return uint64(created.HighDateTime)<<32 | uint64(created.LowDateTime), os.NewSyscallError("GetProcessTimes", err)
}

// ended reports whether a process has ended. Its exit code would not tell: 259
// stands for a process that runs, but is an exit code too.
func ended(h windows.Handle) (bool, error) {
	event, err := windows.WaitForSingleObject(h, 0)
	return event == windows.WAIT_OBJECT_0, os.NewSyscallError("WaitForSingleObject", err)
}

func eventDriven() bool { return true }

type processHandle struct{ windows.Handle }

func openHandle(p Process) (handle, error) {
	h, err := openProcess(p.ID, windows.SYNCHRONIZE|windows.PROCESS_TERMINATE)
	if err != nil {
		return nil, err
	}
	return processHandle{h}, nil
}

func (h processHandle) signal(sig os.Signal) error {
	if sig != os.Kill && sig != syscall.Signal(0) {
		return errors.ErrUnsupported
	}
	gone, err := ended(h.Handle)
	if err == nil && !gone && sig == os.Kill {
		err = os.NewSyscallError("TerminateProcess", windows.TerminateProcess(h.Handle, 1))
		if err != nil { // access is denied also if there is nothing left to terminate
			gone, _ = ended(h.Handle)
		}
	}
	if gone {
		return ErrGone
	}
	return err
}

func (h processHandle) wait(ctx context.Context) error {
	w := handleWatch{[]windows.Handle{h.Handle}}
	return w.wait(ctx, func(windows.Handle) error { return nil })
}

func (h processHandle) close() error {
	return os.NewSyscallError("CloseHandle", windows.CloseHandle(h.Handle))
}

type processWatch struct{ handleWatch }

func newWatch() (watch, error) { return &processWatch{}, nil }

func (w *processWatch) add(id ID) error {
	h, err := openProcess(id, windows.SYNCHRONIZE)
	if err != nil {
		return err
	}
	gone, err := ended(h)
	if err == nil && gone {
		err = ErrGone
	}
	if err != nil {
		windows.CloseHandle(h)
		return err
	}
	w.handles = append(w.handles, h)
	return nil
}

func (w *processWatch) len() int { return len(w.handles) }

func (w *processWatch) wait(ctx context.Context) error {
	return w.handleWatch.wait(ctx, windows.CloseHandle)
}

func (w *processWatch) close() error {
	var errs []error
	for _, h := range w.handles {
		errs = append(errs, windows.CloseHandle(h))
	}
	w.handles = nil
	return errors.Join(errs...)
}

type handleWatch struct{ handles []windows.Handle }

// wait returns when all handles have been signalled, and calls drop for each
// one that has. It takes a thread.
func (w *handleWatch) wait(ctx context.Context, drop func(windows.Handle) error) error {
	cancel, err := windows.CreateEvent(nil, 1, 0, nil)
	if err != nil {
		return os.NewSyscallError("CreateEvent", err)
	}
	var failed error
	set := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		failed = windows.SetEvent(cancel)
		close(set)
	})
	err = w.drain(ctx, cancel, drop)
	if !stop() {
		<-set
		err = errors.Join(err, failed)
	}
	return errors.Join(err, windows.CloseHandle(cancel))
}

func (w *handleWatch) drain(ctx context.Context, cancel windows.Handle, drop func(windows.Handle) error) error {
	const most = 64 // MAXIMUM_WAIT_OBJECTS, the event for cancellation included
	for len(w.handles) > 0 {
		// The event comes last: of several, the first that is signalled counts, so
		// that a process that has ended does, even if the context was done before.
		batch := append(slices.Clone(w.handles[:min(len(w.handles), most-1)]), cancel)
		n, err := windows.WaitForMultipleObjects(batch, false, windows.INFINITE)
		if err != nil {
			return os.NewSyscallError("WaitForMultipleObjects", err)
		}
		i := int(n - windows.WAIT_OBJECT_0)
		if i == len(batch)-1 {
			return done(ctx)
		}
		h := w.handles[i]
		w.handles = slices.Delete(w.handles, i, i+1)
		if err := drop(h); err != nil {
			return os.NewSyscallError("CloseHandle", err)
		}
	}
	return nil
}

// exhausted: the process or the system is out of handles.
func exhausted(err error) bool {
	return errors.Is(err, windows.ERROR_TOO_MANY_OPEN_FILES) || errors.Is(err, windows.ERROR_NO_SYSTEM_RESOURCES) ||
		errors.Is(err, windows.ERROR_NOT_ENOUGH_MEMORY)
}
