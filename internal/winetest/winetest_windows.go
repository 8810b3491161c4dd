package winetest

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Detected reports whether this is Wine.
func Detected() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}

// Forgotten returns the command lines of those processes of this program that Wine
// has ended and the system still has. A process that is killed while it starts may
// wait for ever for an answer of Wine's server, which has forgotten it. It has one
// thread then, and Wine has one process fewer than the system.
func Forgotten() []string {
	if !Detected() {
		return nil
	}
	name := strings.ToLower(filepath.Base(os.Args[0]))
	found, looks := stuck(name), 20
	for range looks { // one that starts or ends looks like that, but not for long
		time.Sleep(100 * time.Millisecond)
		again := stuck(name)
		found = slices.DeleteFunc(found, func(line string) bool { return !slices.Contains(again, line) })
	}
	return found
}

// stuck returns the command lines of the processes of that name with one thread, if
// the system has more of that name than Wine has.
func stuck(name string) (lines []string) {
	all := running(name)
	if len(all) <= known(name) {
		return nil
	}
	for line, threads := range all {
		if threads == 1 {
			lines = append(lines, line)
		}
	}
	return lines
}

// Running returns the command lines of those processes of this program that the
// system has, whatever Wine has, and that have the text in them.
func Running(text string) (lines []string) {
	for line := range running(strings.ToLower(filepath.Base(os.Args[0]))) {
		if strings.Contains(line, text) {
			lines = append(lines, line)
		}
	}
	return lines
}

// running returns how many threads each process of that name has that the system
// has. The keys are PID and command line.
func running(name string) map[string]int {
	all := make(map[string]int)
	processes, _ := filepath.Glob(`Z:\proc\[0-9]*\cmdline`)
	for _, path := range processes {
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(strings.ToLower(string(b)), name) {
			continue
		}
		threads, _ := os.ReadDir(filepath.Join(filepath.Dir(path), "task"))
		line := bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte{' '})
		all[filepath.Base(filepath.Dir(path))+" "+string(line)] = len(threads)
	}
	return all
}

// known returns how many processes of that name Wine has.
func known(name string) int {
	snapshot, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPPROCESS, 0)
	if err != nil {
		return 1 << 20 // who does not know says nothing
	}
	defer windows.CloseHandle(snapshot)
	n := 0
	entry := windows.ProcessEntry32{Size: uint32(unsafe.Sizeof(windows.ProcessEntry32{}))}
	for err = windows.Process32First(snapshot, &entry); err == nil; err = windows.Process32Next(snapshot, &entry) {
		if strings.ToLower(windows.UTF16ToString(entry.ExeFile[:])) == name {
			n++
		}
	}
	return n
}
