//go:build linux || darwin || freebsd || windows

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"github.com/corral-run/corral"
)

// startCommand starts the command in args, made by build, as execvp(3) and the
// shells do: a file that is neither a program nor says in a #! line what runs it is
// a script for the shell.
func startCommand(args []string, build func([]string) *corral.Cmd) (*corral.Cmd, error) {
	if err := refuseOwnScript(args[0]); err != nil {
		return nil, err
	}
	cmd := build(args)
	err := cmd.Start()
	if words := scriptWords(cmd.Path, args, err); words != nil {
		cmd = build(words)
		err = cmd.Start()
	}
	return cmd, err
}

// scriptWords returns the words with which the shell runs the file at path, the first of
// args, nil if the error of its start does not make it a script for the shell.
func scriptWords(path string, args []string, err error) []string {
	if !errors.Is(err, errNotExecutable) || scriptShell == "" || !isText(path) {
		return nil
	}
	return append([]string{scriptShell, path}, args[1:]...)
}

// isText tells a script from a program for another machine by its beginning, as
// shells do. A file that cannot be read is left to the shell, which says so.
func isText(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return true
	}
	defer f.Close()
	b := make([]byte, 256)
	n, _ := io.ReadFull(f, b)
	return !bytes.Contains(b[:n], []byte{0})
}

// startError gives an error of Start the exit status that a shell, env(1) and
// timeout(1) have for it.
func startError(name string, err error) error {
	var lookup *exec.Error
	var start *fs.PathError
	var known *exitError
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &lookup):
		err = lookup.Err
	case errors.As(err, &start) && start.Op == "fork/exec":
		err = start.Err
		switch why := whyCannot(start.Path, err); {
		case why != nil:
			err = why
		case start.Path == scriptShell && name != scriptShell: // see startCommand
			err = fmt.Errorf("its interpreter %s: %w", scriptShell, err)
		}
	default:
		return &exitError{statusOwn, err}
	}
	found := inPath(name)
	switch {
	case name == "." || name == "..":
		return &exitError{statusCannot, fmt.Errorf("%s: is a directory", name)}
	case errors.Is(err, exec.ErrDot):
		return &exitError{statusCannot, fmt.Errorf("%s: it is in the working directory, which is in PATH; to run it, give its path: %s", name, filepath.FromSlash("./"+name))}
	case errors.Is(err, exec.ErrNotFound) && found != "" && isDirectory(found):
		return &exitError{statusCannot, fmt.Errorf("%s: %s is a directory", name, found)}
	case errors.Is(err, exec.ErrNotFound) && found != "":
		return &exitError{statusCannot, fmt.Errorf("%s: permission denied", name)}
	case errors.Is(err, exec.ErrNotFound):
		return &exitError{statusNotFound, fmt.Errorf("%s: command not found", name)}
	case errors.Is(err, fs.ErrNotExist):
		return &exitError{statusNotFound, fmt.Errorf("%s: %w", name, err)}
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return &exitError{statusOwn, fmt.Errorf("%s: %w", name, err)} // fork(2), not execve(2)
	}
	return &exitError{statusCannot, fmt.Errorf("%s: %w", name, err)}
}

// inPath returns the path of what is called name in PATH, a file rather than a
// directory, empty if there is none. For exec.LookPath a file that may not be
// executed, or a directory, is "not found" as well.
func inPath(name string) (found string) {
	if filepath.Base(name) != name {
		return ""
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && !info.IsDir() {
			return path
		} else if err == nil && found == "" {
			found = path
		}
	}
	return found
}

func isDirectory(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
