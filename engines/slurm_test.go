//go:build linux

package engines_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
)

const (
	// killWait is how long Slurm waits between its SIGTERM and its SIGKILL. It is
	// longer than corral's grace, so that corral kills first.
	killWait = 5 * time.Second
	// inactive is when Slurm gives up a job whose srun does not answer, with the
	// shortest InactiveLimit: MessageTimeout, which is 10 s, and more come on top.
	inactive = 13 * time.Second
	// period is how often the controller looks at that, and at time limits.
	period = 30 * time.Second

	freezer = "/sys/fs/cgroup/freezer"
)

// tracks are the ways in which Slurm can know the processes of a job. The last one
// is Slurm's default: it sees all of them. It needs root, and here version 1 of
// control groups.
var tracks = []string{"pgid", "linuxproc", "cgroup"}

// cluster is a Slurm of the test's own. All its nodes are this machine.
type cluster struct {
	t     *testing.T
	dir   string
	nodes int
	used  atomic.Int32 // how many of the nodes
}

func startCluster(t *testing.T, track string, nodes int) *cluster {
	t.Helper()
	for _, name := range []string{"munged", "munge", "slurmctld", "slurmd", "srun", "sbatch", "scancel", "squeue", "scontrol"} {
		need(t, name)
	}
	if track == "cgroup" && unix.Access(freezer, unix.W_OK) != nil {
		t.Skipf("SKIPPED: there is no %s", freezer)
	}
	// The name is short: a socket in it has twice the name of a node, and 107 bytes
	// at most.
	dir, err := os.MkdirTemp(home, "s-")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: dir, nodes: nodes}
	c.configure(track)
	t.Cleanup(c.removeFreezers)
	c.startDaemons()
	return c
}

// configure writes what the daemons read.
func (c *cluster) configure(track string) {
	c.t.Helper()
	me, err1 := user.Current()
	host, err2 := os.Hostname()
	if err := errors.Join(err1, err2, os.Chmod(c.dir, 0o755), os.Mkdir(c.in("state"), 0o755)); err != nil {
		c.t.Fatal(err)
	}
	host, _, _ = strings.Cut(host, ".")
	config := fmt.Sprintf(slurmConf, host, freePort(c.t), me.Username, c.dir, killWait.Seconds(), track)
	for i := range c.nodes {
		config += fmt.Sprintf("NodeName=%s NodeHostname=%s NodeAddr=127.0.0.1 Port=%d CPUs=64\n", c.node(i), host, freePort(c.t))
	}
	key := strings.Repeat("a key that is none. ", 10)
	if err := errors.Join(os.WriteFile(c.in("key"), []byte(key), 0o600),
		os.WriteFile(c.in("slurm.conf"), []byte(config), 0o644),
		os.WriteFile(c.in("cgroup.conf"), []byte("CgroupPlugin=cgroup/v1\n"), 0o644)); err != nil {
		c.t.Fatal(err)
	}
}

const slurmConf = `
ClusterName=corral
SlurmctldHost=%s(127.0.0.1)
SlurmctldPort=%d
SlurmUser=%s
SlurmdUser=%[3]s
AuthType=auth/munge
AuthInfo=socket=%[4]s/munge
CredType=cred/munge
StateSaveLocation=%[4]s/state
SlurmctldPidFile=%[4]s/slurmctld.pid
SlurmdPidFile=%[4]s/%%n.pid
SlurmdSpoolDir=%[4]s/%%n
ProctrackType=proctrack/%[6]s
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SchedulerType=sched/builtin
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=%.0[5]f
InactiveLimit=1
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`

