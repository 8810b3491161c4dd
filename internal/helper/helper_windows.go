package helper

import (
	"os"

	"golang.org/x/sys/windows"
)

// Owner is empty: helpers do not outlive their owner here.
type Owner struct{}

// Program returns the program that helpers are started from: helperPath if that is
// not empty, else the running program.
func Program(helperPath string) (string, error) {
	if helperPath != "" {
		if _, err := os.Stat(helperPath); err != nil {
			return "", &PathError{err}
		}
		return helperPath, nil
	}
	return os.Executable()
}

// asked reports whether an owner has started this process: standard input is a
// pipe.
func asked() bool {
	kind, err := windows.GetFileType(windows.Handle(os.Stdin.Fd()))
	return len(os.Args) == 2 && err == nil && kind == windows.FILE_TYPE_PIPE
}

// become makes this process a helper.
func become(_ string, main func(Owner)) {
	main(Owner{})
	os.Exit(0)
}
