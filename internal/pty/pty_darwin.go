package pty

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// kqueue(2) does not tell of all that happens to a pseudo-terminal here
// (golang/go#22099). The master takes no deadline, and needs none: when the leader
// ends, the kernel revokes the terminal, whoever has it open.
const terminalsPolled = false

func openMaster() (int, error) { return openDevice("/dev/ptmx") }

// openEnd opens the other end of a master, as grantpt(3), unlockpt(3) and
// ptsname(3) do it.
func openEnd(master int) (int, error) {
	if err := unix.IoctlSetInt(master, unix.TIOCPTYGRANT, 0); err != nil {
		return -1, os.NewSyscallError("ioctl TIOCPTYGRANT", err)
	}
	if err := unix.IoctlSetInt(master, unix.TIOCPTYUNLK, 0); err != nil {
		return -1, os.NewSyscallError("ioctl TIOCPTYUNLK", err)
	}
	var name [128]byte // the size is part of the request
	//lint:ignore SA1019 golang.org/x/sys has no function for it.
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCPTYGNAME, uintptr(unsafe.Pointer(&name))); errno != 0 {
		return -1, os.NewSyscallError("ioctl TIOCPTYGNAME", errno)
	}
	return openDevice(unix.ByteSliceToString(name[:]))
}
