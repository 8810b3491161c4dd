//go:build linux || darwin || freebsd

package helper

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/disposition"
	"github.com/corral-run/corral/internal/threads"
	"github.com/corral-run/corral/internal/wakepoll"
	"github.com/corral-run/corral/internal/wire/code"
)

// become makes this process a helper in the role, or ends it.
//
// A helper is known by its zeroth argument, and by a Unix socket as standard input.
// The socket is its line to the owner: end-of-file says that the owner is gone,
// however it went. Anybody can start the program that way, so a role is granted,
// not claimed. A process that may have rights beyond its parent's is never a
// helper, and the owner has to prove itself (see verifyOwner).
func become(role string, main func(Owner)) {
	owner, err := Owner{}, distrusted()
	if err == nil {
		owner, err = verifyOwner(0, slices.Contains(os.Args[1:], NamedByOwner))
	}
	if err != nil {
		// Whoever has asked for a helper does not get the program's main either.
		os.Stderr.WriteString("corral: refused to be a helper: " + err.Error() + "\n")
		syscall.Exit(1)
	}
	protect()
	// init functions run on the main thread, and this one never returns; so the
	// parent-death signal, which belongs to the forking thread, is safe without
	// runtime.LockOSThread, which would cost another thread.
	//
	// Signals are for the command, or for the owner, which passes them on. A
	// program started from here gets the defaults back.
	for _, sig := range []syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM} {
		disposition.Ignore(sig)
	}
	setName(role)
	main(owner)
	syscall.Exit(0) // os.Exit would do more: the race detector waits for a second
}

// asked reports whether standard input is a line to an owner: a Unix socket.
func asked() bool {
	name, err := unix.Getsockname(0)
	_, ok := name.(*unix.SockaddrUnix)
	return err == nil && ok
}

// NamedByOwner is the last argument of a helper that is not the owner's program.
const NamedByOwner = code.NamedByOwner

// Program returns the program that helpers are started from, or why there is none.
// It is helperPath if that is not empty, else the running program.
func Program(helperPath string) (string, error) {
	if err := mixedIDs(); err != nil {
		return "", err
	}
	if helperPath != "" {
		if _, err := os.Stat(helperPath); err != nil {
			return "", &PathError{err}
		}
		return helperPath, nil
	}
	return ownProgram()
}

var ownProgram = sync.OnceValues(func() (string, error) {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-buildmode" && slices.Contains([]string{"c-shared", "c-archive", "plugin"}, s.Value) {
				return "", fmt.Errorf("this code is a library in a program that may not be Go's (-buildmode=%s): set corral.HelperPath", s.Value)
			}
		}
	}
	// This is the running program even if its file has been replaced or removed.
	path := "/proc/self/exe"
	info, err := os.Stat(path)
	if err != nil {
		if path, err = os.Executable(); err == nil {
			info, err = os.Stat(path)
		}
	}
	if err == nil && info.Mode()&(os.ModeSetuid|os.ModeSetgid) != 0 {
		// A helper would have rights that this process may have given up, and would
		// pass them on to the command.
		return "", errors.New("the program is set-user-ID or set-group-ID: set corral.HelperPath")
	}
	if err == nil {
		err = distrusted()
	}
	return path, err
})

// Start starts a helper and returns it with the owner's end of the line to it,
// which is non-blocking.
func Start(helperPath, role string, args []string, attr *syscall.SysProcAttr, extra ...*os.File) (*os.Process, *os.File, error) {
	path, err := Program(helperPath)
	if err != nil {
		return nil, nil, err
	}
	ours, theirs, err := Line(role)
	if err != nil {
		return nil, nil, err
	}
	defer theirs.Close()
	null, err := openNull()
	if err != nil {
		ours.Close()
		return nil, nil, err
	}
	defer null.Close()
	argv := append([]string{role}, args...)
	if helperPath != "" {
		argv = append(argv, NamedByOwner)
	}
	p, err := os.StartProcess(path, argv, &os.ProcAttr{
		Env:   Environ(),
		Files: append([]*os.File{theirs, null, null}, extra...),
		Sys:   attr,
	})
	if err != nil {
		ours.Close()
		return nil, nil, fmt.Errorf("cannot start the helper: %w", err)
	}
	return p, ours, nil
}

// Line returns the two ends of a line: the owner's, which is non-blocking, and the
// helper's.
func Line(role string) (ours, theirs *os.File, err error) {
	fds, err := socketpair()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	unix.SetNonblock(fds[0], true)
	return os.NewFile(uintptr(fds[0]), role), os.NewFile(uintptr(fds[1]), role), nil
}

// Readable waits until there is something to read from a helper, but not for longer
// than limit. It reports false only if there is nothing. It blocks a thread: to be
// woken by the runtime's poller takes longer.
func Readable(line *os.File, limit time.Duration) (yes bool) {
	conn, err := line.SyscallConn()
	if err != nil {
		return true
	}
	conn.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := wakepoll.Poll(context.Background(), fds, int(limit.Milliseconds()))
		yes = n > 0 || err != nil
	})
	return yes
}

