//go:build linux || darwin || freebsd

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// whyCannot returns a better error for a path that could not be executed, nil if
// err has it right. An error that looks as if it were about path may be about what
// runs it, a script's interpreter or a program's loader, or path is a directory.
func whyCannot(path string, err error) error {
	if err == syscall.EACCES && isDirectory(path) {
		return syscall.EISDIR
	}
	if _, missing := os.Stat(path); err == syscall.ELOOP && missing == nil {
		return fmt.Errorf("its interpreter is a script, and so is that one's, and so on: %w", err)
	}
	if err != syscall.ENOENT && err != syscall.EACCES && err != syscall.ENOTDIR {
		return nil
	}
	// An interpreter may be a script and have one itself: execve(2) allows a few.
	for range 5 {
		runner, role := runnerOf(path)
		if runner == "" {
			return nil
		}
		info, missing := os.Stat(runner)
		switch {
		case missing != nil:
			why := missing
			var at *fs.PathError
			if errors.As(missing, &at) {
				why = at.Err
			}
			hint := ""
			if bytes.HasSuffix([]byte(runner), []byte("\r")) {
				hint = "; its lines end as on Windows, with CR and LF"
			}
			return fmt.Errorf("its %s %s: %w%s", role, runner, why, hint)
		case info.IsDir():
			return fmt.Errorf("its %s %s is a directory: %w", role, runner, err)
		case err == syscall.EACCES && info.Mode()&0o111 == 0:
			return fmt.Errorf("its %s %s: %w", role, runner, err)
		}
		path = runner
	}
	return nil
}

// runnerOf returns the interpreter or loader that runs the file, and which of the
// two it is; empty if it has none, or that cannot be found out.
func runnerOf(path string) (runner, role string) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() { // a FIFO would have to be waited for
		return "", ""
	}
	f, err := os.Open(path)
	if err != nil {
		return "", ""
	}
	defer f.Close()
	b := make([]byte, 256) // BINPRM_BUF_SIZE of Linux
	n, _ := io.ReadFull(f, b)
	if line, script := bytes.CutPrefix(b[:n], []byte("#!")); script {
		line, _, _ = bytes.Cut(line, []byte("\n"))
		line = bytes.TrimLeft(line, " \t")
		if end := bytes.IndexAny(line, " \t\x00"); end >= 0 {
			line = line[:end]
		}
		return string(line), "interpreter"
	}
	if loader := loaderOf(f, b[:n]); loader != "" {
		return loader, "loader"
	}
	return "", ""
}

// interpreterLine returns the words of the #! line of a script, nil if path is none.
// A name without a slash is looked for in PATH, where execve(2) gives the script the
// path that was found.
func interpreterLine(path string) []string {
	if !strings.Contains(path, "/") {
		return nil
	}
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() { // a FIFO would have to be waited for
		return nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	b := make([]byte, 256) // BINPRM_BUF_SIZE of Linux
	n, _ := io.ReadFull(f, b)
	line, script := strings.CutPrefix(string(b[:n]), "#!")
	if !script {
		return nil
	}
	line, _, _ = strings.Cut(line, "\n")
	return strings.Fields(line)
}

// loaderOf returns what an ELF program names in its part of type PT_INTERP, elf(5);
// empty if there is nothing. head is the beginning of the file. debug/elf knows
// more, and comes with packages that every start of corral would have to initialise.
func loaderOf(f io.ReaderAt, head []byte) string {
	const header, interp = 64, 3
	if len(head) < header || !bytes.HasPrefix(head, []byte("\x7fELF")) {
		return ""
	}
	var order binary.ByteOrder = binary.LittleEndian
	if head[5] == 2 {
		order = binary.BigEndian
	}
	short := func(b []byte, at int) int { return int(order.Uint16(b[at:])) }
	word := func(b []byte, at int) int64 { return int64(order.Uint32(b[at:])) }
	parts, size, count, offset, length := word(head, 28), short(head, 42), short(head, 44), 4, 16
	if head[4] == 2 { // 64 bits
		word = func(b []byte, at int) int64 { return int64(order.Uint64(b[at:])) }
		parts, size, count, offset, length = word(head, 32), short(head, 54), short(head, 56), 8, 32
	}
	table := make([]byte, min(size*count, 1<<16)) // more, and the kernel would not run it
	n, _ := f.ReadAt(table, parts)
	for table = table[:n]; size >= length+8 && len(table) >= size; table = table[size:] {
		if order.Uint32(table) != interp {
			continue
		}
		name := make([]byte, max(0, min(word(table, length), 4096)))
		n, _ := f.ReadAt(name, word(table, offset))
		name, _, _ = bytes.Cut(name[:n], []byte{0})
		return string(name)
	}
	return ""
}
