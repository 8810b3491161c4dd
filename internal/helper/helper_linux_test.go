package helper

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/escape"
	"golang.org/x/sys/unix"
)

func init() { escape.HurryWhenTold(Hurry) }

// TestHurry: see escape.TestHurry.
func TestHurry(t *testing.T) { escape.TestHurry(t) }

// TestShortTurns: see escape.TestShortTurns.
func TestShortTurns(t *testing.T) { escape.TestShortTurns(t) }

// TestReadable: a signal is no reason to say that a helper has said nothing.
func TestReadable(t *testing.T) {
	ours, theirs, err := Line("test")
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	tid := unix.Gettid()
	said := make(chan error, 1)
	go func() {
		for range 50 {
			time.Sleep(time.Millisecond)
			unix.Tgkill(os.Getpid(), tid, unix.SIGURG) // which the runtime is used to
		}
		_, err := theirs.Write([]byte{1})
		said <- err
		theirs.Close()
	}()
	if !Readable(ours, time.Minute) {
		t.Error("it has given up")
	}
	if err := <-said; err != nil {
		t.Error(err)
	}
}
