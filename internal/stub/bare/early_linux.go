//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"

	"github.com/corral-run/corral/internal/stub/filelimit"
	"github.com/corral-run/corral/internal/threads"
	"github.com/corral-run/corral/internal/trust"
	"github.com/corral-run/corral/internal/wire/code"
)

// An owner that has much memory cannot be forked quickly. It executes its program
// once more. That becomes a keeper before most packages are initialised: this one
// needs only package syscall, and its path begins with a letter before those of
// most others that do (the Go specification, "Program initialization"). So an
// owner's own init functions cost it nothing. There is a runtime, but it has
// nothing to do.

// early is what such a keeper is sent before its descriptors and the block.
type early struct {
	base        uintptr // where the block was in the owner's memory
	front, tail int     // how much of the block the owner fills, and of what is behind it
	files       int     // how many descriptors
	ignored     uint64  // signals that the owner ignores
}

// spareThreads is how many threads it has beside the main one and that of the
// runtime's monitor. Whenever this process has waited for some 10 ms, the monitor
// has another thread take over, which has nothing to do (retake in the runtime's
// proc.go). The process would end if there were none, nor any left in the system.
const spareThreads = 3

func init() {
	if !isLine(0) {
		return
	}
	early, named := isEarly()
	if !early {
		return
	}
	err := trust.Process()
	if err == nil {
		_, err = trust.VerifyOwner(0, named)
	}
	if err != nil {
		text := "corral: refused to be a helper: " + err.Error() + "\n"
		syscall.Write(2, []byte(text))
		syscall.Exit(1)
	}
	threads.Reserve(spareThreads)
	b := receive(0)
	if b == nil {
		syscall.Exit(Unfit)
	}
	// Signals are for the command, or for the owner, which passes them on.
	for _, sig := range [...]syscall.Signal{syscall.SIGHUP, syscall.SIGINT, syscall.SIGQUIT, syscall.SIGTERM} {
		ignore(int(sig))
	}
	growStack() // so that it stays where it is
	b.run()
}

// isEarly reports whether this process is an early keeper, and whether the owner has
// named its program. It asks the kernel for the arguments: package os does not have
// them yet.
func isEarly() (early, named bool) {
	const begin = code.KeeperRole + "\x00" + EarlyArgument + "\x00"
	const rest = code.NamedByOwner + "\x00"
	fd, err := syscall.Open("/proc/self/cmdline", syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return false, false // an owner without /proc starts no such keeper
	}
	defer syscall.Close(fd)
	var text [len(begin) + len(rest) + 1]byte
	n, err := syscall.Read(fd, text[:])
	if err != nil || n < len(begin) || string(text[:len(begin)]) != begin {
		return false, false
	}
	return true, string(text[len(begin):n]) == rest
}

// isLine reports whether a descriptor is a Unix socket.
func isLine(fd int) bool {
	name, err := syscall.Getsockname(fd)
	_, ok := name.(*syscall.SockaddrUnix)
	return err == nil && ok
}

// receive returns the block that the owner sends, or nil.
func receive(line int) *block {
	var head early
	if !readAll(line, unsafe.Slice((*byte)(unsafe.Pointer(&head)), unsafe.Sizeof(head))) {
		return nil
	}
	if head.front != int(unsafe.Offsetof(block{}.children)) || head.tail < 0 || head.tail > 64<<20 || head.files < 0 || head.files > 1<<20 {
		return nil
	}
	files := receiveFiles(line, head.files)
	if len(files) != head.files {
		return nil
	}
	w, _, errno := newBuilder(head.tail)
	if errno != 0 || !readAll(line, unsafe.Slice((*byte)(unsafe.Pointer(w.b)), head.front)) || !readAll(line, bytesAt(w.next, head.tail)) {
		return nil
	}
	b := w.b
	b.move(uintptr(unsafe.Pointer(b)) - head.base)
	for i, fd := range numbersAt(b.files, b.fileCount) {
		if fd >= 0 {
			if len(files) == 0 {
				return nil
			}
			numbersAt(b.files, b.fileCount)[i], files = files[0], files[1:]
		}
	}
	b.line, b.early, b.ignored = line, true, head.ignored
	b.argStart, b.argEnd = 0, 0
	b.setLimit = filelimit.Known
	b.limit = [2]uint64{filelimit.AtStart.Cur, filelimit.AtStart.Max}
	return b
}

