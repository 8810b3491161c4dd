package job

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// attributeJobList is PROC_THREAD_ATTRIBUTE_JOB_LIST (UpdateProcThreadAttribute):
// the jobs that a process is in from its creation.
const attributeJobList = 0x2000d

// startInJob creates the process as cmd.Start does, but in the job. os/exec has no
// way to ask for that, and the owner could be killed between the creation of a
// suspended process and its assignment to a job.
//
// The caller closes both handles.
func startInJob(cmd *exec.Cmd, job windows.Handle) (*windows.ProcessInformation, error) {
	if cmd.Err != nil {
		return nil, cmd.Err
	}
	path, err := executable(cmd.Path, cmd.Dir)
	if err != nil {
		return nil, err
	}
	p, err := createInJob(path, cmd, job)
	if err != nil {
		return nil, &os.PathError{Op: "fork/exec", Path: path, Err: err}
	}
	return p, nil
}

// executable returns the file that path names in dir, and adds the extension if
// path has none. A relative path is relative to dir, as on other systems;
// CreateProcess would take it as relative to the owner's directory.
func executable(path, dir string) (string, error) {
	if filepath.Base(path) == path {
		path = "." + string(filepath.Separator) + path // not from %PATH%, which was searched for Cmd.Path
	}
	if dir != "" && !filepath.IsAbs(path) {
		abs, err := filepath.Abs(dir)
		if err != nil {
			return "", err
		}
		switch {
		case filepath.VolumeName(path) != "": // relative to another drive's directory
		case os.IsPathSeparator(path[0]):
			path = filepath.VolumeName(abs) + path
		default:
			path = filepath.Join(abs, path)
		}
	}
	return exec.LookPath(path)
}

// createInJob creates the process from the file at path.
func createInJob(path string, cmd *exec.Cmd, job windows.Handle) (*windows.ProcessInformation, error) {
	if len(cmd.ExtraFiles) > 0 {
		return nil, syscall.EWINDOWS
	}
	names, block, err := describe(path, cmd)
	if err != nil {
		return nil, err
	}
	attr := cmd.SysProcAttr
	parent := windows.CurrentProcess()
	if attr.ParentProcess != 0 {
		parent = windows.Handle(attr.ParentProcess)
	}
	inherited, err := standardHandles(cmd, parent)
	defer closeIn(parent, inherited)
	if err != nil {
		return nil, err
	}
	startup := new(windows.StartupInfoEx)
	startup.Cb = uint32(unsafe.Sizeof(*startup))
	startup.Flags = windows.STARTF_USESTDHANDLES
	startup.StdInput, startup.StdOutput, startup.StdErr = inherited[0], inherited[1], inherited[2]
	if attr.HideWindow {
		startup.Flags |= windows.STARTF_USESHOWWINDOW
		startup.ShowWindow = windows.SW_HIDE
	}
	also := inherited[:3:3]
	for _, h := range attr.AdditionalInheritedHandles {
		if h != 0 { // with a 0 in the list none would be inherited
			also = append(also, windows.Handle(h))
		}
	}
	list, err := attributeList(attr, &job, &parent, also)
	if err != nil {
		return nil, err
	}
	defer list.Delete()
	startup.ProcThreadAttributeList = list.List()

	security := func(s *syscall.SecurityAttributes) *windows.SecurityAttributes {
		return (*windows.SecurityAttributes)(unsafe.Pointer(s)) // the system's structure, in both packages
	}
	flags := attr.CreationFlags | windows.CREATE_UNICODE_ENVIRONMENT | windows.EXTENDED_STARTUPINFO_PRESENT
	created := new(windows.ProcessInformation)
	if attr.Token != 0 {
		err = windows.CreateProcessAsUser(windows.Token(attr.Token), names.path, names.line, security(attr.ProcessAttributes),
			security(attr.ThreadAttributes), !attr.NoInheritHandles, flags, &block[0], names.dir, &startup.StartupInfo, created)
	} else {
		err = windows.CreateProcess(names.path, names.line, security(attr.ProcessAttributes),
			security(attr.ThreadAttributes), !attr.NoInheritHandles, flags, &block[0], names.dir, &startup.StartupInfo, created)
	}
	return created, err
}

