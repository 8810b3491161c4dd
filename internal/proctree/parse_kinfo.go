package proctree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// The rows that the kernels of FreeBSD and macOS return for the sysctls below
// kern.proc, on their 64-bit systems, all of which are little endian. Offsets
// are those of the kernels' C structures.

// parseFreeBSD reads an array of struct kinfo_proc: sys/user.h. RSS is in
// pages.
//
// The kernel keeps start times relative to boot and adds the time of boot to
// them, which changes when somebody sets the clock. That must not change who a
// process is, so boot, the same time of boot, is taken off again for ID.Start.
func parseFreeBSD(b []byte, boot time.Time) ([]Process, error) {
	// The structure states its own size, which is its version too: fields are
	// added in place of spare ones.
	const size = 1088
	const (
		structsize = 0
		pid        = 72
		ppid       = 76
		pgid       = 80
		sid        = 88
		ruid       = 172
		rssize     = 264
		runtime    = 328 // microseconds
		start      = 336 // struct timeval
		stat       = 388
		comm       = 447 // 19 bytes and a NUL
		commEnd    = 467
		numthreads = 596
		tdflags    = 1080
	)
	states := [...]State{Unknown, Idle, Running, Sleeping, Stopped, Zombie, Idle, Disk} // SIDL SRUN SSLEEP SSTOP SZOMB SWAIT SLOCK
	const uninterruptible = 0x8                                                         // TDF_SINTR, which says the opposite
	table := make([]Process, 0, len(b)/size)
	for ; len(b) > 0; b = b[size:] {
		if len(b) < size {
			return nil, fmt.Errorf("malformed kinfo_proc: %d of %d bytes", len(b), size)
		}
		if n := i32(b, structsize); n != size {
			return nil, fmt.Errorf("kinfo_proc of %d bytes, not %d: %w", n, size, errors.ErrUnsupported)
		}
		started, err := timeval(b[start:], 8)
		if err != nil {
			return nil, fmt.Errorf("malformed kinfo_proc: %w", err)
		}
		p := Process{
			ID:      ID{PID: i32(b, pid), Start: uint64(started.Sub(boot).Microseconds())},
			PPID:    i32(b, ppid),
			PGID:    i32(b, pgid),
			SID:     i32(b, sid),
			State:   Unknown,
			Threads: i32(b, numthreads),
			User:    uid(b, ruid),
			Name:    cString(b[comm:commEnd]),
			Started: started,
			RSS:     int64(binary.LittleEndian.Uint64(b[rssize:])),
			CPU:     time.Duration(binary.LittleEndian.Uint64(b[runtime:])) * time.Microsecond, CPUKnown: true,
		}
		if s := int(b[stat]); s < len(states) {
			p.State = states[s]
		}
		if p.State == Sleeping && binary.LittleEndian.Uint64(b[tdflags:])&uninterruptible == 0 {
			p.State = Disk
		}
		table = append(table, p)
	}
	return table, nil
}

// parseDarwin reads an array of struct kinfo_proc: XNU's bsd/sys/sysctl.h and
// bsd/sys/proc.h. Session, threads, memory and processor time are not in it.
func parseDarwin(b []byte) ([]Process, error) {
	const size = 648
	const (
		start   = 0 // kp_proc.p_starttime, struct timeval
		stat    = 36
		pid     = 40
		comm    = 243 // 16 bytes and a NUL
		commEnd = 260
		ruid    = 392 // kp_eproc.e_pcred.p_ruid
		ppid    = 560
		pgid    = 564
	)
	states := [...]State{Unknown, Idle, Running, Sleeping, Stopped, Zombie} // SIDL SRUN SSLEEP SSTOP SZOMB
	table := make([]Process, 0, len(b)/size)
	for ; len(b) > 0; b = b[size:] {
		if len(b) < size {
			return nil, fmt.Errorf("malformed kinfo_proc: %d of %d bytes", len(b), size)
		}
		started, err := timeval(b[start:], 4)
		if err != nil {
			return nil, fmt.Errorf("malformed kinfo_proc: %w", err)
		}
		p := Process{
			ID:      ID{PID: i32(b, pid), Start: uint64(started.UnixMicro())},
			PPID:    i32(b, ppid),
			PGID:    i32(b, pgid),
			State:   Unknown,
			User:    uid(b, ruid),
			Name:    cString(b[comm:commEnd]),
			Started: started,
		}
		if s := int(b[stat]); s < len(states) {
			p.State = states[s]
		}
		table = append(table, p)
	}
	return table, nil
}

// parseProcargs2 finds the arguments in what sysctl kern.procargs2 of macOS
// returns: their number, the path of the executable, padding of NUL bytes, the
// arguments, and the environment.
func parseProcargs2(b []byte) ([]string, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("malformed procargs2: %d bytes", len(b))
	}
	argc, b := i32(b, 0), b[4:]
	_, b, ok := bytes.Cut(b, []byte{0})
	if argc < 0 || argc > 0 && !ok {
		return nil, fmt.Errorf("malformed procargs2: %d arguments", argc)
	}
	// An empty first argument cannot be told from the padding.
	b = bytes.TrimLeft(b, "\x00")
	var args []string
	for range argc {
		arg, rest, ok := bytes.Cut(b, []byte{0})
		if !ok {
			return nil, fmt.Errorf("malformed procargs2: %d of %d arguments", len(args), argc)
		}
		args, b = append(args, string(arg)), rest
	}
	return args, nil
}

func i32(b []byte, at int) int { return int(int32(binary.LittleEndian.Uint32(b[at:]))) }

func uid(b []byte, at int) string {
	return strconv.FormatUint(uint64(binary.LittleEndian.Uint32(b[at:])), 10)
}

func cString(b []byte) string {
	if end := bytes.IndexByte(b, 0); end >= 0 {
		b = b[:end]
	}
	return string(b)
}

// timeval reads a struct timeval whose second field has the given size.
func timeval(b []byte, usecSize int) (time.Time, error) {
	sec, usec := int64(binary.LittleEndian.Uint64(b)), int64(i32(b, 8))
	if usecSize == 8 {
		usec = int64(binary.LittleEndian.Uint64(b[8:]))
	}
	if sec < 0 || sec > 1<<40 || usec < 0 || usec >= 1e6 {
		return time.Time{}, fmt.Errorf("time of %d s and %d µs", sec, usec)
	}
	return time.Unix(sec, usec*1e3), nil
}
