package pty

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const getTermios, setTermios = unix.TCGETS, unix.TCSETS

const terminalsPolled = true

func openMaster() (int, error) { return openDevice("/dev/ptmx") }

// openEnd opens the other end of a master. Since Linux 4.13 it needs no path: the
// one in /dev/pts may be another terminal's, or none, where that is not the file
// system that the master is of.
func openEnd(master int) (int, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, os.NewSyscallError("ioctl TIOCSPTLCK", err)
	}
	end, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	switch errno {
	case 0:
		return int(end), nil
	case unix.ENOTTY, unix.EINVAL, unix.ENOSYS, unix.EPERM: // the kernel, or a filter, does not know the call
	default:
		return -1, os.NewSyscallError("ioctl TIOCGPTPEER", errno)
	}
	number, err := unix.IoctlGetUint32(master, unix.TIOCGPTN)
	if err != nil {
		return -1, os.NewSyscallError("ioctl TIOCGPTN", err)
	}
	return openDevice("/dev/pts/" + strconv.Itoa(int(number)))
}
