package corraltest

import "syscall"

// traced reports whether a debugger traces this process.
func traced() bool {
	present, _, _ := syscall.NewLazyDLL("kernel32.dll").NewProc("IsDebuggerPresent").Call()
	return present != 0
}