// startDaemons returns when all nodes can run a job.
func (c *cluster) startDaemons() {
	c.t.Helper()
	c.daemon("munged", "--foreground", "--force", "--key-file="+c.in("key"), "--socket="+c.in("munge"),
		"--pid-file="+c.in("munged.pid"), "--seed-file="+c.in("munge.seed"), "--log-file="+c.in("munge.log"))
	eventually(c.t, "munged does not answer", func() error {
		return exec.Command("munge", "-n", "-S", c.in("munge"), "-o", "/dev/null").Run()
	})
	c.daemon("slurmctld", "-D")
	for i := range c.nodes {
		c.daemon("slurmd", "-D", "-N", c.node(i))
	}
	eventually(c.t, "slurmctld does not answer", func() error { return c.command("scontrol", "ping").Run() })
	// This waits for the nodes.
	if err := c.command("srun", "--quiet", fmt.Sprint("--nodes=", c.nodes), "true").Run(); err != nil {
		c.t.Fatal(err)
	}
}

// removeFreezers removes the directories that Slurm leaves.
func (c *cluster) removeFreezers() {
	mine, _ := filepath.Glob(filepath.Join(freezer, "slurm_"+c.node(0)[:len(c.node(0))-1]+"*"))
	for _, dir := range mine {
		exec.Command("find", dir, "-depth", "-type", "d", "-exec", "rmdir", "{}", ";").Run()
	}
}

// in returns the path of a file of the cluster's.
func (c *cluster) in(name string) string { return filepath.Join(c.dir, name) }

var lastPort atomic.Int32

// freePort returns each port only once, and none that a client could get: a node of
// Slurm takes long to come up.
func freePort(t *testing.T) int {
	t.Helper()
	lastPort.CompareAndSwap(0, 16000)
	for range 1000 {
		port := int(lastPort.Add(1))
		if l, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no port is free")
	return 0
}

// daemon starts a daemon of Slurm's. The test stops it when it ends, with all that
// it has started, such as what is left of a job without corral.
func (c *cluster) daemon(name string, args ...string) {
	c.t.Helper()
	log, err := os.CreateTemp(c.dir, name+"-")
	if err != nil {
		c.t.Fatal(err)
	}
	defer log.Close()
	cmd := corral.Wrap(c.command(name, args...))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.StopPlan = corral.StopPlan{} // there is nothing to save
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		go cmd.Stop(context.Background())
		cmd.Wait()
		if c.t.Failed() {
			text, _ := os.ReadFile(log.Name())
			c.t.Logf("%s: %s", name, text)
		}
	})
}

// command returns a command of Slurm's, for this cluster.
func (c *cluster) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(need(c.t, name), args...)
	cmd.Env = append(os.Environ(), "SLURM_CONF="+filepath.Join(c.dir, "slurm.conf"))
	cmd.Stderr = os.Stderr
	return cmd
}

// node returns the name of a node. No other cluster of this machine has it.
func (c *cluster) node(i int) string { return fmt.Sprintf("%s-%d", filepath.Base(c.dir), i) }

// on returns the flag for a node that no other job has used.
func (c *cluster) on(t *testing.T) string {
	t.Helper()
	n := int(c.used.Add(1)) - 1
	if n >= c.nodes {
		t.Fatal("there are too few nodes")
	}
	return "--nodelist=" + c.node(n)
}

