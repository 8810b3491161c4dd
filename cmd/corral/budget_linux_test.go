package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// built builds a program as it is released, and copies it, as an installation does:
// what a linker has just written is in other pages of the page cache.
func built(t *testing.T, name, source string) string {
	t.Helper()
	if testing.Short() {
		t.Skip("SKIPPED: -short; it builds the command")
	}
	fresh := filepath.Join(t.TempDir(), name)
	cmd := exec.Command("go", "build", "-o", fresh, source)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: %s cannot be built here: %v: %s", source, err, out)
	}
	program, err := os.ReadFile(fresh)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// pageFaults is how many a program takes, with those that it has waited for.
func pageFaults(t *testing.T, program string, args ...string) int {
	t.Helper()
	var counts []int
	for range 15 {
		cmd := exec.Command(program, args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd.Args, err, out)
		}
		counts = append(counts, int(cmd.ProcessState.SysUsage().(*syscall.Rusage).Minflt))
	}
	slices.Sort(counts)
	return counts[len(counts)/2]
}

// TestStartBudget pins what the command costs beside its command, in what does not
// depend on how busy the machine is. A budget is what it takes and a little more; to
// go over it should be a decision: each run pays it.
func TestStartBudget(t *testing.T) {
	corral := built(t, "corral", ".")

	file, err := elf.Open(corral)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	symbols, err := file.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	// What reaches a template keeps all methods of all types in the program; what
	// reaches debug/elf has the tables of three ways to compress made at each start.
	for _, unwanted := range []string{"text/template.(*Template).Execute", "debug/elf.NewFile"} {
		if slices.ContainsFunc(symbols, func(s elf.Symbol) bool { return s.Name == unwanted }) {
			t.Errorf("the command can reach %s", unwanted)
		}
	}

	source := filepath.Join(t.TempDir(), "nothing.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() {}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	least, child := pageFaults(t, built(t, "nothing", source)), pageFaults(t, "/bin/true")
	all := pageFaults(t, corral, "--containment", "group", "--", "/bin/true")
	// Some fifteen of these are for the registry (see docs/runs.md), four for what speaks
	// D-Bus, used or not.
	const mostFaults = 245
	more := all - child - least
	t.Logf("%d page faults, %d of the command's own, %d of a Go program that does nothing", all, child, least)
	if more > mostFaults || more < mostFaults/2 {
		t.Errorf("%d page faults more than a Go program that does nothing; the budget is %d", more, mostFaults)
	}

	out, err := exec.Command(corral, "--containment", "group", "--", "sh", "-c", "echo /proc/$PPID/task/*").Output()
	threads := len(strings.Fields(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	// Those of reserveThreads, and those of Go's that no goroutine of corral's gets:
	// sysmon, the template thread, and one that is locked to wait for signals.
	const mostThreads = 2 + 6 + 3 + 1
	t.Logf("%d threads", threads)
	if threads > mostThreads || threads < mostThreads/2 {
		t.Errorf("%s threads; the budget is %d", strconv.Itoa(threads), mostThreads)
	}
}

// TestLoaderOf: what is read of ELF programs is what debug/elf reads.
func TestLoaderOf(t *testing.T) {
	programs, err := filepath.Glob("/usr/bin/*")
	if err != nil || len(programs) == 0 {
		t.Skip("SKIPPED: no programs in /usr/bin")
	}
	loaders := 0
	for _, path := range programs[:min(len(programs), 200)] {
		f, err := os.Open(path)
		if err != nil {
			continue
		}
		head := make([]byte, 256)
		n, _ := f.Read(head)
		want := ""
		if program, err := elf.NewFile(f); err == nil {
			for _, part := range program.Progs {
				if part.Type == elf.PT_INTERP {
					name := make([]byte, part.Filesz)
					part.ReadAt(name, 0)
					want = strings.TrimRight(string(name), "\x00")
				}
			}
		}
		if got := loaderOf(f, head[:n]); got != want {
			t.Errorf("%s: %q; want %q", path, got, want)
		}
		if want != "" {
			loaders++
		}
		f.Close()
	}
	if loaders == 0 {
		t.Skip("SKIPPED: no program in /usr/bin has a loader")
	}
}

// TestLoaderOfMade: of all classes and byte orders, whole or cut.
func TestLoaderOfMade(t *testing.T) {
	for name, make := range elfPrograms {
		program := make("/lib/ld.so")
		if got := loaderOf(bytes.NewReader(program), program[:min(len(program), 256)]); got != "/lib/ld.so" {
			t.Errorf("%s: %q", name, got)
		}
		for cut := range program {
			got := loaderOf(bytes.NewReader(program[:cut]), program[:min(cut, 256)])
			if !strings.HasPrefix("/lib/ld.so", got) {
				t.Errorf("%s, cut to %d: %q", name, cut, got)
			}
		}
		// Whatever it says about where things are, it is not believed.
		for at := range 64 {
			for _, b := range []byte{0, 1, 0x7f, 0x80, 0xff} {
				bad := bytes.Clone(program)
				bad[at] = b
				loaderOf(bytes.NewReader(bad), bad[:min(len(bad), 256)])
			}
		}
	}
}

// elfPrograms make an ELF program with a loader, and with a part before that.
var elfPrograms = map[string]func(loader string) []byte{
	"32 bits, little-endian": func(loader string) []byte { return elfProgram(binary.LittleEndian, elf.ELFCLASS32, loader) },
	"32 bits, big-endian":    func(loader string) []byte { return elfProgram(binary.BigEndian, elf.ELFCLASS32, loader) },
	"64 bits, little-endian": func(loader string) []byte { return elfProgram(binary.LittleEndian, elf.ELFCLASS64, loader) },
	"64 bits, big-endian":    func(loader string) []byte { return elfProgram(binary.BigEndian, elf.ELFCLASS64, loader) },
}

func elfProgram(order binary.ByteOrder, class elf.Class, loader string) []byte {
	data := elf.ELFDATA2LSB
	if order == binary.BigEndian {
		data = elf.ELFDATA2MSB
	}
	ident := [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(class), byte(data), byte(elf.EV_CURRENT)}
	var b bytes.Buffer
	size := uint64(len(loader) + 1)
	if class == elf.ELFCLASS64 {
		binary.Write(&b, order, elf.Header64{Ident: ident, Phoff: 64, Phentsize: 56, Phnum: 2})
		binary.Write(&b, order, elf.Prog64{Type: uint32(elf.PT_PHDR), Off: 64, Filesz: 112})
		binary.Write(&b, order, elf.Prog64{Type: uint32(elf.PT_INTERP), Off: 64 + 112, Filesz: size})
	} else {
		binary.Write(&b, order, elf.Header32{Ident: ident, Phoff: 52, Phentsize: 32, Phnum: 2})
		binary.Write(&b, order, elf.Prog32{Type: uint32(elf.PT_PHDR), Off: 52, Filesz: 64})
		binary.Write(&b, order, elf.Prog32{Type: uint32(elf.PT_INTERP), Off: 52 + 64, Filesz: uint32(size)})
	}
	b.WriteString(loader + "\x00")
	return b.Bytes()
}
