package pty

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/corral-run/corral/internal/files"
	"golang.org/x/sys/unix"
)

// TestTerminalDescriptors: both ends are closed on exec, and only the owner's is
// non-blocking.
func TestTerminalDescriptors(t *testing.T) {
	master, end, err := Open(Settings{})
	if errors.Is(err, os.ErrNotExist) {
		t.Skip("SKIPPED: no pseudo-terminals here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	defer end.Close()
	for _, tt := range []struct {
		file        *os.File
		nonblocking bool
	}{{master, true}, {end, false}} {
		err := files.WithFD(tt.file, func(fd int) error {
			status, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
			flags, ferr := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
			if err != nil || ferr != nil || status&unix.O_ACCMODE != unix.O_RDWR || (status&unix.O_NONBLOCK != 0) != tt.nonblocking || flags&unix.FD_CLOEXEC == 0 {
				t.Errorf("%s: status %#x (%v), flags %#x (%v)", tt.file.Name(), status, err, flags, ferr)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if _, err := end.WriteString("x"); err != nil {
		t.Error(err)
	}
	b := make([]byte, 2)
	if n, err := master.Read(b); n != 1 || err != nil || b[0] != 'x' {
		t.Errorf("read %q, %v", b[:n], err)
	}
}

// TestTerminalElsewhere: where /dev/pts does not belong to /dev/ptmx, another
// terminal has the name that this one's other end would have.
func TestTerminalElsewhere(t *testing.T) {
	if os.Getenv("CORRAL_TEST_ELSEWHERE") != "" {
		if _, _, err := Open(Settings{}); !errors.Is(err, unix.ENODEV) {
			t.Errorf("Open: %v; want %v", err, unix.ENODEV)
		}
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	const script = `mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1" && mount --bind "$1/ptmx" /dev/ptmx || exit 77
		exec "$0" -test.run '^TestTerminalElsewhere$'`
	cmd := exec.Command("unshare", "--mount", "sh", "-c", script, exe, t.TempDir())
	cmd.Env = append(os.Environ(), "CORRAL_TEST_ELSEWHERE=1")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.As(err, &exit) && (exit.ExitCode() == 77 || strings.HasPrefix(string(out), "unshare: ")):
		t.Skipf("SKIPPED: no mount namespace or terminals of one's own: %v, %s", err, out)
	case err != nil:
		t.Errorf("%v\n%s", err, out)
	}
}
