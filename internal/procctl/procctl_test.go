//go:build unix

package procctl

import (
	"encoding/binary"
	"errors"
	"slices"
	"syscall"
	"testing"
	"unsafe"
)

// record writes a struct procctl_reaper_pidinfo as the kernel does.
func record(pid, subtree int32, flags uint32) []byte {
	b := make([]byte, 72)
	binary.NativeEndian.PutUint32(b[0:], uint32(pid))
	binary.NativeEndian.PutUint32(b[4:], uint32(subtree))
	binary.NativeEndian.PutUint32(b[8:], flags)
	return b
}

// TestLayout: the structures read what the kernel writes.
func TestLayout(t *testing.T) {
	list := make([]pidInfo, 3)
	b := unsafe.Slice((*byte)(unsafe.Pointer(&list[0])), 3*72)
	copy(b, slices.Concat(record(70001, 70000, 0x1|0x2), record(70002, 70000, 0x1|0x4|0x8)))
	if got := filled(list); len(got) != 2 || got[0].pid != 70001 || got[0].flags&infoChild == 0 || got[0].flags&infoReaper != 0 ||
		got[1].pid != 70002 || got[1].flags&infoChild != 0 || got[1].flags&infoReaper == 0 {
		t.Errorf("%+v", got)
	}
	copy(b[2*72:], record(70003, 70000, 0x1))
	if got := filled(list); len(got) != 3 {
		t.Errorf("%+v", got)
	}

	var s status
	b = unsafe.Slice((*byte)(unsafe.Pointer(&s)), 80)
	for i, v := range []uint32{0x1, 2, 3, 4, 5} {
		binary.NativeEndian.PutUint32(b[4*i:], v)
	}
	if s.flags&statusOwned == 0 || s.descendants != 3 {
		t.Errorf("%+v", s)
	}

	b = unsafe.Slice((*byte)(unsafe.Pointer(&killing{signal: 9})), 80)
	if slices.ContainsFunc(b[4:], func(b byte) bool { return b != 0 }) || binary.NativeEndian.Uint32(b) != 9 {
		t.Errorf("% x", b)
	}
}

// tree is a kernel that has reapers with these lists.
type tree struct {
	reapers map[int][]pidInfo
	// grow is how many entries more there are each time the list is read.
	grow int
}

func (r *tree) status(id int) (status, error) {
	list, ok := r.reapers[id]
	if !ok {
		return status{}, syscall.ESRCH
	}
	return status{flags: statusOwned, descendants: uint32(len(list))}, nil
}

func (r *tree) pids(id int, list []pidInfo) error {
	for range r.grow {
		r.reapers[id] = append(r.reapers[id], pidInfo{pid: int32(1000 + len(r.reapers[id])), flags: infoValid})
	}
	r.grow /= 2
	copy(list, r.reapers[id])
	return nil
}

func TestDescendants(t *testing.T) {
	r := &tree{reapers: map[int][]pidInfo{
		100: {{pid: 101, flags: infoValid | infoChild}, {pid: 102, flags: infoValid | infoReaper}, {pid: 103, flags: infoValid | infoReaper}},
		102: {{pid: 104, flags: infoValid}, {pid: 105, flags: infoValid | infoReaper}},
		// Nobody is below itself.
		105: {{pid: 106, flags: infoValid}, {pid: 100, flags: infoValid}},
		// 103 has ended since.
	}}
	got, err := descendants(r, 100)
	if want := []int{101, 102, 103, 104, 105, 106}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	if got, err := descendants(r, 101); !errors.Is(err, syscall.ESRCH) || got != nil {
		t.Errorf("below what is no reaper: %v, %v", got, err)
	}
}

// TestListGrows: it reads a list again that was too short.
func TestListGrows(t *testing.T) {
	r := &tree{reapers: map[int][]pidInfo{100: {{pid: 101, flags: infoValid}}}, grow: 100}
	got, err := descendants(r, 100)
	if err != nil || len(got) != len(r.reapers[100]) || len(got) < 100 {
		t.Errorf("%d of %d, %v", len(got), len(r.reapers[100]), err)
	}
}

// TestSweep: nothing is left when all but one are zombies of the reaper's own.
func TestSweep(t *testing.T) {
	const child = infoValid | infoChild
	r := &tree{reapers: map[int][]pidInfo{
		100: {{pid: 101, flags: child}, {pid: 102, flags: child}, {pid: 103, flags: child | infoReaper}, {pid: 104, flags: infoValid}},
		103: {{pid: 105, flags: child}},
	}}
	zombies := map[int]bool{101: true, 102: true}
	reap := func(pid int) bool {
		if pid == 101 || pid == 104 || pid == 105 {
			t.Errorf("%d is asked for", pid)
		}
		if !zombies[pid] {
			return false
		}
		r.reapers[100] = slices.DeleteFunc(r.reapers[100], func(p pidInfo) bool { return int(p.pid) == pid })
		return true
	}
	// Left are 101, 103, 104.
	if left, err := sweep(r, 100, 101, reap); left != 3 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	// 103 ends, and leaves 105 to 100.
	delete(r.reapers, 103)
	zombies[103] = true
	r.reapers[100] = append(r.reapers[100], pidInfo{pid: 105, flags: infoValid})
	// Left are 101, 104, 105.
	if left, err := sweep(r, 100, 101, reap); left != 3 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	r.reapers[100] = r.reapers[100][:1]
	if left, err := sweep(r, 100, 101, reap); left != 1 || err != nil {
		t.Errorf("%d left, %v", left, err)
	}
	if _, err := sweep(r, 103, 101, reap); !errors.Is(err, syscall.ESRCH) {
		t.Error(err)
	}
}
