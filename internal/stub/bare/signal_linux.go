//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"
)

// level is one process on the way down to those who are being signalled, and its
// children.
type level struct {
	pid, fd    int // the PID, and a pidfd, below 0 for this process's own children
	next, last int // the children that are still to be seen, in b.pids
}

// signalAll sends the signals, each unless it is 0, to every member once, and
// reports whether anybody has got one. It looks again until nobody new turns up.
//
//go:norace
//go:nocheckptr
func (b *block) signalAll(first, second int) (sent bool) {
	b.liftFileLimit()
	b.signalled.reset()
	for range passesAtATime {
		if !b.signalPass(first, second) {
			break
		}
		sent = true
	}
	return sent
}

// signalPass walks down the tree once, and reports whether anybody new has got the
// signals. The children of a process are listed when it has got them.
//
//go:norace
//go:nocheckptr
func (b *block) signalPass(first, second int) (fresh bool) {
	if !b.list() {
		return false
	}
	b.levels[0] = level{fd: -1, last: b.listed}
	for depth := 0; depth >= 0; {
		here := &b.levels[depth]
		if here.next == here.last {
			closeFD(here.fd)
			if here.fd = -1; depth > 0 {
				b.listed = b.levels[depth-1].last
			}
			depth--
			continue
		}
		pid := int(b.pids[here.next])
		here.next++
		if b.isEndedLeader(pid) || pid <= 1 {
			continue
		}
		fd := -1
		if depth > 0 {
			if fd = b.openChild(here, pid); fd < 0 {
				continue
			}
		}
		if !b.signalled.has(pid) && b.signalOne(pid, fd, first, second) {
			b.signalled.add(pid)
			fresh = true
		}
		b.listed = here.last
		if depth+1 < maxDepth && b.listChildren(pid) {
			depth++
			b.levels[depth] = level{pid: pid, fd: fd, next: here.last, last: b.listed}
		} else {
			closeFD(fd)
		}
	}
	return fresh
}

// openChild returns a pidfd of a child of the process at the given level, below 0
// if the PID is not such a child's any more.
//
//go:norace
//go:nocheckptr
func (b *block) openChild(parent *level, pid int) int {
	got, errno := call(sysPidfdOpen, uintptr(pid), 0, 0, 0, 0)
	if errno != 0 {
		return -1
	}
	fd := int(got)
	// The process behind the descriptor was the parent's child, if the PID is that
	// of a child now and the parent is alive: this process's own children keep
	// their PIDs, and others do as long as they live.
	if ppid, _ := b.stat(pid); ppid != parent.pid || parent.fd >= 0 && send(parent.pid, parent.fd, 0) != 0 {
		closeFD(fd)
		return -1
	}
	return fd
}

// signalOne sends the signals to a process, and reports whether it has got the
// first.
//
//go:norace
//go:nocheckptr
func (b *block) signalOne(pid, fd, first, second int) bool {
	if errno := send(pid, fd, first); errno != 0 {
		b.denied = b.denied || errno == syscall.EPERM
		return false
	}
	if second != 0 {
		send(pid, fd, second)
	}
	return true
}

// send sends a signal by the pidfd, unless that is below 0: then the PID is that of
// a child that has not been reaped.
//
//go:norace
//go:nocheckptr
func send(pid, fd, sig int) syscall.Errno {
	if fd < 0 {
		_, errno := call(syscall.SYS_KILL, uintptr(pid), uintptr(sig), 0, 0, 0)
		return errno
	}
	_, errno := call(sysPidfdSendSignal, uintptr(fd), uintptr(sig), 0, 0, 0)
	return errno
}

// listChildren appends the children of all threads of a process to b.pids, and
// reports whether there are any.
//
//go:norace
//go:nocheckptr
func (b *block) listChildren(pid int) bool {
	before := b.listed
	_, threads := b.stat(pid)
	if threads <= 1 {
		b.readChildren(pid, pid)
		return b.listed > before
	}
	tasks := b.openProc(pid, "/task", 0, "", syscall.O_RDONLY|syscall.O_DIRECTORY)
	for {
		n, errno := call(syscall.SYS_GETDENTS64, uintptr(tasks), address(unsafe.Pointer(&b.entries)), uintptr(len(b.entries)), 0, 0)
		if errno != 0 || n == 0 {
			break
		}
		for name, _, rest := entry(b.entries[:n]); name != nil; name, _, rest = entry(rest) {
			if thread := number(name); thread > 0 {
				b.readChildren(pid, thread)
			}
		}
	}
	closeFD(tasks)
	return b.listed > before
}

