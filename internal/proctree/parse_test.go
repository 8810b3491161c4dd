package proctree

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// statOf writes p as Linux does in /proc/PID/stat.
func statOf(p Process) []byte {
	fields := slices.Repeat([]string{"0"}, 52)
	fields[2] = string(rune(p.State))
	for n, v := range map[int]any{4: p.PPID, 5: p.PGID, 6: p.SID, 14: int64(p.CPU / time.Second * 100), 15: int64(p.CPU % time.Second / (10 * time.Millisecond)), 20: p.Threads, 22: p.Start, 24: p.RSS} {
		fields[n-1] = fmt.Sprint(v)
	}
	return fmt.Appendf(nil, "%d (%s) %s\n", p.PID, p.Name, strings.Join(fields[2:], " "))
}

var statSeed = Process{
	ID: ID{PID: 1234, Start: 1 << 63}, PPID: 1, PGID: 1230, SID: 1200, State: Sleeping, Threads: 7, Name: "sleep", RSS: 42,
	CPU: 12*time.Second + 340*time.Millisecond, CPUKnown: true,
}

func TestParseStat(t *testing.T) {
	for _, name := range []string{"sleep", "", ")", "(", ") (", ") R 1 2 3\n", "a b\tc", "\xff"} {
		want := statSeed
		want.Name = name
		if got, err := parseStat(statOf(want)); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: got %+v, error %v", name, got, err)
		}
	}
	for letter, want := range map[byte]State{'X': Zombie, 'x': Zombie, 'P': Idle, 'W': Unknown, 't': Traced} {
		p := statSeed
		p.State = State(letter)
		if got, err := parseStat(statOf(p)); err != nil || got.State != want {
			t.Errorf("%c: got %c, error %v", letter, got.State, err)
		}
	}
	for _, bad := range []string{"", "(", ")", ") (", "1 (x", "1 (x) S 1 2 3", "x (x) " + strings.Repeat("0 ", 50), "1 (x) S " + strings.Repeat("- ", 50)} {
		if p, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: got %+v", bad, p)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add(statOf(statSeed))
	f.Add([]byte("7 () (\n) Z 1 7 7 0 -1 4228364 0 0 0 0 0 0 0 0 20 0 2 0 3511 0 0 18446744073709551615 0"))
	f.Add([]byte("1 (x) S"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseStat(b)
		if err != nil {
			return
		}
		if !bytes.Contains(b, []byte("("+p.Name+")")) || !slices.Contains([]State{Running, Sleeping, Disk, Stopped, Traced, Zombie, Idle, Unknown}, p.State) {
			t.Errorf("%q: got %+v", b, p)
		}
		if again, err := parseStat(statOf(p)); err != nil || !reflect.DeepEqual(again, p) {
			t.Errorf("%q: got %+v, then %+v, error %v", b, p, again, err)
		}
	})
}

func FuzzParseTgid(f *testing.F) {
	seed := []byte("Name:\t) (\\nTgid:\t1\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t1234\nNgid:\t0\nPid:\t1235\n")
	if got, err := parseTgid(seed); err != nil || got != 1234 {
		f.Errorf("got %d, error %v", got, err)
	}
	f.Add(seed)
	reaped := []byte("Name:\tsleep\nState:\tX (dead)\nTgid:\t0\nNgid:\t0\nPid:\t1235\nPPid:\t0\n")
	if got, err := parseTgid(reaped); err != ErrGone {
		f.Errorf("a process that has just been reaped: %d, error %v", got, err)
	}
	f.Add(reaped)
	f.Add([]byte("Tgid:\t\nTgid:\tx\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if tgid, err := parseTgid(b); err == nil && (!possible(tgid) || !bytes.Contains(b, fmt.Append(nil, tgid))) {
			t.Errorf("%q: got %d", b, tgid)
		}
	})
}

