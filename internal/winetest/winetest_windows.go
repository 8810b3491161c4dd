package winetest

import (
	"errors"
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

// Start calls start, which starts a process, and calls it again if Wine could not start
// one: now and then a process of Wine's ends before it has begun, which Wine tells as an
// internal error. Windows knows no such error there.
func Start(start func() error) error {
	for try := 1; ; try++ {
		err := start()
		if !Detected() || !errors.Is(err, windows.ERROR_INTERNAL_ERROR) || try == 4 {
			return err
		}
	}
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
	for dir, words := range system() {
		line := strings.Join(words, " ")
		if !strings.Contains(strings.ToLower(line), name) {
			continue
		}
		count++
		threads, err := os.ReadDir(filepath.Join(dir, "task"))
		if err == nil && len(threads) == 1 {
			lines = append(lines, filepath.Base(dir)+" "+line)
		}
	}
	if count <= known(name) {
		return nil
	}
	return lines
}

// Lives reports whether a process of the system has word among its arguments, Windows'
// processes included. Wine's server may keep what a process had, and the process not:
// if one is killed while it starts another, the other one may never have been.
func Lives(word string) bool {
	if !Detected() {
		return true
	}
	for range 20 { // one that executes its program this moment has no arguments
		test := false
		for _, words := range system() {
			test = test || strings.EqualFold(filepath.Base(words[0]), filepath.Base(os.Args[0]))
			if slices.Contains(words, word) {
				return true
			}
		}
		if !test { // who does not see this process says nothing
			return true
		}
		time.Sleep(100 * time.Millisecond)
	}
	return false
}

// system returns the arguments of all processes of the system, by their directories.
func system() map[string][]string {
	all := make(map[string][]string)
	processes, _ := filepath.Glob(`Z:\proc\[0-9]*\cmdline`)
	for _, path := range processes {
		if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
			all[filepath.Dir(path)] = strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
		}
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
