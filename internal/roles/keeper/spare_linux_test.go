package keeper

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wire/code"
	"golang.org/x/sys/unix"
)

// TestEndedBetweenLooks: a child that ends between the list of children and the look
// at it leaves what it has started to this process, where the list does not have it.
// So nobody concludes from that list that nobody is left.
func TestEndedBetweenLooks(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	k := &keeper{
		endedChildren: make(map[int]bool), sparedChildren: make(map[int]bool),
		killedChildren: make(map[int]bool), killed: make(map[proctree.ID]bool),
	}
	defer k.children.Close()
	cmd := exec.Command("sh", "-c", "sleep 50 >/dev/null & echo $!; read x")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	var below int
	if _, err := fmt.Fscan(out, &below); err != nil {
		t.Fatal(err)
	}
	child := cmd.Process.Pid
	if left, fresh, err := k.strangersAmong([]int{child}); left != 1 || fresh || err != nil {
		t.Errorf("while the child lives: %d, %v, %v", left, fresh, err)
	}
	in.Close()
	if err := unix.Waitid(unix.P_PID, child, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(os.NewSyscallError("waitid", err))
	}
	if left, fresh, err := k.strangersAmong([]int{child}); left != 0 || !fresh || err != nil {
		t.Errorf("when it has ended: %d, %v, %v", left, fresh, err)
	}
	// One that cannot be reaped, because it is traced, must not prolong that for ever.
	if left, fresh, err := k.strangersAmong([]int{child}); left != 0 || fresh || err != nil {
		t.Errorf("at the next look at the same: %d, %v, %v", left, fresh, err)
	}
	if k.sweepAround() == 0 {
		t.Error("an orphan that has been adopted is not seen")
	}
	k.killing = true
	for k.sweepAround() > 0 {
		unix.Poll(nil, 1)
	}
	if err := unix.Kill(below, 0); err != unix.ESRCH {
		t.Errorf("the orphan is not gone: %v", err)
	}
}

// TestSpareRequest: a keeper lets go only where the run may, and does not wait for the
// rest of a request, which whoever has the owner's end of the line may have begun.
func TestSpareRequest(t *testing.T) {
	was, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(was)
	defer unix.Dup3(was, 0, 0)
	self, err := proctree.Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	request := binary.NativeEndian.AppendUint64([]byte{code.Spare}, uint64(self.PID))
	request = binary.NativeEndian.AppendUint64(request, self.Start)
	for _, spares := range []bool{true, false} {
		for read := range len(request) + 1 { // the owner is gone by then
			line, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				t.Fatal(err)
			}
			unix.Dup3(line[0], 0, 0)
			unix.Close(line[0])
			k := new(keeper)
			k.spares = spares
			k.fds = [3]unix.PollFd{{Events: unix.POLLIN}, {Fd: -1}, {Fd: -1}}
			for _, b := range request[:read] {
				unix.Write(line[1], []byte{b})
				k.await(0)
			}
			if len(k.begun) > 0 && !spares {
				t.Errorf("begun: %q", k.begun)
			}
			if got := k.spared.Empty(); got != (!spares || read < len(request)) {
				t.Errorf("%d bytes of the request, in a run that lets go: %v; the keeper has let go of nobody: %v", read, spares, got)
			}
			unix.Write(line[1], request[read:])
			k.orphaned()
			if got := k.spared.Empty(); got != !spares {
				t.Errorf("all of the request, %d bytes before the owner's end, in a run that lets go: %v; the keeper has let go of nobody: %v", read, spares, got)
			}
			unix.Close(line[1])
		}
	}
}
