package proctree

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

const known = true

// parentRecycled: Windows keeps the PID of a parent that has ended, and gives
// it to new processes.
const parentRecycled = true

func snapshot() ([]Process, error) {
	table, err := rows()
	if err != nil {
		return nil, err
	}
	for i := range table {
		detail(&table[i])
	}
	return table, nil
}

func survey() ([]Process, error)             { return snapshot() }
func descendants(pid int) ([]Process, error) { return descendantsByTable(pid) }
func childPIDs(pid int) ([]int, error)       { return childPIDsByTable(pid) }

func lookup(pid int) (Process, error) {
	p, err := row(pid)
	if err == nil {
		detail(&p)
	}
	return p, err
}

func identify(pid int) (ID, error) {
	p, err := row(pid)
	return p.ID, err
}

func group(pgid int) ([]Process, error) {
	return nil, fmt.Errorf("the members of a console process group cannot be listed: %w", errors.ErrUnsupported)
}

// Select returns the rows of the given PIDs, without User and Args (see Detail).
func Select(pids []int) ([]Process, error) {
	table, err := rows()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(table, func(p Process) bool { return !slices.Contains(pids, p.PID) }), nil
}

// row returns the row of pid without User and Args. It looks for it among all rows:
// to ask for one, the caller would need permission to open the process.
func row(pid int) (Process, error) {
	table, err := rows()
	for _, p := range table {
		if p.PID == pid {
			return p, nil
		}
	}
	return Process{}, cmp.Or(err, ErrGone)
}

// rows asks the system for all processes at once, rather than Toolhelp32: the
// answer has start times and memory too, also of processes that the caller may
// not open.
func rows() ([]Process, error) {
	buf := make([]byte, 256<<10)
	for {
		var need uint32
		err := windows.NtQuerySystemInformation(windows.SystemProcessInformation,
			unsafe.Pointer(&buf[0]), uint32(len(buf)), &need)
		if err == nil {
			break
		}
		if err != windows.STATUS_INFO_LENGTH_MISMATCH || len(buf) > 1<<30 {
			return nil, fmt.Errorf("NtQuerySystemInformation: %w", err)
		}
		buf = make([]byte, max(2*len(buf), int(need)))
	}
	var table []Process
	for at := uintptr(0); ; {
		info := (*windows.SYSTEM_PROCESS_INFORMATION)(unsafe.Pointer(&buf[at]))
		// PID 0 stands for the idle time of the processors.
		if info.UniqueProcessID != 0 {
			table = append(table, Process{
				ID:      ID{PID: int(info.UniqueProcessID), Start: uint64(info.CreateTime)},
				PPID:    int(info.InheritedFromUniqueProcessID),
				SID:     int(info.SessionID),
				State:   windowsState(info.NumberOfThreads),
				Threads: int(info.NumberOfThreads),
				Name:    info.ImageName.String(),
				Started: fileTime(uint64(info.CreateTime)),
				RSS:     int64(info.WorkingSetSize),
				CPU:     time.Duration(info.UserTime+info.KernelTime) * 100, CPUKnown: true,
			})
		}
		if info.NextEntryOffset == 0 {
			return table, nil
		}
		at += uintptr(info.NextEntryOffset)
	}
}

// windowsState: a process that has ended stays in the table, without threads,
// as long as somebody has a handle to it.
func windowsState(threads uint32) State {
	if threads == 0 {
		return Zombie
	}
	return Unknown
}

// fileTime converts a time in units of 100 ns since 1601. A process that is just
// being created may not have one.
func fileTime(t uint64) time.Time {
	const year1970 = 116444736e9
	if t < year1970 {
		return time.Time{}
	}
	ft := windows.Filetime{LowDateTime: uint32(t), HighDateTime: uint32(t >> 32)}
	return time.Unix(0, ft.Nanoseconds())
}

// detail fills User and Args, as far as the system lets the caller see them.
func detail(p *Process) {
	h, err := openProcess(p.ID, 0)
	if err != nil {
		return
	}
	defer windows.CloseHandle(h)
	p.User, p.Args = user(h), arguments(h)
}

func user(h windows.Handle) string {
	var token windows.Token
	if err := windows.OpenProcessToken(h, windows.TOKEN_QUERY, &token); err != nil {
		return ""
	}
	defer token.Close()
	u, err := token.GetTokenUser()
	if err != nil {
		return ""
	}
	return u.User.Sid.String()
}

func arguments(h windows.Handle) []string {
	buf := make([]byte, 1<<10)
	for {
		var need uint32
		err := windows.NtQueryInformationProcess(h, windows.ProcessCommandLineInformation,
			unsafe.Pointer(&buf[0]), uint32(len(buf)), &need)
		if err == nil {
			break
		}
		if err != windows.STATUS_INFO_LENGTH_MISMATCH || int(need) <= len(buf) {
			return nil
		}
		buf = make([]byte, need)
	}
	line := (*windows.NTUnicodeString)(unsafe.Pointer(&buf[0])).String()
	if line == "" {
		return nil
	}
	args, err := windows.DecomposeCommandLine(line)
	if err != nil {
		return []string{line}
	}
	return args
}
