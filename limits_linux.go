package corral

import (
	"os"
	"syscall"
)

// blockBytes is what the process, and those it has waited for, have read from block
// devices and written to them. The kernel counts bytes, and tells blocks of 512
// (task_io_get_inblock in its task_io_accounting_ops.h).
func blockBytes(state *os.ProcessState) (read, written *int64) {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return nil, nil
	}
	const block = 512
	in, out := int64(usage.Inblock)*block, int64(usage.Oublock)*block
	return &in, &out
}
