package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestFullDisk: the status of a run in the background is recorded, also if the disk has
// become full since it began.
func TestFullDisk(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, to mount")
	}
	const script = `
		mount -t tmpfs -o size=64k,mode=700 none "$XDG_STATE_HOME" && mkfifo go || exit 99
		corral run --detach --name full -- sh -c 'read word <go; exit 7' >/dev/null || exit 98
		! cat /dev/zero 2>/dev/null >"$XDG_STATE_HOME/fill" || exit 97
		echo on >go
		corral wait full`
	state := t.TempDir()
	cmd := exec.Command("unshare", "-m", "sh", "-c", script)
	var out bytes.Buffer
	cmd.Env, cmd.Dir = append(os.Environ(), "XDG_STATE_HOME="+state), t.TempDir()
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Skip("SKIPPED: no unshare: ", err)
	}
	if _, status := ended(cmd); status != 7 || out.Len() > 0 {
		t.Errorf("status %d, said %s", status, &out)
	}
}

// TestDetachedDescriptors: a command in the background has the descriptors that corral
// was given.
func TestDetachedDescriptors(t *testing.T) {
	const command = `sh -c 'echo three >&3; echo four >&4; cat; : >&5' 3>three 4>four 5>>end`
	for how, script := range map[string]string{
		"run":    `corral run --detach --name d -- ` + command + ` >/dev/null && corral wait d && corral logs d`,
		"detach": `corral --quiet --allow-detach -- corral detach -- ` + command,
	} {
		dir := t.TempDir()
		f := newFleet(t)
		// The end of the command is that of the FIFO.
		cmd := exec.Command("sh", "-c", "mkfifo end; { cat <end; } & "+script+"; status=$?; wait; exit $status")
		cmd.Env, cmd.Dir = f.env, dir
		out, err := cmd.CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", how, err, out)
		}
		for _, name := range []string{"three", "four"} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); string(b) != name+"\n" || err != nil {
				t.Errorf("%s: descriptor %s: %q, %v", how, name, b, err)
			}
		}
	}
}

// TestLogsUnread: who follows the log of a run that writes nothing ends when nobody
// reads that any more, as by a write.
func TestLogsUnread(t *testing.T) {
	f := newFleet(t)
	if said, err := f.corral("run", "--detach", "--name", "quiet", "--", "sh", "-c", "echo up; exec sleep 20"); err != nil {
		t.Fatal(err, said)
	}
	cmd := exec.Command("corral", "logs", "--follow", "quiet")
	cmd.Env = f.env
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "up\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	out.Close()
	began := time.Now()
	cmd.Wait()
	if took := time.Since(began); exitStatus(cmd.ProcessState) != statusSignal+int(syscall.SIGPIPE) || took > 15*time.Second {
		t.Errorf("%v, after %v", cmd.ProcessState, took)
	}
}

// TestStateHome: nobody's logs are among another user's files, whatever variables have
// been kept.
func TestStateHome(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: needs root, for another user's files")
	}
	const alice = 65534
	theirs, own := t.TempDir(), t.TempDir()
	if err := os.Chown(theirs, alice, alice); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		uid               int
		state, home, want string
	}{
		{0, own, theirs, own},
		{0, own + "/not/yet", theirs, own + "/not/yet"},
		{0, theirs, own, own + "/.local/state"},
		{0, theirs + "/not/yet", own, own + "/.local/state"},
		{0, "", own, own + "/.local/state"},
		{0, "", theirs, "/home/of/0/.local/state"},
		{0, theirs, theirs, "/home/of/0/.local/state"},
		{0, "relative", "", ""},
		{0, theirs, "", ""},
		{alice, theirs, "", theirs},
		{alice, "", theirs, theirs + "/.local/state"},
		{alice, "/tmp", theirs, "/tmp"},
		{1000, "", theirs, "/home/of/1000/.local/state"},
	} {
		t.Setenv("XDG_STATE_HOME", c.state)
		t.Setenv("HOME", c.home)
		got, err := stateHome(c.uid, func(uid int) string { return fmt.Sprint("/home/of/", uid) })
		if got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%+v: %q, %v", c, got, err)
		}
	}
}