// entry returns the name and the type of the first entry that getdents64(2) has
// listed, and the others. The name is nil at the end. A zero byte follows it.
//
//go:norace
//go:nocheckptr
func entry(list []byte) (name []byte, kind byte, rest []byte) {
	// A struct linux_dirent64: 8 bytes each of inode and offset, 2 of the length of
	// all, 1 of the type, then the name.
	const lengthAt, typeAt, nameAt = 16, 18, 19
	if len(list) <= nameAt {
		return nil, 0, nil
	}
	length := int(list[lengthAt]) | int(list[lengthAt+1])<<8
	if length <= nameAt || length > len(list) {
		return nil, 0, nil
	}
	name = list[nameAt:length]
	for i, c := range name {
		if c == 0 {
			name = name[:i]
			break
		}
	}
	if len(name) == 0 {
		return nil, 0, nil
	}
	return name, list[typeAt], list[length:]
}

//go:norace
//go:nocheckptr
func (b *block) readChildren(pid, thread int) {
	if file := b.openProc(pid, "/task/", thread, "/children", syscall.O_RDONLY); file >= 0 {
		b.readPIDs(file)
		closeFD(file)
	}
}

// stat returns a process's parent and how many threads it has, zeros if there is no
// such process.
//
//go:norace
//go:nocheckptr
func (b *block) stat(pid int) (ppid, threads int) {
	file := b.openProc(pid, "/stat", 0, "", syscall.O_RDONLY)
	if file < 0 {
		return 0, 0
	}
	n, errno := call(syscall.SYS_PREAD64, uintptr(file), address(unsafe.Pointer(&b.text)), uintptr(len(b.text)), 0, 0)
	closeFD(file)
	if errno != 0 {
		return 0, 0
	}
	text := b.text[:n]
	end := len(text) - 1
	for end >= 0 && text[end] != ')' { // a name may have anything in it
		end--
	}
	// proc_pid_stat(5) counts the state as field 3.
	const parentField, threadsField = 4, 20
	field := 2
	for i := end + 1; i >= 1 && i < len(text); i++ {
		if text[i] != ' ' {
			continue
		}
		switch field++; field {
		case parentField:
			ppid = number(text[i+1:])
		case threadsField:
			return ppid, number(text[i+1:])
		}
	}
	return ppid, 0
}

// number returns the number that the text begins with.
//
//go:norace
//go:nocheckptr
func number(text []byte) (n int) {
	for _, c := range text {
		if c < '0' || c > '9' {
			break
		}
		n = 10*n + int(c-'0')
	}
	return n
}

// openProc opens /proc/PID, the first text, and if there is a second number, that
// and the last text.
//
//go:norace
//go:nocheckptr
func (b *block) openProc(pid int, first string, second int, last string, flags int) int {
	path := given.path[:]
	n := writeText(path, writeNumber(path, 0, pid), first)
	if second != 0 {
		n = writeText(path, writeNumber(path, n, second), last)
	}
	path[n] = 0
	return openBelowAt(b.procDir, address(unsafe.Pointer(&given.path)), flags)
}

// writeText writes a text into the path and returns where it ends. (Under the race
// detector, copy would call it.)
//
//go:norace
//go:nocheckptr
func writeText(path []byte, from int, text string) (end int) {
	for i := range len(text) {
		path[from+i] = text[i]
	}
	return from + len(text)
}

// writeNumber writes a number into the path and returns where it ends.
//
//go:norace
//go:nocheckptr
func writeNumber(path []byte, from, n int) (end int) {
	end = from + 1
	for m := n; m >= 10; m /= 10 {
		end++
	}
	for i := end - 1; i >= from; i-- {
		path[i] = byte('0' + n%10)
		n /= 10
	}
	return end
}

// liftFileLimit raises a limit of descriptors that somebody may have set for this
// process: see LiftFileLimit in package helper.
//
//go:norace
//go:nocheckptr
func (b *block) liftFileLimit() {
	const enough = 2 * maxDepth // a pidfd for each level on the way down
	var limit [2]uint64
	if _, errno := call(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_NOFILE, 0, address(unsafe.Pointer(&limit)), 0); errno != 0 || limit[0] >= enough {
		return
	}
	given.limit = [2]uint64{enough, max(enough, limit[1])}
	if _, errno := call(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_NOFILE, address(unsafe.Pointer(&given.limit)), 0, 0); errno != 0 {
		given.limit = [2]uint64{limit[1], limit[1]}
		call(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_NOFILE, address(unsafe.Pointer(&given.limit)), 0, 0)
	}
}
