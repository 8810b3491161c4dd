//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"

	"github.com/corral-run/corral/internal/wire/code"
)

// run is the keeper. It never returns.
//
//go:norace
//go:nocheckptr
func (b *block) run() {
	if b.prepare() != 0 {
		exit(Unfit)
	}
	if errno := b.startLeader(); errno != 0 {
		b.begin(code.Failed)
		b.put(0) // no text for the operation
		b.put(0) // nor for the path
		b.put(int64(errno))
		b.put(0)
		b.send()
		exit(1)
	}
	b.begin(code.Started)
	b.put(int64(b.leader))
	b.put(0) // whoever reads this asks for the start time: the leader stays unreaped
	b.send()
	b.settle()
	if b.early {
		b.watchLeader()
	}
	for b.tend(); !b.over(); b.tend() {
		b.wait()
		if b.stepDue != 0 && now() >= b.stepDue {
			b.takeSteps()
		}
	}
	b.end()
}

// prepare makes this process a keeper, and opens what a stop takes.
//
//go:norace
//go:nocheckptr
func (b *block) prepare() (errno syscall.Errno) {
	if !b.leaveSession {
		call(syscall.SYS_SETPGID, 0, 0, 0, 0, 0) // a kill of the owner's group must not reach this process
	}
	if !b.early {
		setDefault(int(syscall.SIGCHLD)) // or children would be reaped by the kernel
	}
	if _, errno = call(syscall.SYS_PRCTL, prSetChildSubreaper, 1, 0, 0, 0); errno != 0 {
		return errno
	}
	if errno = b.becomeHelperProcess(); errno != 0 {
		return errno
	}
	// A member may cover /proc.
	b.procDir = open("/proc\x00", oPath|syscall.O_DIRECTORY)
	b.children = open("/proc/thread-self/children\x00", syscall.O_RDONLY)
	if b.procDir < 0 || b.children < 0 {
		return syscall.ENOENT
	}
	b.chld, b.leaderFD = -1, -1
	if b.early {
		return b.openEvents()
	}
	given.mask = 1 << (syscall.SIGCHLD - 1)
	const none = ^uintptr(0)
	fd, errno := call(syscall.SYS_SIGNALFD4, none, address(unsafe.Pointer(&given.mask)), sigSize, syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return errno
	}
	b.chld = int(fd)
	return b.openEvents()
}

// becomeHelperProcess does what every helper does first: see become in package
// helper. The owner may be gone already.
//
//go:norace
//go:nocheckptr
func (b *block) becomeHelperProcess() syscall.Errno {
	if !b.early {
		dropHeap()
	}
	call(syscall.SYS_PRCTL, syscall.PR_SET_DUMPABLE, 0, 0, 0, 0)
	call(syscall.SYS_PRCTL, syscall.PR_SET_PDEATHSIG, uintptr(syscall.SIGCONT), 0, 0, 0)
	b.setTitle()
	if parent, _ := call(syscall.SYS_GETPPID, 0, 0, 0, 0, 0); int(parent) != b.owner {
		return syscall.ESRCH
	}
	return 0
}

