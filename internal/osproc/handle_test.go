//go:build linux || windows

package osproc

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

const childVariable = "CORRAL_TEST_HANDLE"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		io.Copy(io.Discard, os.Stdin) // it ends with the test
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestWithHandle: there is a handle as long as the process has not been waited for,
// also when it has ended; then there is none, and none after Release.
func TestWithHandle(t *testing.T) {
	start := func() (cmd *exec.Cmd, end func() error) {
		cmd = exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), childVariable+"=1")
		stdin, err := cmd.StdinPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		return cmd, stdin.Close
	}
	called := false
	with := func(p *os.Process) error {
		called = false
		return WithHandle(p, func(uintptr) { called = true })
	}
	cmd, end := start()
	if err := with(cmd.Process); errors.Is(err, ErrNoHandle) {
		t.Log("SKIPPED: no handles here: ", err)
	} else if err != nil || !called {
		t.Errorf("alive: %v, called: %v", err, called)
	}
	HoldHandle(cmd.Process)
	if err := WithHandle(cmd.Process, func(uintptr) {
		end()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
		DropHandle(cmd.Process)
	}); err != nil && !errors.Is(err, ErrNoHandle) {
		t.Errorf("held: %v", err)
	}
	err := with(cmd.Process)
	done := errors.Is(err, os.ErrProcessDone) || errors.Is(err, ErrNoHandle)
	if runtime.GOOS == "windows" { // where Wait also releases the process
		done = err != nil
	}
	if called || !done {
		t.Errorf("waited for: %v, called: %v", err, called)
	}

	cmd, end = start()
	if err := cmd.Process.Release(); err != nil {
		t.Error(err)
	}
	if err := with(cmd.Process); called || err == nil {
		t.Errorf("released: %v, called: %v", err, called)
	}
	end()
}
