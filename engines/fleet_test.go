//go:build linux

package engines_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// hosts is how many hosts a fleet has. All are this machine.
const hosts = 8

// fleet runs a line of the shell on every host at once. In it, HOST is the number
// of the host, from 0.
type fleet func(line string) *exec.Cmd

var fleets = map[string]func(*testing.T) fleet{
	"srun": func(t *testing.T) fleet {
		c := startCluster(t, "pgid", hosts)
		return func(line string) *exec.Cmd {
			return c.command("srun", "--quiet", fmt.Sprint("--nodes=", hosts), fmt.Sprint("--ntasks=", hosts),
				"sh", "-c", "HOST=$SLURM_PROCID; "+line)
		}
	},
	"parallel": func(t *testing.T) fleet {
		parallel := need(t, "parallel")
		// One server has eight addresses, from 127.0.0.1 on.
		s := startServer(t, &route{address: "0.0.0.0", port: loopback(t).port})
		ssh := s.ssh(nil).Args
		ssh = ssh[:len(ssh)-2] // the host, and the command
		var logins []string
		for i := range hosts {
			logins = append(logins, fmt.Sprint("127.0.0.", i+1))
		}
		return func(line string) *exec.Cmd {
			cmd := exec.Command(parallel, "--will-cite", "--nonall", "--jobs", fmt.Sprint(hosts), "--ssh", strings.Join(ssh, " "),
				"--sshlogin", strings.Join(logins, ","), "set -- $SSH_CONNECTION; HOST=$((${3##*.} - 1)); "+line)
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
			cmd.Stderr = os.Stderr
			return cmd
		}
	},
}

// TestFleet: one command on all hosts, to its end. The log says what it costs.
func TestFleet(t *testing.T) {
	corral, err := program()
	if err != nil {
		t.Fatal(err)
	}
	for name, start := range fleets {
		t.Run(name, func(t *testing.T) {
			run := start(t)
			reports := t.TempDir()
			lines := []string{
				"exec true",
				"exec " + corral + " --report " + reports + "/$HOST -- true",
			}
			rounds := 11
			if testing.Short() {
				rounds = 1
			}
			took := make([][]time.Duration, len(lines))
			for range rounds {
				for i, line := range lines {
					began := time.Now()
					if err := run(line).Run(); err != nil {
						t.Fatal(err)
					}
					took[i] = append(took[i], time.Since(began))
				}
			}
			median := func(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }
			alone, with := median(took[0]), median(took[1])
			t.Logf("%d hosts, medians of %d: alone %v, with corral %v, ratio %.2f, for each host %v more", hosts, rounds,
				alone.Round(time.Millisecond), with.Round(time.Millisecond), float64(with)/float64(alone),
				((with - alone) / hosts).Round(100*time.Microsecond))

			files, err := filepath.Glob(filepath.Join(reports, "*"))
			if err != nil || len(files) != hosts {
				t.Fatalf("the reports are %q, %v", files, err)
			}
			out, err := exec.Command(corral, append([]string{"report", "merge", "--json"}, files...)...).Output()
			var merged []struct {
				Ending, File, Host string
				ExitCode           int `json:"exit_code"`
			}
			if err := json.Unmarshal(out, &merged); err != nil {
				t.Fatal(err)
			}
			if err != nil || len(merged) != hosts {
				t.Errorf("%d reports, %v", len(merged), err)
			}
			for i, r := range merged {
				if r.Ending != "exited" || r.ExitCode != 0 || r.Host == "" || r.File != files[i] {
					t.Errorf("report %d is %+v", i, r)
				}
			}
		})
	}
}

// fleetLoss is a way to lose what starts the commands: it is killed, or its input
// ends.
type fleetLoss struct {
	fleet string
	input bool     // the input ends
	under bool     // corral runs the front end, too
	flags []string // of corral on the hosts; nil: without corral
	stays bool
}

// name is that of the test.
func (l fleetLoss) name() string {
	lost := "killed"
	if l.input {
		lost = "input ends"
	}
	words := []string{l.fleet}
	if l.under {
		words = []string{"corral", l.fleet}
	}
	if l.flags != nil {
		words = append(append(words, "corral"), l.flags...)
	}
	return lost + "/" + strings.Join(words, " ")
}

// TestFleetLost: what starts the commands is killed, or its input ends, as when
// the connection to it is lost.
func TestFleetLost(t *testing.T) {
	for _, l := range []fleetLoss{
		{fleet: "srun", stays: true},
		{fleet: "srun", flags: []string{}},
		{fleet: "srun", input: true, flags: []string{}, stays: true},
		{fleet: "srun", input: true, flags: []string{"--lifeline", "stdin"}},
		{fleet: "parallel", stays: true},
		// The clients of parallel go on, and keep their connections.
		{fleet: "parallel", flags: []string{"--lifeline", "parent"}, stays: true},
		{fleet: "parallel", under: true, flags: []string{"--lifeline", "parent"}},
	} {
		t.Run(l.name(), func(t *testing.T) {
			t.Parallel()
			jobs, front, input := l.start(t)
			since := time.Now()
			if l.input {
				input.Close()
			} else {
				front.Process.Kill()
			}
			for _, job := range jobs {
				if l.stays {
					job.stays(since, killWait+limit)
				} else {
					job.goneBy(since, patience)
				}
			}
		})
	}
}

// start starts a job on each host, and returns when all of them are there.
func (l fleetLoss) start(t *testing.T) (jobs []*job, front *exec.Cmd, input io.Closer) {
	t.Helper()
	run := fleets[l.fleet](t)
	dir := t.TempDir()
	for i := range hosts {
		job := newJob(t)
		line := job.alone()
		if l.flags != nil {
			line = job.corralled(line, l.flags...)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("exec "+quoted(line)), 0o644); err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job)
	}
	front = run("exec sh " + dir + "/$HOST")
	if l.under {
		path, err := program()
		if err != nil {
			t.Fatal(err)
		}
		env := front.Env
		front = exec.Command(path, append([]string{"--grace", grace.String(), "--"}, front.Args...)...)
		front.Env = env
	}
	front.Stderr = os.Stderr
	input, err := front.StdinPipe()
	if err := errors.Join(err, front.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		front.Process.Kill()
		front.Wait()
	})
	for _, job := range jobs {
		job.complete()
	}
	return jobs, front, input
}