// openEvents opens the descriptor that tells of all that can happen. It is not
// poll(2), which fails if somebody lowers the limit of descriptors.
//
//go:norace
//go:nocheckptr
func (b *block) openEvents() syscall.Errno {
	fd, errno := call(sysPidfdOpen, uintptr(b.owner), 0, 0, 0, 0)
	if errno != 0 {
		return errno
	}
	b.ownerFD = int(fd)
	if parent, _ := call(syscall.SYS_GETPPID, 0, 0, 0, 0, 0); int(parent) != b.owner {
		return syscall.ESRCH // and the PID may be another process's
	}
	if fd, errno = call(syscall.SYS_EPOLL_CREATE1, syscall.EPOLL_CLOEXEC, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	b.events = int(fd)
	for _, fd := range [...]int{b.chld, b.line, b.ownerFD} {
		if fd < 0 {
			continue
		}
		if errno = b.watch(fd); errno != 0 {
			return errno
		}
	}
	return 0
}

// watchLeader has the leader's end told by a pidfd.
//
//go:norace
//go:nocheckptr
func (b *block) watchLeader() {
	if fd, errno := call(sysPidfdOpen, uintptr(b.leader), 0, 0, 0, 0); errno == 0 {
		if b.leaderFD = int(fd); b.watch(b.leaderFD) != 0 {
			closeFD(b.leaderFD)
			b.leaderFD = -1
		}
	}
}

// settle leaves the owner's session, directory and descriptors, and takes what the
// leader was not to inherit.
//
//go:norace
//go:nocheckptr
func (b *block) settle() {
	b.takeShortTurns()
	if b.leaveSession {
		call(syscall.SYS_SETSID, 0, 0, 0, 0, 0)
	}
	b.changeDir()
	b.closeOthers()
}

//go:norace
//go:nocheckptr
func (b *block) changeDir() {
	root := "/\x00"
	call(syscall.SYS_CHDIR, address(unsafe.Pointer(unsafeData(root))), 0, 0, 0, 0)
}

// setTitle makes the role the name of the process and its arguments: what a list of
// processes shows.
//
//go:norace
//go:nocheckptr
func (b *block) setTitle() {
	call(syscall.SYS_PRCTL, syscall.PR_SET_NAME, b.title, 0, 0, 0)
	room := int(b.argEnd - b.argStart)
	if b.argStart == 0 || room < 2 {
		return
	}
	args := bytesAt(b.argStart, room)
	for i := range args {
		args[i] = 0
	}
	for i, c := range bytesAt(b.title, b.titleLen) {
		if i < room {
			args[i] = c
		}
	}
	// With another last byte than zero, all up to the first zero is one argument
	// (get_mm_cmdline in the kernel's fs/proc/base.c).
	args[room-1] = '.'
	if room <= b.titleLen+1 {
		args[room-1] = 0
	}
}

// closeOthers closes all descriptors but the stub's own.
//
//go:norace
//go:nocheckptr
func (b *block) closeOthers() {
	own := [...]int{b.line, b.children, b.exe, b.events, b.chld, b.ownerFD, b.procDir, b.home, b.parent, b.populated, b.killer}
	for i := 1; i < len(own); i++ {
		for j := i; j > 0 && own[j] < own[j-1]; j-- {
			own[j], own[j-1] = own[j-1], own[j]
		}
	}
	first := 0
	for _, fd := range own {
		closeRange(first, fd-1)
		first = max(first, fd+1)
	}
	const last = 1<<31 - 1
	closeRange(first, last)
}

//go:norace
//go:nocheckptr
func (b *block) watch(fd int) syscall.Errno {
	given.event.Events, given.event.Fd = syscall.EPOLLIN, int32(fd)
	_, errno := call(syscall.SYS_EPOLL_CTL, uintptr(b.events), syscall.EPOLL_CTL_ADD, uintptr(fd), address(unsafe.Pointer(&given.event)), 0)
	return errno
}

// over reports whether the keeper may end.
//
//go:norace
//go:nocheckptr
func (b *block) over() bool {
	gaveUp := b.deadline != 0 && now() >= b.deadline
	switch {
	case b.finishing:
		return b.empty || b.keep || gaveUp
	case b.stopping:
		return b.empty || gaveUp
	case b.ownerGone:
		return b.mayLeave()
	}
	return false
}

// mayLeave reports whether a keeper without an owner may leave the members alone.
//
//go:norace
//go:nocheckptr
func (b *block) mayLeave() bool {
	return b.empty || b.detach || b.ended && (b.keep || b.letGo)
}

// wait waits for something to happen, and does what the owner says.
//
// Each end of a child is told by SIGCHLD, which is blocked and read from a
// descriptor, so none is missed. Only somebody who is to be killed may become a
// child without an event: when a process ends that may not be killed. For that
// there are looks after pauses that double.
//
//go:norace
//go:nocheckptr
func (b *block) wait() {
	const longest = 1000
	limit := -1
	switch {
	case b.more:
		b.hurry()
		limit = 0
	case b.early:
		limit = b.pauseEarly()
	case b.killing && !b.empty:
		limit = min(max(1, 2*b.pause), longest)
	}
	for _, due := range [...]int64{b.deadline, b.stepDue} {
		if due == 0 {
			continue
		}
		const most = 1 << 30 // the kernel takes an int
		if left := int(min(max(0, due-now()), most)); limit < 0 || left < limit {
			limit = left
		}
	}
	n, errno := b.await(limit)
	if errno != 0 {
		return
	}
	const long = 16
	b.stalled = n == 0 && b.killing && b.pause >= long
	for i := range n {
		switch fd := int(b.happened[i].Fd); {
		case fd == b.leaderFD:
			b.drop(&b.leaderFD)
		case fd == b.chld:
			call(syscall.SYS_READ, uintptr(fd), address(unsafe.Pointer(&b.text)), uintptr(len(b.text)), 0, 0)
		case fd == b.line:
			b.listen()
		case fd == b.ownerFD:
			b.hungUp()
		}
	}
}

// await waits for at most limit milliseconds, or for ever if that is negative.
//
//go:norace
//go:nocheckptr
func (b *block) await(limit int) (n int, errno syscall.Errno) {
	events, most := address(unsafe.Pointer(&b.happened)), len(b.happened)
	if b.early {
		n, errno = b.awaitEarly(events, most, limit)
	} else {
		var got uintptr
		got, _, errno = syscall.RawSyscall6(syscall.SYS_EPOLL_PWAIT, uintptr(b.events), events, uintptr(most), uintptr(limit), 0, 0)
		n = int(got)
	}
	switch {
	case errno != 0 || n > 0:
		b.pause = 0
	case limit > 0:
		b.pause = limit
	}
	return n, errno
}

// drop closes a descriptor that is being watched.
//
//go:norace
//go:nocheckptr
func (b *block) drop(fd *int) {
	if *fd >= 0 {
		call(syscall.SYS_EPOLL_CTL, uintptr(b.events), syscall.EPOLL_CTL_DEL, uintptr(*fd), 0, 0)
		closeFD(*fd)
		*fd = -1
	}
}

// listen reads one request and obeys it.
//
//go:norace
//go:nocheckptr
func (b *block) listen() {
	var request byte
	n, errno := call(syscall.SYS_RECVFROM, uintptr(b.line), address(unsafe.Pointer(&request)), 1, syscall.MSG_DONTWAIT, 0)
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0 || n != 1:
		b.hungUp()
	case !b.isGuard:
		b.obey(request)
	}
}

