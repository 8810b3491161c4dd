// Package code has the numbers that owners and helpers tell each other. It imports
// nothing, for helpers that have no runtime, or that begin before most packages are
// initialised.
package code

// The owner's requests, which follow the spec, are one byte each.
const (
	Kill = 'k' // kill the run
	Reap = 'r' // reap the leader, which has ended: the run goes on for long
	// Finish has the keeper reap the leader and end as it did. Others may have
	// taken the owner's end of the line, so the keeper first kills whoever is to be
	// stopped.
	Finish = 'f'
	// AskMembers asks who the members are, where only the keeper knows.
	AskMembers = 'm'
	// LetGo says that the owner lets go of the run, and closes the line.
	LetGo = 'd'
	Ping  = 'p' // asks for a Pong
	// Spare lets go of one process and all that it starts. Its PID and its start
	// time follow, eight bytes each.
	Spare = 's'
	// SignalBase plus the number of a signal has the keeper send the signal to
	// every member: the owner may be out of descriptors. The number is less than
	// SignalBase.
	SignalBase = 0x80
)

// Kind is what an event tells.
type Kind int

const (
	Started Kind = iota + 1
	Failed
	Ended
	NowEmpty    // after Ended: no member is left
	LeaderUsage // after Ended, where only reaping tells what the leader has used
	MemberList  // the answer to AskMembers
	Pong        // the answer to Ping
)

// KeeperRole is the name of the keeper's role, and NamedByOwner the last argument of
// a helper that is not the owner's program.
const (
	KeeperRole   = "corral-keeper"
	NamedByOwner = "HelperPath"
)

// GuardReady is what the guard sends when it has all that it needs.
const GuardReady = 'r'
