//go:build linux

package engines_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// hosts is how many there are in a fleet. All are this machine.
const hosts = 8

// fleet runs a line of the shell on every host at once. HOST is another word on
// each, a number from 0.
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
		// It is one server with eight addresses, 127.0.0.1 and the next.
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

// TestFleet: one command on all hosts, to its end; what it costs is in the log.
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

// TestFleetLost: what starts the commands is killed, or its input ends, as when
// the connection to it is lost.
func TestFleetLost(t *testing.T) {
	for _, tt := range []struct {
		fleet string
		input bool     // it is the input
		under bool     // the front end is run by corral, too
		flags []string // of corral on the hosts; nil: without corral
		stays bool
	}{
		{fleet: "srun", stays: true},
		{fleet: "srun", flags: []string{}},
		{fleet: "srun", input: true, flags: []string{}, stays: true},
		{fleet: "srun", input: true, flags: []string{"--lifeline", "stdin"}},
		{fleet: "parallel", stays: true},
		// Its clients go on, and keep their connections.
		{fleet: "parallel", flags: []string{"--lifeline", "parent"}, stays: true},
		{fleet: "parallel", under: true, flags: []string{"--lifeline", "parent"}},
	} {
		lost := "killed"
		if tt.input {
			lost = "input ends"
		}
		words := []string{tt.fleet}
		if tt.under {
			words = []string{"corral", tt.fleet}
		}
		if tt.flags != nil {
			words = append(append(words, "corral"), tt.flags...)
		}
		t.Run(lost+"/"+strings.Join(words, " "), func(t *testing.T) {
			t.Parallel()
			run := fleets[tt.fleet](t)
			dir := t.TempDir()
			jobs := make([]*job, hosts)
			for i := range jobs {
				jobs[i] = newJob(t)
				line := jobs[i].alone()
				if tt.flags != nil {
					line = jobs[i].corralled(line, tt.flags...)
				}
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte("exec "+quoted(line)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			front := run("exec sh " + dir + "/$HOST")
			if tt.under {
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
			since := time.Now()
			if tt.input {
				input.Close()
			} else {
				front.Process.Kill()
			}
			for _, job := range jobs {
				if tt.stays {
					job.stays(since, killWait+limit)
				} else {
					job.goneBy(since, patience)
				}
			}
		})
	}
}
