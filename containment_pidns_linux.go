package corral

import (
	"fmt"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral/internal/proctree"
)

func openPIDNS(req request) (containment, error) { return notBuilt(req) }

func unshare(attr *syscall.SysProcAttr) {}

func mountProc() error { return nil }
func (k *keeperContainment) translate(inside proctree.ID) (proctree.ID, error) {
	return inside, nil
}

var _ = fmt.Sprint
var _ = os.Args
var _ = slices.Max[[]int]
var _ = unix.PR_SET_NAME
