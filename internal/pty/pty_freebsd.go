package pty

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

const terminalsPolled = true

func openMaster() (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_POSIX_OPENPT, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0, 0)
	if errno != 0 {
		return -1, os.NewSyscallError("posix_openpt", errno)
	}
	return int(fd), nil
}

// openEnd opens the other end of a master: pts(4).
func openEnd(master int) (int, error) {
	number, err := unix.IoctlGetInt(master, unix.TIOCGPTN)
	if err != nil {
		return -1, os.NewSyscallError("ioctl TIOCGPTN", err)
	}
	return openDevice("/dev/pts/" + strconv.Itoa(number))
}