// hungUp takes in that the owner is gone.
//
//go:norace
//go:nocheckptr
func (b *block) hungUp() {
	if b.isGuard {
		b.drop(&b.line)
		return
	}
	b.orphaned()
}

// obey does what the owner asks for.
//
//go:norace
//go:nocheckptr
func (b *block) obey(request byte) {
	switch {
	case request == code.Kill:
		b.killing = true
	case request == code.Reap:
		b.reapLeader()
	case request == code.LetGo:
		b.letGo = true
	case request == code.Ping:
		b.begin(code.Pong)
		b.send()
	case request == code.Finish:
		b.finish()
	case request > code.SignalBase:
		b.signalAll(int(request-code.SignalBase), 0)
	}
}

// finish is Finish of package wire.
//
//go:norace
//go:nocheckptr
func (b *block) finish() {
	if b.finishing {
		return
	}
	b.finishing = true
	if !b.empty && !b.keep {
		const patience = 1000
		b.killing, b.deadline = true, now()+patience
	}
}

// orphaned takes in that the owner is gone, and begins to stop the run, unless it
// is to go on.
//
//go:norace
//go:nocheckptr
func (b *block) orphaned() {
	if b.ownerGone {
		return
	}
	for { // of the requests that it has left unread only LetGo still counts
		n, errno := call(syscall.SYS_RECVFROM, uintptr(b.line), address(unsafe.Pointer(&b.text)), uintptr(len(b.text)), syscall.MSG_DONTWAIT, 0)
		if errno != 0 || n == 0 {
			break
		}
		for _, said := range b.text[:n] {
			b.letGo = b.letGo || said == code.LetGo
		}
	}
	b.drop(&b.line)
	b.drop(&b.ownerFD)
	b.ownerGone = true
	b.findOut()
	if !b.letGo && !b.mayLeave() {
		b.stopping = true
		b.takeSteps()
	}
}

// takeSteps takes the step of the plan that is due. The kill follows the last one.
//
//go:norace
//go:nocheckptr
func (b *block) takeSteps() {
	for !b.killing && b.nextStep < b.planLen {
		due := b.plan[b.nextStep]
		b.nextStep++
		if due.Signal == int(syscall.SIGKILL) {
			break
		}
		b.denied = false
		if b.signalAll(due.Signal, int(syscall.SIGCONT)) || !b.denied {
			// That nobody was there to be signalled proves nothing: a member that
			// forks and ends all the time may evade the signal.
			b.stepDue = now() + due.Wait
			return
		}
	}
	const patience = 5000 // stop.KillPatience
	b.stepDue, b.killing, b.deadline = 0, true, now()+patience
}

// end ends the keeper as the leader has ended.
//
//go:norace
//go:nocheckptr
func (b *block) end() {
	if !b.ended {
		exit(1)
	}
	b.reapLeader()
	status := b.status
	if sig := status & 0x7f; sig != 0 {
		given.limit = [2]uint64{}
		call(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_CORE, address(unsafe.Pointer(&given.limit)), 0, 0) // no second core
		setDefault(sig)
		setMask(0)
		self, _ := call(syscall.SYS_GETPID, 0, 0, 0, 0, 0)
		call(syscall.SYS_KILL, self, uintptr(sig), 0, 0, 0)
		exit(128 + sig)
	}
	exit(status >> 8 & 0xff)
}