// over waits until Slurm has done all that it is going to do with a job, and the
// node is free.
func (c *cluster) over(t *testing.T, name string, within time.Duration) {
	t.Helper()
	for late := time.After(within); ; {
		left, err := c.command("squeue", "--noheader", "--name="+name).Output()
		if err == nil && len(left) == 0 {
			return
		}
		select {
		case <-late:
			t.Fatalf("the job is not over: %s, %v", left, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// slurmLoss is a way to take a job away from srun.
type slurmLoss struct {
	name   string
	flags  []string // corral's
	end    func(c *cluster, t *testing.T, srun *exec.Cmd, name string)
	within time.Duration // until Slurm sees it
	killed bool          // by SIGKILL at once
	slow   bool
}

var slurmLosses = []slurmLoss{
	{name: "cancelled", end: (*cluster).cancel},
	// srun has a process that ends the job when srun is gone.
	{name: "srun killed", killed: true, end: func(_ *cluster, _ *testing.T, srun *exec.Cmd, _ string) {
		srun.Process.Kill()
	}},
	// As if the machine of srun were gone. The standard input of the command stays
	// open.
	{name: "srun and its own killed", slow: true, within: inactive + period, flags: []string{"--lifeline", "stdin"},
		end: func(_ *cluster, _ *testing.T, srun *exec.Cmd, _ string) {
			syscall.Kill(-srun.Process.Pid, syscall.SIGKILL)
		}},
	// The shortest limit is a minute, and the tree does not live for that: the test
	// brings the end forward.
	{name: "time limit", slow: true, within: period, end: func(c *cluster, t *testing.T, _ *exec.Cmd, name string) {
		eventually(t, "the job keeps its end", func() error {
			return c.command("scontrol", "update", "JobName="+name, "EndTime=now").Run()
		})
	}},
}

// TestSlurm: a job is taken away from srun.
func TestSlurm(t *testing.T) {
	for _, track := range tracks {
		t.Run(track, func(t *testing.T) {
			t.Parallel()
			c := startCluster(t, track, 8)
			for _, l := range slurmLosses {
				t.Run(l.name, func(t *testing.T) {
					if l.slow && (testing.Short() || track != tracks[0]) {
						t.Skip("it takes its time")
					}
					t.Parallel()
					t.Run("corral", func(t *testing.T) { t.Parallel(); c.loseCorral(t, l) })
					t.Run("alone", func(t *testing.T) { t.Parallel(); c.loseAlone(t, l, track) })
				})
			}
		})
	}
}

// loseCorral takes a job away that corral runs: nothing is left of it.
func (c *cluster) loseCorral(t *testing.T, l slurmLoss) {
	job := newJob(t)
	srun, name := c.srun(t, job, job.corralled(job.alone(), l.flags...))
	since := time.Now()
	l.end(c, t, srun, name)
	job.goneBy(since, l.within+patience)
	c.over(t, name, patience)
	if l.killed {
		return
	}
	obeyed(t, job.ended())
	if srun.Wait(); srun.ProcessState.ExitCode() >= 0 && srun.ProcessState.ExitCode() != 143 {
		t.Errorf("srun ends with %v; want 143, of SIGTERM", srun.ProcessState)
	}
}

// loseAlone takes a job away that runs without corral: something is left of it,
// unless Slurm tracks it by control groups.
func (c *cluster) loseAlone(t *testing.T, l slurmLoss, track string) {
	job := newJob(t)
	srun, name := c.srun(t, job, job.alone())
	since := time.Now()
	l.end(c, t, srun, name)
	if track == "cgroup" {
		job.goneBy(since, l.within+killWait+patience)
		return
	}
	c.over(t, name, l.within+killWait+patience)
	job.stays(time.Now(), 0)
}

// srun starts a job on a node of its own, and returns when all of its tree is
// there.
func (c *cluster) srun(t *testing.T, job *job, line []string) (srun *exec.Cmd, name string) {
	t.Helper()
	name = strings.ReplaceAll(t.Name(), " ", "-")
	srun = c.command("srun", append([]string{"--quiet", c.on(t), "--time=1", "--job-name=" + name}, line...)...)
	srun.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	open(t, srun)
	t.Cleanup(func() {
		srun.Process.Kill()
		srun.Wait()
	})
	job.complete()
	return srun, name
}

// TestSlurmArray: 50 jobs at once, each on its own.
func TestSlurmArray(t *testing.T) {
	c := startCluster(t, "pgid", 3)
	for _, tt := range []struct {
		name, before  string // the command line
		corral, obeys bool
	}{
		{"exec corral", "exec ", true, true},
		// The script ends by SIGTERM, and Slurm kills what it has not waited for: mostly
		// before there is a report.
		{"corral", "", true, false},
		{"alone", "exec ", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			jobs, name := c.array(t, 50, tt.before, tt.corral)
			since := time.Now()
			c.cancel(t, nil, name)
			if !tt.corral {
				c.over(t, name, killWait+patience)
				for _, job := range jobs {
					job.stays(time.Now(), 0)
				}
				return
			}
			var reports []string
			for _, job := range jobs {
				job.goneBy(since, patience)
				if reports = append(reports, job.report); tt.obeys {
					obeyed(t, job.ended())
				}
			}
			c.over(t, name, patience)
			merge := exec.Command(jobs[0].corralled(nil)[0], append([]string{"report", "merge", "--json"}, reports...)...)
			out, err := merge.Output()
			var merged []corral.Report
			if err := json.Unmarshal(out, &merged); err != nil {
				t.Fatal(err)
			}
			if n := len(merged); tt.obeys != (n == len(jobs) && err == nil) {
				t.Errorf("%d reports, %v", n, err)
			}
		})
	}
}

// array submits an array of n jobs, and returns when all of them are there. before
// comes before the command line in the script of each.
func (c *cluster) array(t *testing.T, n int, before string, corral bool) (jobs []*job, name string) {
	t.Helper()
	dir := t.TempDir()
	for i := range n {
		job := newJob(t)
		line := job.alone()
		if corral {
			line = job.corralled(line)
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), []byte(before+quoted(line)+"\nexit\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		jobs = append(jobs, job)
	}
	name = strings.ReplaceAll(t.Name(), " ", "-")
	batch := c.command("sbatch", "--quiet", c.on(t), "--job-name="+name, fmt.Sprintf("--array=0-%d", n-1), "--output=/dev/null")
	batch.Stdin = strings.NewReader("#!/bin/sh\nexec sh " + dir + "/$SLURM_ARRAY_TASK_ID\n")
	if err := batch.Run(); err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		job.complete()
	}
	return jobs, name
}

// TestSlurmStatus: Slurm learns how the command has ended.
func TestSlurmStatus(t *testing.T) {
	c := startCluster(t, "pgid", 1)
	for _, tt := range []struct {
		flags  []string
		script string
		status int
	}{
		{nil, "exit 0", 0},
		{nil, "exit 7", 7},
		{nil, "kill -KILL $$", 137},
		{[]string{"--timeout", "100ms"}, "exec sleep 60", 124},
		{[]string{"--leftovers", "fail"}, "setsid sleep 60 >&- 2>&- & exit 0", 123},
	} {
		t.Run(tt.script, func(t *testing.T) {
			job := newJob(t)
			name := fmt.Sprint("status-", tt.status)
			srun := c.command("srun", append([]string{"--quiet", "--job-name=" + name}, job.corralled([]string{"sh", "-c", tt.script}, tt.flags...)...)...)
			srun.Run()
			if got := srun.ProcessState.ExitCode(); got != tt.status {
				t.Errorf("srun has status %d; want %d", got, tt.status)
			}
			said, err := c.command("scontrol", "show", "job", "-o").Output()
			if err != nil || !regexp.MustCompile(fmt.Sprintf(`JobName=%s .* ExitCode=%d:0 `, name, tt.status)).Match(said) {
				t.Errorf("Slurm says %s; %v", said, err)
			}
		})
	}
}

// cancel cancels the jobs of that name.
func (c *cluster) cancel(t *testing.T, _ *exec.Cmd, name string) {
	t.Helper()
	if err := c.command("scancel", "--name="+name).Run(); err != nil {
		t.Fatal(err)
	}
}

// obeyed checks that the members had the whole grace: those that obey SIGTERM have
// ended by it, and corral has killed the one that does not, before Slurm did. Slurm
// too sends its SIGTERM to those that it knows: they may have ended before corral
// looks.
func obeyed(t *testing.T, r *corral.Report) {
	t.Helper()
	fates := make(map[corral.Fate]int)
	for _, l := range r.Leftovers {
		fates[l.Fate]++
	}
	if r.Ending == corral.LifelineLost || r.Signal != "SIGTERM" || fates[corral.Forced] != 1 || fates[corral.Signalled] != len(r.Leftovers)-1 {
		text, _ := json.MarshalIndent(r, "", "  ")
		t.Errorf("corral's report is %s", text)
	}
}
