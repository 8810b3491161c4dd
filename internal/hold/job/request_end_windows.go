package job

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/corral-run/corral/internal/console"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/wire"
	"golang.org/x/sys/windows"
)

// ask sends the members what sig stands for on Windows. It fails if that reaches
// none of them.
func ask(helperPath string, sig os.Signal, leader int, members []int) error {
	switch sig {
	case syscall.SIGTERM:
		return askByConsole(helperPath, console.CtrlBreak, leader, members)
	case os.Interrupt:
		return askByConsole(helperPath, console.CtrlC, leader, members)
	case syscall.SIGHUP:
		return closeWindows(members)
	}
	return fmt.Errorf("%v means nothing to a process on Windows: %w", sig, errors.ErrUnsupported)
}

// askByConsole sends an event to the members that have a console.
//
// Members that share the owner's console get CTRL_BREAK, sent to the console groups
// that the leader and other members lead. It is the only event that is for a group;
// Ctrl-C would reach the owner too. Members that have another console get the event
// from a helper, as a process can attach to one console only.
func askByConsole(helperPath string, event console.Event, leader int, members []int) error {
	var failure error
	asked := false
	tried := func(err error) {
		asked = asked || err == nil
		failure = cmp.Or(failure, err)
	}
	shared, _ := console.Processes()
	elsewhere := slices.DeleteFunc(slices.Clone(members), func(pid int) bool { return slices.Contains(shared, pid) })
	if len(elsewhere) < len(members) {
		breakGroups(leader, members, tried)
	}
	if len(elsewhere) > 0 {
		tried(runConsoleHelper(helperPath, event, elsewhere))
	}
	if asked {
		return nil
	}
	return fmt.Errorf("no member can be asked to end: %w: %w", failure, errors.ErrUnsupported)
}

// breakGroups sends CTRL_BREAK to the groups of the caller's console that members
// lead, and to the leader's, even if the leader has ended: its PID is not used
// again.
func breakGroups(leader int, members []int, tried func(error)) {
	tried(console.Break(leader, members))
	for _, pid := range members {
		if pid != leader && console.Leads(pid) {
			tried(console.Break(pid, members))
		}
	}
}

// consolePatience bounds the life of the console helper.
const consolePatience = 5 * time.Second

// runConsoleHelper has a helper send the event to members that have another console
// than the owner.
func runConsoleHelper(helperPath string, event console.Event, members []int) error {
	path, err := helper.Program(helperPath)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), consolePatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, path)
	cmd.Args = []string{wire.ConsoleRole, strconv.Itoa(int(event))}
	cmd.Stdin = strings.NewReader(strings.Trim(fmt.Sprint(members), "[]"))
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.DETACHED_PROCESS}
	if out, err := cmd.CombinedOutput(); err != nil {
		return errors.New(cmp.Or(string(bytes.TrimSpace(out)), err.Error()))
	}
	return nil
}

// closeWindows asks the members' windows to close, as a click on their close button
// does.
func closeWindows(members []int) error {
	closing := &windowClosing{members: members}
	err := windows.EnumWindows(closeWindow(), unsafe.Pointer(closing))
	if closing.asked {
		return nil
	}
	return fmt.Errorf("no member has a window to close: %w", cmp.Or(err, errors.ErrUnsupported))
}

// windowClosing is what closeWindow is called with.
type windowClosing struct {
	members []int
	asked   bool
}

// closeWindow is called back for each window. There is only one, made once:
// callbacks are never released.
var closeWindow = sync.OnceValue(func() uintptr {
	return syscall.NewCallback(func(window windows.HWND, closing *windowClosing) uintptr {
		var pid uint32
		windows.GetWindowThreadProcessId(window, &pid)
		if slices.Contains(closing.members, int(pid)) && windows.IsWindowVisible(window) {
			ok, _, _ := procPostMessage.Call(uintptr(window), wmClose, 0, 0)
			closing.asked = closing.asked || ok != 0
		}
		return 1 // go on
	})
})

const wmClose = 0x0010 // WM_CLOSE

var procPostMessage = windows.NewLazySystemDLL("user32.dll").NewProc("PostMessageW")
