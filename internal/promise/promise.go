// Package promise is the one place that says what each containment promises on
// each system. The tables in doc.go, docs/guarantees.md and README.md are written from
// it (go test ./internal/promise -update). corral doctor reads it. Its test compares it
// with the ladder of every system.
package promise

// State says how far a promise has come.
type State string

const (
	// CI runs the tests of the escape package against it.
	Tested State = "tested"
	// So does it here, but not on the real system.
	UnderWine State = "tested under Wine"
	// CI compiles and vets it.
	NotRun State = "built, not yet run"
)

// Promise is about one containment on one system, in words for tables.
type Promise struct {
	Containment string // a corral.Containment
	OS          string // a GOOS
	Needs       string // besides the system
	Escapes     string // what can get away while the owner lives
	OwnerKilled string // what happens to the run when its owner gets SIGKILL
	State       State
}

// all has the strongest first.
var all = []Promise{
	{"pidns", "linux", "/proc, root or user namespaces; on request", "nothing", "the keeper stops all, the kernel the rest", Tested},
	{"job", "windows", "nothing", "nothing", "the kernel kills all", UnderWine},
	{"cgroup", "linux", "/proc, Linux 5.7, a cgroup2 directory to write to", "a privileged member", "the guard stops all", Tested},
	{"keeper", "linux", "/proc", "nothing, unless the keeper is killed", "the keeper stops all", Tested},
	{"keeper", "freebsd", "nothing", "nothing, unless the keeper is killed", "the keeper stops all", NotRun},
	{"keeper", "darwin", "nothing", "a quick double fork", "the keeper stops what it knows", NotRun},
	{"group", "linux", "/proc", "setsid, setpgid", "only the leader is killed", Tested},
	{"group", "freebsd", "nothing", "setsid, setpgid", "only the leader is killed", NotRun},
	{"group", "darwin", "nothing", "setsid, setpgid", "nothing is killed", NotRun},
}

// On returns the promises on a system, the strongest first. There are none if no
// containment is known there.
func On(goos string) []Promise {
	if goos == "android" { // build constraints take it for linux too
		goos = "linux"
	}
	var here []Promise
	for _, p := range all {
		if p.OS == goos {
			here = append(here, p)
		}
	}
	return here
}
