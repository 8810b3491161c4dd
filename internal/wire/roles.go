package wire

// The names of the roles that helpers have.
const (
	KeeperRole  = "corral-keeper"  // holds one run, between the owner and the leader
	GuardRole   = "corral-guard"   // stops what an owner leaves in control groups
	ConsoleRole = "corral-console" // attaches to a console, to send an event to it
)
