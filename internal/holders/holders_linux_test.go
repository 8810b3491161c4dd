package holders

import (
	"os"
	"os/exec"
	"slices"
	"testing"
)

// TestOf: who can write to a pipe holds it, as long as it lives; who reads from it
// does not, nor does this process.
func TestOf(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	start := func(cmd *exec.Cmd) func() error {
		stdin, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return stdin.Close
	}
	writer, reader := exec.Command("cat"), exec.Command("cat")
	writer.Stdout = w
	reader.ExtraFiles = []*os.File{r}
	endWriter, endReader := start(writer), start(reader)
	defer endReader()

	pids := func(ends ...End) (pids []int) {
		for _, p := range Of(ends) {
			pids = append(pids, p.PID)
		}
		return pids
	}
	for name, f := range map[string]*os.File{"the reader's end": r, "the writer's end": w} {
		if got := pids(EndOf(f)); !slices.Equal(got, []int{writer.Process.Pid}) {
			t.Errorf("%s: held by %v, want %d alone", name, got, writer.Process.Pid)
		}
	}
	endWriter()
	writer.Wait()
	if got := pids(EndOf(r)); got != nil {
		t.Errorf("still held by %v", got)
	}
	endReader()
	reader.Wait()
	w.Close()
	if got := pids(EndOf(w)); got != nil {
		t.Errorf("a closed file is held by %v", got)
	}
}
