package helper

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/windows"
)

// setName does nothing: arguments identify a helper.
func setName(string) {}

// verifyParent returns the process that has started this one. It must be the one that
// the argument names, must be the same user's, must not have fewer rights, as a program
// has that the user runs as administrator, and must run the same program, unless it has
// named this one by HelperPath.
func verifyParent(argument string) (int, error) {
	number, named := strings.CutSuffix(argument, ","+code.NamedByOwner)
	pid, err := strconv.Atoi(number)
	if err != nil {
		return 0, errors.New("its arguments are not a runner's")
	}
	if parent := os.Getppid(); parent != pid {
		return 0, fmt.Errorf("its parent is process %d, not the owner, %d", parent, pid)
	}
	self, err := proctree.Identify(os.Getpid())
	if err != nil {
		return 0, err
	}
	owner, err := proctree.Identify(pid)
	if err != nil || owner.Start > self.Start {
		return 0, fmt.Errorf("the owner, process %d, has ended", pid)
	}
	h, err := windows.OpenProcess(windows.PROCESS_QUERY_LIMITED_INFORMATION, false, uint32(pid))
	if err != nil {
		return 0, fmt.Errorf("the owner, process %d: %w", pid, os.NewSyscallError("OpenProcess", err))
	}
	defer windows.CloseHandle(h)
	if err := mayOwn(h); err != nil {
		return 0, fmt.Errorf("the owner, process %d: %w", pid, err)
	}
	if named {
		return pid, nil
	}
	theirs, err := imageOf(h)
	if err != nil {
		return 0, err
	}
	ours, err := imageOf(windows.CurrentProcess())
	if err != nil {
		return 0, err
	}
	if !strings.EqualFold(theirs, ours) {
		return 0, fmt.Errorf("the owner, process %d, runs another program, and has not named this one by HelperPath", pid)
	}
	return pid, nil
}

// mayOwn returns why the process has no right to tell this one what to do.
func mayOwn(process windows.Handle) error {
	var token windows.Token
	if err := windows.OpenProcessToken(process, windows.TOKEN_QUERY, &token); err != nil {
		return os.NewSyscallError("OpenProcessToken", err)
	}
	defer token.Close()
	theirs, err := token.GetTokenUser()
	if err != nil {
		return os.NewSyscallError("GetTokenInformation", err)
	}
	own := windows.GetCurrentProcessToken()
	ours, err := own.GetTokenUser()
	if err != nil {
		return os.NewSyscallError("GetTokenInformation", err)
	}
	switch {
	case !theirs.User.Sid.Equals(ours.User.Sid):
		return errors.New("it is another user's")
	case own.IsElevated() && !token.IsElevated():
		return errors.New("it does not run as administrator, as this process does")
	}
	return nil
}

// imageOf returns the path of the program that the process runs.
func imageOf(process windows.Handle) (string, error) {
	for size := uint32(windows.MAX_PATH); ; size *= 2 {
		buf := make([]uint16, size)
		n := size
		err := windows.QueryFullProcessImageName(process, 0, &buf[0], &n)
		if err == nil {
			return windows.UTF16ToString(buf[:n]), nil
		}
		if err != windows.ERROR_INSUFFICIENT_BUFFER || size > windows.MAX_LONG_PATH {
			return "", os.NewSyscallError("QueryFullProcessImageName", err)
		}
	}
}