// openNull opens a file for standard streams that a helper does not use. Without
// the null device it is a pipe that nobody reads: Go's runtime does not start with
// a closed standard stream.
func openNull() (*os.File, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err == nil || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return null, err
	}
	r, w, err := os.Pipe()
	if err == nil {
		r.Close()
	}
	return w, err
}

// PrepareRuntime has Go's runtime get now what a stop will need: threads, and the
// descriptors of its poller, which it makes for the first timer. A stop may come
// when the system has none left, and then the runtime would end the program.
func PrepareRuntime() {
	time.AfterFunc(time.Hour, func() {}).Stop()
	// Beside the main thread, to which this goroutine is locked, there is a thread
	// for each of Go's processors, one may wait for timers, and one takes over when
	// another blocks.
	threads.Reserve(spareThreads)
	const processors = 2
	runtime.GOMAXPROCS(processors)
}

// spareThreads is how many threads a helper has beside the main one, and the
// GOMAXPROCS that it starts with.
const spareThreads = 4

// Environ is the owner's environment, which the dynamic linker may need, without
// variables that change how Go's runtime behaves.
func Environ() []string {
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(RuntimeVariables, name)
	})
	// The garbage collector starts threads of its own, at a moment of its choosing:
	// see PrepareRuntime. A helper allocates little.
	return append(env, "GOMAXPROCS="+strconv.Itoa(spareThreads), "GOGC=off", "GOMEMLIMIT=128MiB")
}

// SendFiles sends descriptors over a line, for ReceiveFiles.
func SendFiles(line *os.File, files []*os.File) error {
	conn, err := line.SyscallConn()
	if err != nil {
		return err
	}
	for batch := range slices.Chunk(files, filesPerMessage) {
		var fds []int
		for _, f := range batch {
			// As os/exec does, this makes the file blocking: the command shares
			// that property, and expects it.
			fds = append(fds, int(f.Fd()))
		}
		var serr error
		err := conn.Write(func(fd uintptr) bool {
			serr = unix.Sendmsg(int(fd), []byte{0}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL)
			return serr != unix.EAGAIN && serr != unix.EINTR
		})
		runtime.KeepAlive(batch)
		if err := errors.Join(err, os.NewSyscallError("sendmsg", serr)); err != nil {
			return err
		}
	}
	return nil
}

// filesPerMessage is below SCM_MAX_FD of Linux, 253 (unix(7)). On FreeBSD and
// macOS a message's pointers to files have to fit into an mbuf cluster, 2048
// bytes (unp_internalize in their uipc_usrreq.c).
const filesPerMessage = 200

// ReceiveFiles receives n descriptors and marks them close-on-exec.
func ReceiveFiles(line int, n int) ([]*os.File, error) {
	var files []*os.File
	for len(files) < n {
		oob := make([]byte, unix.CmsgSpace(4*filesPerMessage))
		_, m, flags, _, err := unix.Recvmsg(line, make([]byte, 1), oob, receiveClosedOnExec)
		switch {
		case err == unix.EINTR:
			continue
		case err != nil:
			return files, os.NewSyscallError("recvmsg", err)
		case flags&unix.MSG_CTRUNC != 0:
			// The kernel had no number left for them.
			return files, os.NewSyscallError("recvmsg", unix.EMFILE)
		case m == 0:
			return files, io.ErrUnexpectedEOF
		}
		messages, err := unix.ParseSocketControlMessage(oob[:m])
		if err != nil {
			return files, err
		}
		for _, message := range messages {
			fds, err := unix.ParseUnixRights(&message)
			if err != nil {
				return files, err
			}
			for _, fd := range fds {
				if receiveClosedOnExec == 0 {
					unix.CloseOnExec(fd)
				}
				files = append(files, os.NewFile(uintptr(fd), "inherited"))
			}
		}
	}
	return files, nil
}

// CloseInherited closes the descriptors that the helper has inherited without
// knowing of them: somebody may wait for their end-of-file. Whoever should have
// them has got them before. The runtime's own are close-on-exec, and stay.
func CloseInherited() {
	for fd := range Inherited() {
		unix.Close(fd)
	}
}

// Inherited yields the descriptors that are not close-on-exec, apart from the
// standard streams.
func Inherited() iter.Seq[int] {
	return func(yield func(int) bool) {
		for fd := range mayBeOpen() {
			if fd <= 2 {
				continue
			}
			flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err == nil && flags&unix.FD_CLOEXEC == 0 && !yield(fd) {
				return
			}
		}
	}
}

// IgnoredSignals lists the signals that this process ignores now.
func IgnoredSignals() []syscall.Signal {
	var ignored []syscall.Signal
	for sig := syscall.Signal(1); sig <= 64; sig++ {
		if sig != syscall.SIGCHLD && disposition.Ignored(sig) {
			ignored = append(ignored, sig)
		}
	}
	return ignored
}
