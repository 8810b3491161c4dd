//go:build linux

package engines_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/corral-run/corral"
	"github.com/corral-run/corral/internal/escape"
)

// route is the way between a client and its server.
type route struct {
	address        string // the server's
	port           int
	server, client []string // what precedes the command lines of the two
	cut            func()   // cuts the route; nil if that is not possible
}

func loopback(t *testing.T) *route {
	t.Helper()
	return &route{address: "127.0.0.1", port: freePort(t)}
}

// network is two network namespaces, joined by a cable with an end in each.
func network(t *testing.T) *route {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can make a network")
	}
	ip, unshare, nsenter := need(t, "ip"), need(t, "unshare"), need(t, "nsenter")
	// A namespace lives as long as a process is in it.
	machine := func() (pid string, enter []string) {
		t.Helper()
		cmd := exec.Command(unshare, "--net", "sh", "-c", "echo; exec cat")
		in, err1 := cmd.StdinPipe()
		out, err2 := cmd.StdoutPipe()
		if err := errors.Join(err1, err2, cmd.Start()); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			in.Close()
			cmd.Wait()
		})
		if _, err := io.ReadFull(out, make([]byte, 1)); err != nil {
			t.Skip("SKIPPED: no network namespaces here")
		}
		pid = strconv.Itoa(cmd.Process.Pid)
		return pid, []string{nsenter, "--net=/proc/" + pid + "/ns/net", "--"}
	}
	_, server := machine()
	there, client := machine()
	do := func(enter []string, args ...string) {
		t.Helper()
		cmd := command(enter, append([]string{ip}, args...)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", cmd.Args, err, out)
		}
	}
	do(server, "link", "add", "name", "eth0", "type", "veth", "peer", "name", "eth0", "netns", there)
	do(server, "address", "add", "198.18.0.1/30", "dev", "eth0")
	do(client, "address", "add", "198.18.0.2/30", "dev", "eth0")
	do(server, "link", "set", "eth0", "up")
	do(client, "link", "set", "eth0", "up")
	return &route{"198.18.0.1", 22, server, client, func() { do(client, "link", "set", "eth0", "down") }}
}

func command(before []string, args ...string) *exec.Cmd {
	args = append(before[:len(before):len(before)], args...)
	return exec.Command(args[0], args[1:]...)
}

// server is an OpenSSH server of the test's own, which lets the user log in.
type server struct {
	*route
	t   *testing.T
	key string
	log chan string // its lines
}

