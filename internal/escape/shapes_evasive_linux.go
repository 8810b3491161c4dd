package escape

import (
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

// Each of these, and each in a file of its own (shape_*_linux.go), defeats one way
// in which Linux lets a containment find, hold or kill its processes: the
// environment and the name, the parent, the PID and the user, a signal, the
// parent-death signal, cgroup.kill, a wait, the control group, a limit.

// Nothing that it was given tells whose it is. A search for a variable in the
// environment, for a name or for arguments misses it, and so does one along the
// parents or in the session.
var _ = add(Child{
	Name: "scrubbed",
	Doc: `a "renamed": a daemon made as that of the child daemon, with an empty environment, which calls itself ` +
		kernelThread + `, in its arguments too; its parent is gone`,
	Members:    2,
	mainThread: []string{"renamed"},
}, parts{
	"leader": func(p *process) {
		p.waitFor(p.member("renamed-parent", &syscall.SysProcAttr{Setsid: true}, nil))
		p.lead()
	},
	"renamed-parent": func(p *process) {
		p.start("renamed", nil, &os.ProcAttr{Dir: "/", Env: []string{}})
	},
	"renamed": rename,
})

// The orphan does not come to the subreaper that a containment has above the tree
// before the reaper has ended. Killing the orphan leaves a zombie, which nobody
// else can reap.
var _ = add(Child{
	Name: "subreaper",
	Doc: `a "reaper", which adopts orphans (PR_SET_CHILD_SUBREAPER), never waits for them, and ignores SIGHUP, ` +
		`SIGINT and SIGTERM, and an "orphan" in another session, which it has adopted`,
	Members: 3,
}, parts{
	"leader": func(p *process) {
		p.member("reaper", nil, nil)
		p.lead()
	},
	"reaper": func(p *process) {
		p.notify()
		p.prctl(unix.PR_SET_CHILD_SUBREAPER, 1)
		p.waitFor(p.member("orphan-parent", &syscall.SysProcAttr{Setsid: true}, nil))
		p.named(os.Getpid(), "reaper")
		p.stay()
	},
	"orphan-parent": func(p *process) { p.leaf("orphan", nil) },
})

// What these see of their own PIDs and user is not what others see. The init is
// immune to signals for which it has no handler, SIGKILL included, unless they come
// from outside.
var _ = add(Child{
	Name: "own-ns",
	Doc: `an "ns-init", which is PID 1 of a PID namespace, in a user namespace, and ignores SIGHUP, SIGINT and ` +
		`SIGTERM, and an "ns-child" in there, which does what it is told`,
	Members: 3,
	needs:   canUnshare,
}, parts{"leader": leadNamespaces, "ns-init": initNamespace})

// A tracee acts on no signal but SIGKILL, and nobody but its tracer can stop or
// continue it. When the tracer ends the tracee begins to run.
var _ = add(Child{
	Name: "traced",
	Doc: `a "tracer" and its child, a "tracee", which is stopped by ptrace(2) at its first instruction, ` +
		`and runs if the tracer ends; both do what they are told`,
	Members: 3,
	needs:   canTrace,
}, parts{
	"leader": func(p *process) {
		p.member("tracer", nil, nil)
		p.lead()
	},
	"tracer": func(p *process) {
		runtime.LockOSThread() // the tracer is a thread
		tracee := p.member("tracee", &syscall.SysProcAttr{Ptrace: true}, nil)
		p.waitStop(tracee)
		p.named(tracee.Pid, "tracee")
		p.named(os.Getpid(), "tracer")
		p.stay()
	},
	"tracee": (*process).stay,
})

// A containment has lost if it lets the kernel kill the tree by a parent-death
// signal when the owner ends, or learns of the end from a pipe.
var _ = add(Child{
	Name: "no-pdeathsig",
	Doc: `an "undying", which leads a session of its own and has closed all its descriptors but for the oracle; ` +
		`it has no parent-death signal, and the leader has cleared its own`,
	Members:    2,
	mainThread: []string{"no-pdeathsig", "undying"},
}, parts{
	"leader": func(p *process) {
		p.clearDeathSignal()
		p.memberReady("undying", &syscall.SysProcAttr{Setsid: true})
		p.lead()
	},
	"undying": func(p *process) {
		p.clearDeathSignal()
		p.named(os.Getpid(), "undying")
		p.becomeSleep(int(p.oracle.Fd()))
	},
})

// The kernel's cgroup.kill takes a process whose main thread has ended for one that
// is ending already, and polite signals do not reach this one either.
var _ = add(Child{
	Name: "undead",
	Doc: `a "zombie", which leads a session of its own and ignores SIGHUP, SIGINT and SIGTERM: ` +
		`the leader of its threads has exited, others live on`,
	Members:    2,
	mainThread: []string{"zombie"},
}, parts{
	"leader": func(p *process) {
		p.member("zombie", &syscall.SysProcAttr{Setsid: true}, nil)
		p.lead()
	},
	"zombie": func(p *process) {
		signal.Ignore(polite...)
		headless(p)
	},
})

// clearDeathSignal clears the parent-death signal, which whoever started the
// process may have set. It is an attribute of the main thread.
func (p *process) clearDeathSignal() {
	p.checkMainThread()
	p.prctl(unix.PR_SET_PDEATHSIG, 0)
}

// kernelThread is a name at which nobody looks twice.
const kernelThread = "kworker/u8:3"

func rename(p *process) {
	p.checkMainThread() // its name is the one of the process
	name, err := unix.BytePtrFromString(kernelThread)
	if err != nil {
		p.fail(err)
	}
	p.prctl(unix.PR_SET_NAME, uintptr(unsafe.Pointer(name)))
	runtime.KeepAlive(name)
	// The kernel put the arguments here, one after the other, each with a NUL at
	// its end.
	size := 0
	for _, arg := range os.Args {
		size += len(arg) + 1
	}
	title := unsafe.Slice(unsafe.StringData(os.Args[0]), size)
	p.role = "renamed" // it was part of them
	clear(title)
	copy(title[:size-1], kernelThread)
	p.named(os.Getpid(), p.role)
	p.stay()
}

// leadNamespaces reports the processes in the namespaces, which do not know their
// PIDs outside.
func leadNamespaces(p *process) {
	ns := p.memberReady("ns-init", namespaces())
	table, err := proctree.Snapshot()
	if err != nil {
		p.fail(err)
	}
	inside := proctree.Children(table, ns.Pid)
	if len(inside) != 1 {
		p.fail(fmt.Errorf("%d processes in the namespace of %d, want 1", len(inside), ns.Pid))
	}
	p.named(ns.Pid, "ns-init")
	p.named(inside[0].PID, "ns-child")
	p.lead()
}

func initNamespace(p *process) {
	const last = firstFile + 3 // see memberReady
	syscall.CloseOnExec(last)
	p.notify()
	// It ignores the SIGKILL of limit. SIGCONT lets it go on to its end even so.
	wake := newAlarm(p.deadline, syscall.SIGCONT)
	if call, errno := wake.set(); errno != 0 {
		p.fail(os.NewSyscallError(call, errno))
	}
	p.startSleep(nil)
	syscall.Close(last)
	p.stay()
}

func namespaces() *syscall.SysProcAttr {
	same := func(id int) []syscall.SysProcIDMap {
		return []syscall.SysProcIDMap{{ContainerID: id, HostID: id, Size: 1}}
	}
	return &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID,
		UidMappings: same(os.Getuid()),
		GidMappings: same(os.Getgid()),
	}
}

// What a child needs is tried with a process that only sleeps.
var (
	canUnshare = sync.OnceValue(func() error { return try(namespaces(), nil) })
	canTrace   = sync.OnceValue(func() error { return try(&syscall.SysProcAttr{Ptrace: true}, nil) })
)