func FuzzParseCmdline(f *testing.F) {
	f.Add([]byte(nil))
	f.Add([]byte("sleep\x0060\x00"))
	f.Add([]byte("a\x00\x00b\x00"))
	f.Add([]byte("\x00"))
	f.Add([]byte("postgres: writer process"))
	f.Fuzz(func(t *testing.T, b []byte) {
		args := parseCmdline(b)
		if (len(args) == 0) != (len(b) == 0) {
			t.Errorf("%q: got %q", b, args)
		}
		if joined := strings.Join(args, "\x00"); joined != string(b) && joined+"\x00" != string(b) {
			t.Errorf("%q: got %q", b, args)
		}
	})
}

// dirent returns an entry as getdents64(2) writes it.
func dirent(name string) []byte {
	b := make([]byte, (19+len(name)+1+7)/8*8)
	binary.NativeEndian.PutUint16(b[16:], uint16(len(b)))
	copy(b[19:], name)
	return b
}

func FuzzParsePIDs(f *testing.F) {
	names := []string{".", "..", "1", "0", "007", "self", "4194304", "99999999999999999999", "12x", ""}
	var all []byte
	for _, name := range names {
		f.Add(dirent(name))
		all = append(all, dirent(name)...)
	}
	f.Add(all)
	if got, want := parsePIDs(nil, all), []int{1, 7, 4194304}; !slices.Equal(got, want) {
		f.Errorf("got %v, want %v", got, want)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, pid := range parsePIDs(nil, b) {
			if !possible(pid) || !bytes.Contains(b, fmt.Append(nil, pid)) {
				t.Errorf("%q: got %d", b, pid)
			}
		}
	})
}

var freeBSDSeed = Process{
	ID: ID{PID: 1234, Start: 5_000_001}, PPID: 1, PGID: 1230, SID: 1200, State: Disk, Threads: 3, User: "1001",
	Name: "nineteen characters", Started: time.Unix(1_700_000_005, 1000), RSS: 42,
	CPU: 12345 * time.Microsecond, CPUKnown: true,
}

func freeBSDRow(p Process) []byte {
	b := make([]byte, 1088)
	put := func(at int, v int) { binary.LittleEndian.PutUint32(b[at:], uint32(v)) }
	put(0, len(b))
	put(72, p.PID)
	put(76, p.PPID)
	put(80, p.PGID)
	put(88, p.SID)
	put(168, 0) // effective
	put(172, 1001)
	put(264, int(p.RSS))
	binary.LittleEndian.PutUint64(b[328:], uint64(p.CPU.Microseconds()))
	binary.LittleEndian.PutUint64(b[336:], uint64(p.Started.Unix()))
	binary.LittleEndian.PutUint64(b[344:], uint64(p.Started.Nanosecond()/1000))
	b[388] = 3
	copy(b[447:], p.Name)
	put(596, p.Threads)
	return b
}

func FuzzParseFreeBSD(f *testing.F) {
	boot := time.Unix(1_700_000_000, 0)
	seed := freeBSDRow(freeBSDSeed)
	two := append(slices.Clone(seed), seed...)
	if got, err := parseFreeBSD(two, boot); err != nil || !reflect.DeepEqual(got, []Process{freeBSDSeed, freeBSDSeed}) {
		f.Errorf("got %+v, error %v", got, err)
	}
	// The clock is set: the process stays who it is.
	later := freeBSDSeed
	later.Started = later.Started.Add(time.Hour)
	if got, err := parseFreeBSD(freeBSDRow(later), boot.Add(time.Hour)); err != nil || got[0].ID != freeBSDSeed.ID {
		f.Errorf("got %+v, error %v", got, err)
	}
	other := slices.Clone(seed)
	binary.LittleEndian.PutUint32(other, 768)
	if got, err := parseFreeBSD(other, boot); !errors.Is(err, errors.ErrUnsupported) {
		f.Errorf("another version: got %+v, error %v", got, err)
	}
	f.Add(seed)
	f.Add(two)
	f.Add(seed[:1087])
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := parseFreeBSD(b, boot)
		checkRows(t, b, 1088, table, err)
	})
}

