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
func stuck(name string) []string {
	var lines []string
	count := 0
	processes, _ := filepath.Glob(`Z:\proc\[0-9]*\cmdline`)
	for _, path := range processes {
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(strings.ToLower(string(b)), name) {
			continue
		}
		count++
		threads, err := os.ReadDir(filepath.Join(filepath.Dir(path), "task"))
		if err == nil && len(threads) == 1 {
			line := bytes.ReplaceAll(bytes.TrimRight(b, "\x00"), []byte{0}, []byte{' '})
			lines = append(lines, filepath.Base(filepath.Dir(path))+" "+string(line))
		}
	}
	if count <= known(name) {
		return nil
	}
	return lines
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
