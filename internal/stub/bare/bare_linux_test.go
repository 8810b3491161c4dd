//go:build amd64 || arm64

package bare

import (
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/corral-run/corral/internal/wire"
)

// TestCallsNothing: what runs after the fork calls nothing of Go's runtime but what
// needs neither memory nor locks, however it has been compiled, and for whichever
// processor. The compiler's listing says what calls what.
func TestCallsNothing(t *testing.T) {
	type build struct {
		arch  string
		flags []string
	}
	var builds []build
	for _, arch := range []string{"amd64", "arm64"} {
		for _, flags := range [][]string{{"-gcflags=-S"}, {"-gcflags=-S -N -l"}, {"-gcflags=-S", "-cover"}} {
			builds = append(builds, build{arch, flags})
		}
	}
	if out, err := exec.Command("go", "env", "CGO_ENABLED").Output(); err == nil && strings.TrimSpace(string(out)) == "1" {
		builds = append(builds, build{runtime.GOARCH, []string{"-gcflags=-S", "-race"}})
	}
	for _, b := range builds {
		t.Run(b.arch+" "+strings.Join(b.flags, " "), func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command("go", append(append([]string{"build"}, b.flags...), ".")...)
			cmd.Env = append(cmd.Environ(), "GOARCH="+b.arch)
			listing, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, listing)
			}
			calls := callGraph(string(listing))
			for _, entry := range []string{"(*block).run", "(*block).guard"} {
				if len(calls[entry]) == 0 {
					t.Fatalf("the listing has no %s", entry)
				}
			}
			seen := make(map[string]bool)
			var visit func(name, from string)
			visit = func(name, from string) {
				if seen[name] {
					return
				}
				seen[name] = true
				callees, ours := calls[name]
				if !ours && !slices.Contains(harmless, name) && !strings.HasPrefix(name, "runtime.panic") {
					t.Errorf("%s calls %s", from, name)
				}
				for _, callee := range callees {
					visit(callee, name)
				}
			}
			visit("(*block).run", "")
			visit("(*block).guard", "")
		})
	}
}

// harmless are the functions outside this package that may be called. Those that
// panic or make a larger stack would end the process, and none of them is reached.
var harmless = []string{
	"syscall.RawSyscall6", "syscall.runtime_BeforeFork", "syscall.runtime_AfterFork", "vfork",
	"syscall.Syscall6", // where there is a runtime
	"runtime.memclrNoHeapPointers", "runtime.memmove", "runtime.duffzero", "runtime.duffcopy",
	"runtime.morestack_noctxt",
}

// TestDetachSuffix: the guard knows the runs that are to outlive their owner.
func TestDetachSuffix(t *testing.T) {
	if name := "12" + detachSuffix; !wire.IsDetached(name) || !endsWith([]byte(name), detachSuffix) || endsWith([]byte("12.15-5s"), detachSuffix) {
		t.Errorf("%q", detachSuffix)
	}
}

// callGraph reads what the compiler lists of this package with -S.
func callGraph(listing string) map[string][]string {
	const own = "github.com/corral-run/corral/internal/stub/bare."
	function := regexp.MustCompile(`^(\S+) STEXT`)
	call := regexp.MustCompile(`\t(?:CALL|JMP)\t(\S+?)\(SB\)`)
	calls := make(map[string][]string)
	current := ""
	for line := range strings.Lines(listing) {
		if m := function.FindStringSubmatch(line); m != nil {
			current = strings.TrimPrefix(m[1], own)
			calls[current] = append(calls[current], "")[:len(calls[current])]
		} else if m := call.FindStringSubmatch(line); m != nil {
			calls[current] = append(calls[current], strings.TrimPrefix(m[1], own))
		}
	}
	return calls
}
