package keeper

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/corral-run/corral/internal/proctree"
	"github.com/corral-run/corral/internal/wire/code"
)

// canSpare: the keeper tells members from those that it has let go of.
const canSpare = true

// Spare tells the keeper, which from then on keeps its hands off the process, also
// when the owner is gone. When the run is over, the keeper ends, and the process
// goes to whoever adopts orphans above it.
func (k *containment) Spare(id proctree.ID) error {
	k.wake()
	request := binary.NativeEndian.AppendUint64([]byte{code.Spare}, uint64(id.PID))
	request = binary.NativeEndian.AppendUint64(request, id.Start)
	k.line.SetWriteDeadline(time.Now().Add(answerTime))
	if _, err := k.line.Write(request); err != nil {
		return fmt.Errorf("corral: cannot tell the keeper to let go of process %d: %w", id.PID, err)
	}
	k.spared.Add(id)
	return nil
}
