//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"

	"github.com/corral-run/corral/internal/stub/filelimit"
)

// Start forks a stub and returns its PID.
func Start(s *Spec) (pid int, errno syscall.Errno) {
	w, mem, errno := s.build()
	if errno != 0 {
		return 0, errno
	}
	defer syscall.Munmap(mem)
	return fork(w.b)
}

// build puts it into a block.
func (s *Spec) build() (*builder, []byte, syscall.Errno) {
	room := len(s.Path) + len(s.Dir) + len(s.Attr.Chroot) + 4*len(s.Files) + len(s.Title) + 1<<10
	for _, strings := range [][]string{s.Args, s.Env} {
		room += size(strings)
	}
	if s.Attr.Credential != nil {
		room += 4 * len(s.Attr.Credential.Groups)
	}
	w, mem, errno := newBuilder(room)
	if errno != 0 {
		return nil, nil, errno
	}
	w.fill(s)
	w.fillAttr(s.Attr)
	w.fillLimit()
	return w, mem, 0
}

// StartGuard forks a guard and returns its PID.
func StartGuard(s *GuardSpec) (pid int, errno syscall.Errno) {
	w, mem, errno := newBuilder(len(s.Base) + len(s.Helper) + len(s.Title) + size(s.HelperEnv) + size(s.HelperArgs) + 1<<10)
	if errno != 0 {
		return 0, errno
	}
	defer syscall.Munmap(mem)
	b := w.b
	b.children, b.procDir = -1, -1
	b.isGuard, b.home, b.homeName = true, s.Home, w.text(s.Base)
	w.fillIdentity(&s.Identity)
	b.helperPath, b.helperArgv, b.helperEnvp = w.text(s.Helper), w.vector(w.texts(s.HelperArgs)...), w.vector(w.texts(s.HelperEnv)...)
	b.tryBirth = s.TryBirth
	return fork(b)
}

// fillIdentity puts in what every stub has.
func (w *builder) fillIdentity(i *Identity) {
	b := w.b
	b.title, b.titleLen = w.text(i.Title), len(i.Title)
	b.line, b.owner = i.Line, i.Owner
	b.argStart, b.argEnd = i.Arguments[0], i.Arguments[1]
}

// fill puts in all but the attributes.
func (w *builder) fill(s *Spec) {
	b := w.b
	b.path = w.text(s.Path)
	b.argv, b.envp = w.vector(w.texts(s.Args)...), w.vector(w.texts(s.Env)...)
	if s.Dir != "" {
		b.dir = w.text(s.Dir)
	}
	w.align()
	b.files, b.fileCount = w.next, len(s.Files)
	for i, fd := range s.Files {
		numbersAt(b.files, len(s.Files))[i] = int32(fd)
	}
	w.next += 4 * uintptr(len(s.Files))
	w.fillIdentity(&s.Identity)
	b.exe, b.home, b.parent, b.populated, b.killer = -1, -1, -1, -1, -1
	b.startGroup = s.StartGroup
	b.leaveSession, b.keep, b.detach = s.LeaveSession, s.Keep, s.Detach
	b.planLen = len(s.Plan)
	copy(b.plan[:], s.Plan)
}

func (w *builder) fillAttr(a *syscall.SysProcAttr) {
	b := w.b
	if a.Chroot != "" {
		b.chroot = w.text(a.Chroot)
	}
	b.setsid, b.setpgid, b.noctty, b.setctty = a.Setsid, a.Setpgid, a.Noctty, a.Setctty
	b.pgid, b.ctty, b.pdeathsig = a.Pgid, a.Ctty, int(a.Pdeathsig)
	if cred := a.Credential; cred != nil {
		b.setCredential, b.setGroups = true, !cred.NoSetGroups
		b.uid, b.gid = cred.Uid, cred.Gid
		w.align()
		b.groups, b.groupCount = w.next, len(cred.Groups)
		copy(unsafe.Slice((*uint32)(at(w.next)), len(cred.Groups)), cred.Groups)
		w.next += 4 * uintptr(len(cred.Groups))
	}
}

// fillLimit has the leader get the limit of open files back that package syscall
// has raised. It raises it to one below the hard limit, by which it knows whether
// somebody has set another one since.
func (w *builder) fillLimit() {
	before := filelimit.AtStart
	var now syscall.Rlimit
	if !filelimit.Known || before.Cur >= before.Max-1 || syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now) != nil {
		return
	}
	if now.Cur == before.Max-1 && now.Max == before.Max {
		w.b.limit, w.b.setLimit = [2]uint64{before.Cur, before.Max}, true
	}
}

// builder puts what the owner has to say behind the block.
type builder struct {
	b    *block
	next uintptr
}

// newBuilder maps a block with room for room bytes behind it.
func newBuilder(room int) (*builder, []byte, syscall.Errno) {
	mem, err := syscall.Mmap(-1, 0, int(unsafe.Sizeof(block{}))+room, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE|syscall.MAP_ANONYMOUS)
	if err != nil {
		errno, _ := err.(syscall.Errno)
		return nil, nil, errno
	}
	b := (*block)(unsafe.Pointer(&mem[0]))
	return &builder{b, uintptr(unsafe.Pointer(&mem[0])) + unsafe.Sizeof(block{})}, mem, 0
}

// text returns the address of a copy of s that ends with a zero byte.
func (b *builder) text(s string) uintptr {
	addr := b.next
	copy(bytesAt(addr, len(s)), s)
	b.next += uintptr(len(s)) + 1
	return addr
}

// vector returns the address of an array of addresses that ends with a zero.
func (b *builder) vector(addrs ...uintptr) uintptr {
	b.align()
	addr := b.next
	copy(unsafe.Slice((*uintptr)(at(addr)), len(addrs)), addrs)
	b.next += uintptr(len(addrs)+1) * unsafe.Sizeof(addr)
	return addr
}

// texts returns the addresses of copies of the strings.
func (b *builder) texts(strings []string) []uintptr {
	addrs := make([]uintptr, 0, len(strings)+2)
	for _, s := range strings {
		addrs = append(addrs, b.text(s))
	}
	return addrs
}

func (b *builder) align() { b.next = (b.next + 7) &^ 7 }

// size is at most how much of the block the strings take as a vector.
func size(strings []string) (n int) {
	for _, s := range strings {
		n += len(s) + 1 + 8
	}
	return n + 64
}
