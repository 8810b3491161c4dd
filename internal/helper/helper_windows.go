package helper

import (
	"os"

	"golang.org/x/sys/windows"
)

// Owner would be the owner as its helper sees it: helpers do not outlive it here.
type Owner struct{}

// Program is the program that helpers are started from: helperPath if that is not
// empty, else the running program.
func Program(helperPath string) (string, error) {
	if helperPath != "" {
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

func become(_ string, main func(Owner)) {
	main(Owner{})
	os.Exit(0)
}