// move adds to the addresses what the block has moved by.
func (b *block) move(by uintptr) {
	for _, addr := range [...]*uintptr{&b.path, &b.argv, &b.envp, &b.dir, &b.chroot, &b.files, &b.groups, &b.title} {
		if *addr != 0 {
			*addr += by
		}
	}
	for _, vector := range [...]uintptr{b.argv, b.envp} {
		for p := (*uintptr)(at(vector)); *p != 0; p = (*uintptr)(unsafe.Add(unsafe.Pointer(p), unsafe.Sizeof(*p))) {
			*p += by
		}
	}
}

func readAll(fd int, b []byte) bool {
	for len(b) > 0 {
		n, err := syscall.Read(fd, b)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n <= 0 {
			return false
		}
		b = b[n:]
	}
	return true
}

// receiveFiles returns the descriptors that come over the line, as many as there
// are of n.
func receiveFiles(line, n int) (files []int32) {
	for len(files) < n {
		const most = 253 // SCM_MAX_FD, unix(7)
		oob := make([]byte, syscall.CmsgSpace(4*most))
		var data [1]byte
		_, m, flags, _, err := syscall.Recvmsg(line, data[:], oob, syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || m == 0 || flags&syscall.MSG_CTRUNC != 0 {
			return files
		}
		messages, err := syscall.ParseSocketControlMessage(oob[:m])
		if err != nil {
			return files
		}
		for i := range messages {
			fds, err := syscall.ParseUnixRights(&messages[i])
			if err != nil {
				return files
			}
			for _, fd := range fds {
				files = append(files, int32(fd))
			}
		}
	}
	return files
}

// awaitEarly is the wait of a keeper with a runtime, which is to know that it
// waits.
//
//go:norace
//go:nocheckptr
func (b *block) awaitEarly(events uintptr, most, limit int) (n int, errno syscall.Errno) {
	got, _, errno := syscall.Syscall6(syscall.SYS_EPOLL_PWAIT, uintptr(b.events), events, uintptr(most), uintptr(limit), 0, 0)
	return int(got), errno
}

// pauseEarly is how long to wait at most. The runtime has a handler for SIGCHLD,
// which interrupts epoll_pwait(2), but it may come a moment before the call: see
// keeper.wait in package keeper.
//
//go:norace
//go:nocheckptr
func (b *block) pauseEarly() (limit int) {
	const shortest, longest = 1, 1000
	limit = max(shortest, 2*b.pause)
	switch {
	case b.empty:
		return -1
	case b.killing:
		return min(limit, longest)
	case !b.ended && b.leaderFD >= 0:
		if b.pause >= longest {
			return -1
		}
		return longest
	}
	return limit
}

// Message returns what the owner sends to an early keeper, apart from the leader's
// descriptors, which come between head and body.
func (s *Spec) Message(files int, ignored uint64) (head, body []byte, errno syscall.Errno) {
	w, mem, errno := s.build()
	if errno != 0 {
		return nil, nil, errno
	}
	defer syscall.Munmap(mem)
	start := uintptr(unsafe.Pointer(&mem[0]))
	behind := int(unsafe.Sizeof(block{}))
	e := early{base: start, front: int(unsafe.Offsetof(block{}.children)), tail: int(w.next-start) - behind, files: files, ignored: ignored}
	head = append(head, unsafe.Slice((*byte)(unsafe.Pointer(&e)), unsafe.Sizeof(e))...)
	body = append(append(body, mem[:e.front]...), mem[behind:behind+e.tail]...)
	return head, body, 0
}
