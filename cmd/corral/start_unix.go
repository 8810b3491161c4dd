//go:build linux || darwin || freebsd

package main

import (
	"bytes"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
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
	program, err := elf.NewFile(f)
	if err != nil {
		return "", ""
	}
	for _, part := range program.Progs {
		if part.Type == elf.PT_INTERP && part.Filesz < 4096 {
			b, _ := io.ReadAll(part.Open())
			b, _, _ = bytes.Cut(b, []byte{0})
			return string(b), "loader"
		}
	}
	return "", ""
}