func startServer(t *testing.T, r *route) *server {
	t.Helper()
	sshd, keygen := need(t, "sshd"), need(t, "ssh-keygen")
	// A server that may not read the passwords takes an account for locked, unless
	// PAM knows better.
	pam := "yes"
	if me, err := user.Current(); err != nil {
		t.Fatal(err)
	} else if me.Uid == "0" {
		pam = "no"
		// The root directory of its unprivileged half.
		if err := os.MkdirAll("/run/sshd", 0o755); err != nil {
			t.Fatal(err)
		}
	} else if entry, err := exec.Command("getent", "passwd", me.Uid).Output(); err != nil || bytes.HasSuffix(entry, []byte("/nologin\n")) {
		t.Skipf("SKIPPED: %s has no shell to log in with", me.Username)
	}
	dir := t.TempDir()
	s := &server{r, t, filepath.Join(dir, "user"), make(chan string, 1000)}
	for _, key := range []string{s.key, filepath.Join(dir, "host")} {
		if out, err := exec.Command(keygen, "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	config := fmt.Sprintf(`
ListenAddress %s:%d
HostKey %s/host
AuthorizedKeysFile %s.pub
PidFile none
StrictModes no
UsePAM %s
PermitRootLogin yes
LogLevel VERBOSE
`, r.address, r.port, dir, s.key, pam)
	if r.cut != nil {
		// Nothing else tells the server. It takes a client that is held up for three
		// seconds for lost, so the others do without.
		config += "ClientAliveInterval 1\nClientAliveCountMax 2\n"
	}
	file := filepath.Join(dir, "config")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := command(r.server, sshd, "-D", "-e", "-f", file)
	stderr, err := cmd.StderrPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	go func() {
		defer close(s.log)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			s.log <- lines.Text()
		}
	}()
	s.says("Server listening on")
	return s
}

// says waits until the server's log has a line with the text.
func (s *server) says(text string) {
	s.t.Helper()
	var lines []string
	for late := time.After(patience); ; {
		select {
		case line, ok := <-s.log:
			lines = append(lines, line)
			if strings.Contains(line, text) {
				return
			} else if !ok {
				s.t.Fatalf("the server ends: %q", lines)
			}
		case <-late:
			s.t.Fatalf("the server does not say %q: %q", text, lines)
		}
	}
}

// ssh returns a client that runs the command line on the server.
func (s *server) ssh(flags []string, line ...string) *exec.Cmd {
	s.t.Helper()
	if slices.Contains(flags, "-tt") && os.Geteuid() != 0 {
		s.t.Skip("SKIPPED: a server that is not root's may have no terminals to give")
	}
	args := []string{need(s.t, "ssh"), "-F", "none", "-i", s.key, "-p", strconv.Itoa(s.port),
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "LogLevel=ERROR",
		"-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"}
	return command(s.client, append(append(args, flags...), s.address, quoted(line))...)
}

// connectionLosses are ways to lose the connection of a client.
var connectionLosses = []struct {
	name  string
	route func(*testing.T) *route
	// start starts the client. What it returns loses the connection, and says from
	// when on the time counts.
	start func(*server, *exec.Cmd) (lose func() time.Time)
}{
	{"client killed", loopback, func(s *server, client *exec.Cmd) func() time.Time {
		open(s.t, client)
		return func() time.Time {
			now := time.Now()
			client.Process.Kill()
			return now
		}
	}},
	{"terminal closed", loopback, func(s *server, client *exec.Cmd) func() time.Time {
		terminal, err := pty.Start(client)
		if err != nil {
			s.t.Fatal(err)
		}
		return func() time.Time {
			now := time.Now()
			terminal.Close()
			return now
		}
	}},
	{"network cut", network, func(s *server, client *exec.Cmd) func() time.Time {
		open(s.t, client)
		return func() time.Time {
			cut := time.Now()
			s.cut()
			// The server asks the client each second, and twice.
			s.says("Timeout, client not responding")
			s.t.Logf("noticed after %v", time.Since(cut).Round(10*time.Millisecond))
			return time.Now()
		}
	}},
}

// TestSSHLost: the connection of a command is lost.
func TestSSHLost(t *testing.T) {
	for _, lost := range connectionLosses {
		for _, tt := range []struct {
			ssh   []string
			flags []string // corral's; nil: without corral
			stays bool
		}{
			{ssh: nil, stays: true},
			{ssh: nil, flags: []string{}, stays: true}, // nothing tells corral
			{ssh: nil, flags: []string{"--lifeline", "stdin"}},
			{ssh: []string{"-n"}, flags: []string{"--lifeline", "parent"}},
			{ssh: []string{"-tt"}, stays: true},
			{ssh: []string{"-tt"}, flags: []string{"--lifeline", "tty"}},
		} {
			t.Run(lost.name+"/"+name(tt.ssh, tt.flags), func(t *testing.T) {
				t.Parallel()
				s := startServer(t, lost.route(t))
				job := newJob(t)
				line := job.alone()
				if tt.flags != nil {
					line = job.corralled(line, tt.flags...)
				}
				client := s.ssh(tt.ssh, line...)
				lose := lost.start(s, client)
				t.Cleanup(func() {
					client.Process.Kill()
					client.Wait()
				})
				job.complete()
				since := lose()
				if tt.stays {
					job.stays(since, limit)
					return
				}
				job.goneBy(since, patience)
				if r := job.ended(); r.Ending != corral.LifelineLost {
					t.Errorf("corral's report: %s", r.Ending)
				}
			})
		}
	}
}

// name returns the name of a test with these flags of ssh and corral.
func name(ssh, corral []string) string {
	words := append([]string{"ssh"}, ssh...)
	if corral != nil {
		words = append(append(words, "corral"), corral...)
	}
	return strings.Join(words, " ")
}

// open starts a command with a standard input that stays open.
func open(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err := errors.Join(err, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close() })
}

// TestSSHEnds: the command ends, but a process that it has started still holds the
// output.
func TestSSHEnds(t *testing.T) {
	all := escape.All()
	holder := all[slices.IndexFunc(all, func(c escape.Child) bool { return c.Name == "hold-stdout" })]
	const output = 1_000_000
	for _, tt := range []struct {
		ssh   []string
		flags []string // corral's; nil: without corral, ssh does not end
	}{
		{ssh: nil},
		{ssh: nil, flags: []string{"--lifeline", "stdin"}},
		{ssh: []string{"-tt"}, flags: []string{"--lifeline", "tty"}},
	} {
		t.Run(name(tt.ssh, tt.flags), func(t *testing.T) {
			t.Parallel()
			s := startServer(t, loopback(t))
			job := newJobOf(t, holder)
			line := append([]string{"sh", "-c", fmt.Sprintf(`head -c %d /dev/zero | tr '\0' '#'; "$@"; exit 7`, output), "sh"}, job.alone()...)
			if tt.flags != nil {
				line = job.corralled(line, tt.flags...)
			}
			client := s.ssh(tt.ssh, line...)
			var said bytes.Buffer
			client.Stdout = &said
			open(t, client)
			ended := make(chan error, 1)
			go func() { ended <- client.Wait() }()
			t.Cleanup(func() {
				client.Process.Kill()
				<-ended
			})
			job.complete()
			job.Release()
			if tt.flags == nil {
				select {
				case err := <-ended:
					ended <- err
					t.Errorf("ssh ends without corral too: %v", err)
				case <-time.After(limit):
				}
				return
			}
			select {
			case err := <-ended:
				ended <- err
				if n := bytes.Count(said.Bytes(), []byte("#")); n != output || client.ProcessState.ExitCode() != 7 {
					t.Errorf("%d bytes, %v; want %d, exit status 7", n, err, output)
				}
			case <-time.After(patience):
				t.Error("ssh does not end")
			}
			job.goneBy(time.Now(), patience)
		})
	}
}
