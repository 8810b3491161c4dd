// Package leavetest is for the tests of integrations: a program of theirs leaves a
// process behind, and the test sees whether it is there.
package leavetest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// variable tells a program where to say what it leaves.
const variable = "CORRAL_LEAVETEST"

// Leave starts what the calling program leaves behind. A program that is itself to be
// missed if it is left keeps the file open, another one closes it.
func Leave() (held *os.File) {
	held, err := os.OpenFile(os.Getenv(variable), os.O_WRONLY, 0)
	if err != nil {
		panic(err)
	}
	sleep := exec.Command("sleep", "60")
	sleep.Stdout, sleep.SysProcAttr = held, &syscall.SysProcAttr{Setsid: true}
	if err := sleep.Start(); err != nil {
		panic(err)
	}
	fmt.Fprintln(held, sleep.Process.Pid)
	return held
}

// Left is what a program leaves behind, as the test sees it.
type Left struct {
	*testing.T
	fifo *os.File
}

// Watch is for what a program, started from now on, leaves behind.
func Watch(t *testing.T) Left {
	t.Helper()
	name := filepath.Join(t.TempDir(), "held")
	if err := unix.Mkfifo(name, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	t.Setenv(variable, name)
	return Left{t, f}
}

// ComesTo fails the test if the process is gone and should be left, or the other
// way round. It ends one that is left: by a pidfd, so that it is no other, if it was
// a process in that state.
func (l Left) ComesTo(isLeft bool) {
	l.Helper()
	l.fifo.SetReadDeadline(time.Now().Add(30 * time.Second))
	in := bufio.NewReader(l.fifo)
	line, err := in.ReadString('\n')
	if err != nil {
		l.Fatal(err)
	}
	if isLeft {
		pid, err := strconv.Atoi(strings.TrimSpace(line))
		if err != nil || pid <= 1 {
			l.Fatal(pid, err)
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			l.Fatalf("the control does not leave anything: %v", err)
		}
		defer unix.Close(fd)
		if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err != nil || string(name) != "sleep\n" {
			l.Fatalf("the control does not leave anything: %q, %v", name, err)
		}
		if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
			l.Fatal(err)
		}
		l.Logf("without corral, process %d was left: sleep", pid)
	}
	if _, err := in.ReadByte(); err != io.EOF {
		l.Errorf("something is left: %v", err)
	}
}