// names are the strings that CreateProcess takes, nil if empty.
type names struct{ path, line, dir *uint16 }

// describe returns the names and the environment.
func describe(path string, cmd *exec.Cmd) (n names, block []uint16, err error) {
	if block, err = environmentBlock(cmd.Environ()); err != nil {
		return n, nil, err
	}
	line := cmd.SysProcAttr.CmdLine
	if line == "" {
		args := cmd.Args
		if len(args) == 0 {
			args = []string{cmd.Path}
		}
		line = commandLine(args)
	}
	for _, name := range []struct {
		text string
		at   **uint16
	}{{path, &n.path}, {line, &n.line}, {cmd.Dir, &n.dir}} {
		if name.text == "" {
			continue
		}
		if *name.at, err = windows.UTF16PtrFromString(name.text); err != nil {
			return n, nil, err
		}
	}
	return n, block, nil
}

// standardHandles returns the new process's standard streams: inheritable copies in
// the process that will be its parent. The caller closes them, also after an error.
func standardHandles(cmd *exec.Cmd, parent windows.Handle) (copies []windows.Handle, err error) {
	self := windows.CurrentProcess()
	for _, stream := range []any{cmd.Stdin, cmd.Stdout, cmd.Stderr} {
		f, ok := stream.(*os.File)
		if !ok || f == nil {
			if f, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return copies, err
			}
			defer f.Close()
		}
		var h windows.Handle
		err := windows.DuplicateHandle(self, windows.Handle(f.Fd()), parent, &h, 0, true, windows.DUPLICATE_SAME_ACCESS)
		if err != nil {
			return copies, os.NewSyscallError("DuplicateHandle", err)
		}
		copies = append(copies, h)
	}
	return copies, nil
}

// closeIn closes handles of another process.
func closeIn(process windows.Handle, handles []windows.Handle) {
	for _, h := range handles {
		windows.DuplicateHandle(process, h, 0, nil, 0, false, windows.DUPLICATE_CLOSE_SOURCE)
	}
}

// attributeList says what job the new process is in, what its parent is, and what
// it inherits. It points to its arguments, which must live as long.
func attributeList(attr *syscall.SysProcAttr, job, parent *windows.Handle, inherited []windows.Handle) (*windows.ProcThreadAttributeListContainer, error) {
	list, err := windows.NewProcThreadAttributeList(3)
	if err != nil {
		return nil, err
	}
	err = list.Update(attributeJobList, unsafe.Pointer(job), unsafe.Sizeof(*job))
	if err == nil && attr.ParentProcess != 0 {
		err = list.Update(windows.PROC_THREAD_ATTRIBUTE_PARENT_PROCESS, unsafe.Pointer(parent), unsafe.Sizeof(*parent))
	}
	if err == nil && !attr.NoInheritHandles {
		err = list.Update(windows.PROC_THREAD_ATTRIBUTE_HANDLE_LIST, unsafe.Pointer(&inherited[0]), uintptr(len(inherited))*unsafe.Sizeof(inherited[0]))
	}
	if err != nil {
		list.Delete()
		return nil, err
	}
	return list, nil
}

// commandLine joins args so that most programs split the line as intended.
func commandLine(args []string) string {
	escaped := make([]string, len(args))
	for i, arg := range args {
		escaped[i] = syscall.EscapeArg(arg)
	}
	return strings.Join(escaped, " ")
}

// environmentBlock is env in the form that CreateProcess wants: sorted, with a NUL
// after each variable and one more at the end.
func environmentBlock(env []string) ([]uint16, error) {
	env = slices.Clone(env)
	name := func(variable string) string {
		before, _, _ := strings.Cut(variable, "=")
		return strings.ToUpper(before)
	}
	slices.SortStableFunc(env, func(a, b string) int { return strings.Compare(name(a), name(b)) })
	var block []uint16
	for _, variable := range env {
		text, err := windows.UTF16FromString(variable)
		if err != nil {
			return nil, errors.New("exec: environment variable contains NUL")
		}
		block = append(block, text...)
	}
	if len(block) == 0 {
		block = append(block, 0)
	}
	return append(block, 0), nil
}
