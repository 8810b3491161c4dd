// Package poor makes a process short of what programs take for granted: file
// descriptors, processes, /proc, system calls, room on the disk. It is for the
// tests of this module: a run on such a machine works, or says why it does not.
package poor

// Machine is what a process lacks. The zero value lacks nothing.
type Machine struct {
	Kind Kind
	// Number is how many descriptors or processes there are.
	Number int `json:",omitempty"`
	// Group is the control group of version 1 that NewGroup has made for
	// FewProcesses. Without one, it is the user's limit, in a user namespace.
	Group string `json:",omitempty"`
}

// Kind is one way to be poor.
type Kind string

// The kinds. None of them needs another.
const (
	Rich         Kind = ""
	FewFiles     Kind = "few descriptors"
	FewProcesses Kind = "few processes"
	NoProc       Kind = "no /proc"
	ForeignProc  Kind = "foreign /proc" // of a PID namespace without this process
	FullDisk     Kind = "full disk"
	NoSubreaper  Kind = "no subreaper"
	NoClone3     Kind = "no clone3"
	NoPidfds     Kind = "no pidfds"
	NoWaitid     Kind = "no waitid"
	NoPoll       Kind = "no ppoll"
)

// Kinds are all but Rich.
var Kinds = []Kind{FewFiles, FewProcesses, NoProc, ForeignProc, FullDisk, NoSubreaper, NoClone3, NoPidfds, NoWaitid, NoPoll}
