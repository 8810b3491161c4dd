package corral

// The names of the roles that helpers have.
const (
	keeperRole  = "corral-keeper"  // holds one run, between the owner and the leader
	guardRole   = "corral-guard"   // stops what an owner leaves in control groups
	consoleRole = "corral-console" // attaches to a console, to send an event to it
)
