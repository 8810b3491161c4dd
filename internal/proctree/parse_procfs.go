package proctree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// userHZ is the unit of times in /proc/PID/stat per second. It is part of the
// kernel's interface: 100 on every architecture that Go supports, whatever the
// kernel's own tick.
const userHZ = 100

// parseStat reads the content of /proc/PID/stat of Linux: see
// proc_pid_stat(5), whose field numbers the comments use. RSS is in pages.
func parseStat(b []byte) (Process, error) {
	// The name may contain anything, also parentheses, blanks and newlines.
	// What follows it contains no parenthesis.
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return Process{}, fmt.Errorf("malformed stat %q", b)
	}
	var p Process
	var bad error
	number := func(field []byte) int64 {
		n, err := strconv.ParseInt(string(field), 10, 64)
		bad = errors.Join(bad, err)
		return n
	}
	p.PID = int(number(bytes.TrimSpace(b[:open])))
	p.Name = string(b[open+1 : end])
	n := 3
	for field := range bytes.FieldsSeq(b[end+1:]) {
		switch n {
		case 3:
			p.State = linuxState(field[0])
		case 4:
			p.PPID = int(number(field))
		case 5:
			p.PGID = int(number(field))
		case 6:
			p.SID = int(number(field))
		case 14, 15: // in user mode, and in the kernel
			ticks := number(field)
			if ticks < 0 || ticks > 1<<36 {
				bad = errors.Join(bad, fmt.Errorf("%d ticks", ticks))
			}
			p.CPU += time.Duration(ticks) * (time.Second / userHZ)
		case 20:
			p.Threads = int(number(field))
		case 22:
			start, err := strconv.ParseUint(string(field), 10, 64)
			bad = errors.Join(bad, err)
			p.Start = start
		case 24:
			p.RSS = number(field)
		}
		if n++; n > 24 {
			break
		}
	}
	if n <= 24 || bad != nil {
		return Process{}, errors.Join(fmt.Errorf("malformed stat %q", b), bad)
	}
	p.CPUKnown = true
	return p, nil
}

func linuxState(letter byte) State {
	switch s := State(letter); s {
	case Running, Sleeping, Disk, Stopped, Traced, Zombie, Idle:
		return s
	case 'X', 'x': // dead: reaped, about to vanish
		return Zombie
	case 'P': // parked: a kernel thread
		return Idle
	}
	return Unknown
}

// parseTgid finds the thread group, which is the PID of a thread's process, in
// the content of /proc/PID/status. The name at the top of it cannot forge a
// line: the kernel escapes newlines in it.
func parseTgid(b []byte) (int, error) {
	for line := range bytes.Lines(b) {
		if value, ok := bytes.CutPrefix(line, []byte("Tgid:")); ok {
			value = bytes.TrimSpace(value)
			if tgid, ok := parsePID(value); ok {
				return tgid, nil
			}
			if string(value) == "0" { // it has just been reaped, and is about to vanish
				return 0, ErrGone
			}
		}
	}
	return 0, fmt.Errorf("malformed status %q", b)
}

// parseCmdline splits the content of /proc/PID/cmdline of Linux, or of
// kern.proc.args of FreeBSD, into arguments, each of which ends with a NUL
// byte, the last one perhaps not, if the process has changed its title. There
// are none for zombies and kernel threads.
func parseCmdline(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	b = bytes.TrimSuffix(b, []byte{0})
	args := make([]string, 0, bytes.Count(b, []byte{0})+1)
	for arg := range bytes.SplitSeq(b, []byte{0}) {
		args = append(args, string(arg))
	}
	return args
}

// parsePIDs appends to pids the numbers among the names of a buffer filled by
// getdents64(2): of /proc, the processes.
func parsePIDs(pids []int, b []byte) []int {
	const lengthAt, nameAt = 16, 19 // of struct linux_dirent64
	for len(b) > nameAt {
		length := int(binary.NativeEndian.Uint16(b[lengthAt:]))
		if length <= nameAt || length > len(b) {
			break
		}
		name := b[nameAt:length]
		if end := bytes.IndexByte(name, 0); end >= 0 {
			name = name[:end]
		}
		if pid, ok := parsePID(name); ok {
			pids = append(pids, pid)
		}
		b = b[length:]
	}
	return pids
}

// parseChildren appends to pids what /proc/PID/task/TID/children lists.
func parseChildren(pids []int, b []byte) []int {
	for word := range bytes.FieldsSeq(b) {
		if pid, ok := parsePID(word); ok {
			pids = append(pids, pid)
		}
	}
	return pids
}

func parsePID(name []byte) (pid int, ok bool) {
	for _, digit := range name {
		if digit < '0' || digit > '9' || pid > 1<<26 {
			return 0, false
		}
		pid = 10*pid + int(digit-'0')
	}
	return pid, possible(pid)
}
