package trust

import "syscall"

const getresuid, getresgid = syscall.SYS_GETRESUID32, syscall.SYS_GETRESGID32
