package console

import (
	"fmt"
	"os"
	"slices"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Event is what a process of a console can be sent.
type Event uint32

const (
	CtrlC     Event = windows.CTRL_C_EVENT
	CtrlBreak Event = windows.CTRL_BREAK_EVENT
)

var (
	kernel32                  = windows.NewLazySystemDLL("kernel32.dll")
	procAttachConsole         = kernel32.NewProc("AttachConsole")
	procFreeConsole           = kernel32.NewProc("FreeConsole")
	procGetConsoleProcessList = kernel32.NewProc("GetConsoleProcessList")
	procSetConsoleCtrlHandler = kernel32.NewProc("SetConsoleCtrlHandler")
)

// Free detaches the calling process from its console. It is no error if it has
// none.
func Free() error {
	if ok, _, err := procFreeConsole.Call(); ok == 0 {
		if shared, _ := Processes(); shared == nil {
			return nil
		}
		return os.NewSyscallError("FreeConsole", err)
	}
	return nil
}

// Attach attaches the calling process, which has no console, to that of process
// pid.
func Attach(pid int) error {
	if ok, _, err := procAttachConsole.Call(uintptr(pid)); ok == 0 {
		return os.NewSyscallError("AttachConsole", err)
	}
	return nil
}

// Ignore makes the calling process ignore every event, for good.
func Ignore() error {
	handled := syscall.NewCallback(func(uintptr) uintptr { return 1 })
	if ok, _, err := procSetConsoleCtrlHandler.Call(handled, 1); ok == 0 {
		return os.NewSyscallError("SetConsoleCtrlHandler", err)
	}
	return nil
}

// Processes returns the PIDs of the processes that share the caller's console,
// the caller included. It is an error to have none.
func Processes() ([]int, error) {
	list := make([]uint32, 64)
	for {
		n, _, err := procGetConsoleProcessList.Call(uintptr(unsafe.Pointer(&list[0])), uintptr(len(list)))
		if n == 0 {
			return nil, os.NewSyscallError("GetConsoleProcessList", err)
		}
		if int(n) <= len(list) {
			pids := make([]int, n)
			for i, pid := range list[:n] {
				pids[i] = int(pid)
			}
			return pids, nil
		}
		list = make([]uint32, 2*n)
	}
}

// SendAll sends an event to all processes that share the caller's console.
func SendAll(event Event) error { return send(event, 0) }

// Break sends CtrlBreak to the console group, if it knows that one of members is in
// it and shares the caller's console.
//
// GenerateConsoleCtrlEvent does not say whether there is such a group: for the
// number of a process that shares the console but leads no group, it sends the
// event to all processes of the console, the caller among them.
func Break(group int, members []int) error {
	shared, err := Processes()
	if err != nil {
		return fmt.Errorf("the caller has no console to send CTRL_BREAK by (%w)", err)
	}
	for _, pid := range members {
		if slices.Contains(shared, pid) && inGroup(pid, group) {
			return send(CtrlBreak, group)
		}
	}
	return fmt.Errorf("process %d leads no console group that shares the caller's console", group)
}

// Leads reports whether process pid is known to lead a console group.
func Leads(pid int) bool { return inGroup(pid, pid) }

func send(event Event, group int) error {
	return os.NewSyscallError("GenerateConsoleCtrlEvent", windows.GenerateConsoleCtrlEvent(uint32(event), uint32(group)))
}

// inGroup reports whether process pid is in the console group. A process keeps the
// number in its own memory, from where consoles have it. Wine before version 8.3
// does not set it. Then inGroup believes the caller about the leader, which is safe
// there, as an event for no group goes nowhere.
func inGroup(pid, group int) bool {
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_INFORMATION|windows.PROCESS_VM_READ, false, uint32(pid))
	if err != nil {
		return false
	}
	defer windows.CloseHandle(h)
	var info windows.PROCESS_BASIC_INFORMATION
	err = windows.NtQueryInformationProcess(h, windows.ProcessBasicInformation,
		unsafe.Pointer(&info), uint32(unsafe.Sizeof(info)), nil)
	if err != nil {
		return false
	}
	var parameters uintptr
	var number uint32
	peb := uintptr(unsafe.Pointer(info.PebBaseAddress)) // in the memory of pid
	if read(h, peb+unsafe.Offsetof(windows.PEB{}.ProcessParameters), &parameters) != nil ||
		read(h, parameters+unsafe.Offsetof(windows.RTL_USER_PROCESS_PARAMETERS{}.ProcessGroupId), &number) != nil {
		return false
	}
	return number == uint32(group) || number == 0 && pid == group
}

// read reads a value from the memory of another process.
func read[T any](h windows.Handle, at uintptr, v *T) error {
	return windows.ReadProcessMemory(h, at, (*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v), nil)
}
