package console

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/corral-run/corral/internal/console"
	"github.com/corral-run/corral/internal/helper"
	"github.com/corral-run/corral/internal/wire"
)

func init() {
	helper.Role(wire.ConsoleRole, func(helper.Owner) {
		if err := run(); err != nil {
			fmt.Print(err)
			os.Exit(1)
		}
	})
}

// run sends the event in os.Args to the members listed on standard input. It
// succeeds if the event reaches one of them.
func run() error {
	event, err := strconv.Atoi(os.Args[1])
	if err != nil {
		return err
	}
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	var members []int
	for _, word := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		members = append(members, pid)
	}
	var failure error
	asked := false
	told := make(map[int]bool)
	for _, pid := range members {
		if told[pid] {
			continue
		}
		shared, err := tellConsole(console.Event(event), pid, members)
		for _, other := range shared {
			told[other] = true
		}
		asked = asked || err == nil
		failure = cmp.Or(failure, err)
	}
	if asked {
		return nil
	}
	return failure
}

// tellConsole sends the event to the console of pid, or, if others than members
// share that, CTRL_BREAK to the groups that members lead. It returns the processes
// that share the console.
func tellConsole(event console.Event, pid int, members []int) (shared []int, err error) {
	if err := console.Free(); err != nil {
		return nil, err
	}
	if err := console.Attach(pid); err != nil {
		return nil, err
	}
	if shared, err = console.Processes(); err != nil {
		return nil, err
	}
	// Handlers do not stay over Attach.
	if err := console.Ignore(); err != nil {
		return shared, err
	}
	stranger := func(other int) bool { return other != os.Getpid() && !slices.Contains(members, other) }
	if !slices.ContainsFunc(shared, stranger) {
		return shared, console.SendAll(event)
	}
	err = fmt.Errorf("others share the console of process %d", pid)
	for _, leader := range members {
		if slices.Contains(shared, leader) && console.Leads(leader) {
			err = console.Break(leader, members)
		}
	}
	return shared, err
}
