//go:build amd64 || arm64

package bare

import (
	"syscall"
	"unsafe"

	"github.com/corral-run/corral/internal/wire/code"
)

// The frames that package wire reads, written without memory of Go's.

//go:norace
//go:nocheckptr
func (b *block) begin(kind code.Kind) {
	b.frameLen = 4
	b.put(int64(kind))
}

// put appends a number as encoding/binary.AppendVarint does.
//
//go:norace
//go:nocheckptr
func (b *block) put(n int64) {
	u := uint64(n) << 1
	if n < 0 {
		u = ^u
	}
	for ; u >= 0x80; u >>= 7 {
		b.frame[b.frameLen] = byte(u) | 0x80
		b.frameLen++
	}
	b.frame[b.frameLen] = byte(u)
	b.frameLen++
}

// send sends the frame. If nobody is there to read it, the next read says so.
//
//go:norace
//go:nocheckptr
func (b *block) send() {
	*(*uint32)(unsafe.Pointer(&b.frame)) = uint32(b.frameLen - 4)
	if b.line >= 0 {
		call(syscall.SYS_SENDTO, uintptr(b.line), address(unsafe.Pointer(&b.frame)), uintptr(b.frameLen), syscall.MSG_NOSIGNAL, 0)
	}
}

// tellEnd tells how the leader ended.
//
//go:norace
//go:nocheckptr
func (b *block) tellEnd() {
	u := &b.usage
	b.begin(code.Ended)
	b.put(int64(b.status))
	b.put(u.Utime.Sec)
	b.put(u.Utime.Usec)
	b.put(u.Stime.Sec)
	b.put(u.Stime.Usec)
	for _, n := range [...]int64{u.Maxrss, u.Ixrss, u.Idrss, u.Isrss, u.Minflt, u.Majflt, u.Nswap,
		u.Inblock, u.Oublock, u.Msgsnd, u.Msgrcv, u.Nsignals, u.Nvcsw, u.Nivcsw} {
		b.put(n)
	}
	empty := int64(0)
	if b.empty {
		empty = 1
	}
	b.put(empty)
	b.send()
}

//go:norace
//go:nocheckptr
func unsafeData(text string) *byte { return unsafe.StringData(text) }