var darwinSeed = Process{
	ID: ID{PID: 1234, Start: 1_700_000_005_000_001}, PPID: 1, PGID: 1230, State: Zombie, User: "501",
	Name: "sixteen letters.", Started: time.Unix(1_700_000_005, 1000),
}

func darwinRow(p Process) []byte {
	b := make([]byte, 648)
	put := func(at int, v int) { binary.LittleEndian.PutUint32(b[at:], uint32(v)) }
	binary.LittleEndian.PutUint64(b, uint64(p.Started.Unix()))
	put(8, p.Started.Nanosecond()/1000)
	put(12, -1) // padding
	b[36] = 5
	put(40, p.PID)
	copy(b[243:], p.Name)
	put(392, 501)
	put(420, 0) // effective
	put(560, p.PPID)
	put(564, p.PGID)
	return b
}

func FuzzParseDarwin(f *testing.F) {
	seed := darwinRow(darwinSeed)
	two := append(slices.Clone(seed), seed...)
	if got, err := parseDarwin(two); err != nil || !reflect.DeepEqual(got, []Process{darwinSeed, darwinSeed}) {
		f.Errorf("got %+v, error %v", got, err)
	}
	f.Add(seed)
	f.Add(two)
	f.Add(seed[:647])
	f.Fuzz(func(t *testing.T, b []byte) {
		table, err := parseDarwin(b)
		checkRows(t, b, 648, table, err)
	})
}

func checkRows(t *testing.T, b []byte, size int, table []Process, err error) {
	t.Helper()
	if err != nil {
		if table != nil {
			t.Errorf("%d rows beside error %v", len(table), err)
		}
		return
	}
	if len(table)*size != len(b) {
		t.Fatalf("%d rows of %d bytes", len(table), len(b))
	}
	for _, p := range table {
		if strings.Contains(p.Name, "\x00") || p.User == "" || p.State == 0 {
			t.Errorf("got %+v", p)
		}
	}
}

func procargs2(argc uint32, rest string) []byte {
	return append(binary.LittleEndian.AppendUint32(nil, argc), rest...)
}

func FuzzParseProcargs2(f *testing.F) {
	seed := procargs2(3, "/bin/sh\x00\x00\x00\x00sh\x00\x00-c\x00HOME=/\x00\x00")
	if got, err := parseProcargs2(seed); err != nil || !slices.Equal(got, []string{"sh", "", "-c"}) {
		f.Errorf("got %q, error %v", got, err)
	}
	for _, bad := range [][]byte{nil, procargs2(1, ""), procargs2(1, "/bin/sh"), procargs2(2, "/bin/sh\x00sh\x00"), procargs2(1<<31, "x\x00x\x00")} {
		if got, err := parseProcargs2(bad); err == nil {
			f.Errorf("%q: got %q", bad, got)
		}
		f.Add(bad)
	}
	f.Add(seed)
	f.Add(procargs2(1<<31-1, "x\x00\x00y\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		args, err := parseProcargs2(b)
		if err != nil {
			return
		}
		if len(args) != int(binary.LittleEndian.Uint32(b)) || len(args) > len(b) {
			t.Errorf("%q: got %d arguments", b, len(args))
		}
		for _, arg := range args {
			if strings.Contains(arg, "\x00") || !bytes.Contains(b, []byte(arg+"\x00")) {
				t.Errorf("%q: got %q", b, arg)
			}
		}
	})
}

func TestParseChildren(t *testing.T) {
	for in, want := range map[string][]int{
		"":                nil,
		"12 ":             {12},
		"12 345 6 ":       {12, 345, 6},
		"7 x -1 0 8":      {7, 8},
		"99999999999 10 ": {10},
	} {
		if got := parseChildren(nil, []byte(in)); !slices.Equal(got, want) {
			t.Errorf("%q: %v, want %v", in, got, want)
		}
	}
}

func FuzzParseChildren(f *testing.F) {
	f.Add([]byte("12 345 6 "))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, pid := range parseChildren(nil, b) {
			if !possible(pid) {
				t.Errorf("%d in %q", pid, b)
			}
		}
	})
}
