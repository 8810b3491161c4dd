package unix

import "syscall"

func Kill(pid int, sig syscall.Signal) error { return nil }
func Getpgid(pid int) (int, error)           { return 0, nil }
