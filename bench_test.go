//go:build unix

package corral_test

import (
	"errors"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/corral-run/corral"
)

// BenchmarkRunTrue times /bin/true through os/exec and through this package in
// turns, so that whatever else the machine does weighs on both, and reports the
// medians and their ratio.
func BenchmarkRunTrue(b *testing.B) {
	for _, bm := range []struct {
		name   string
		theirs func() error
		ours   func() error
	}{
		{"group/Run", func() error { return exec.Command("/bin/true").Run() },
			func() error { return group("/bin/true").Run() }},
		{"group/StartWait", func() error { return startWait(exec.Command("/bin/true")) },
			func() error { return startWait(group("/bin/true")) }},
		{"group/Output", func() error { _, err := exec.Command("/bin/true").Output(); return err },
			func() error { _, err := group("/bin/true").Output(); return err }},
		{"cgroup/Run", func() error { return exec.Command("/bin/true").Run() },
			func() error { return contained(corral.Cgroup, "/bin/true").Run() }},
		{"cgroup/StartWait", func() error { return startWait(exec.Command("/bin/true")) },
			func() error { return startWait(contained(corral.Cgroup, "/bin/true")) }},
		{"keeper/Run", func() error { return exec.Command("/bin/true").Run() },
			func() error { return contained(corral.Keeper, "/bin/true").Run() }},
		{"pidns/Run", func() error { return exec.Command("/bin/true").Run() },
			func() error { return contained(corral.PIDNS, "/bin/true").Run() }},
	} {
		b.Run(bm.name, func(b *testing.B) {
			if err := bm.ours(); errors.Is(err, errors.ErrUnsupported) {
				b.Skip("SKIPPED: ", err)
			}
			var theirs, ours []time.Duration
			for i := 0; b.Loop(); i++ {
				first, second := bm.theirs, bm.ours
				if i%2 == 1 {
					first, second = second, first
				}
				a, c := timed(b, first), timed(b, second)
				if i%2 == 1 {
					a, c = c, a
				}
				theirs, ours = append(theirs, a), append(ours, c)
			}
			t, o := median(theirs), median(ours)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(t.Microseconds()), "µs-os/exec")
			b.ReportMetric(float64(o.Microseconds()), "µs-corral")
			b.ReportMetric(float64(o)/float64(t), "x-os/exec")
		})
	}
}

func group(name string, arg ...string) *corral.Cmd { return contained(corral.Group, name, arg...) }

func contained(cont corral.Containment, name string, arg ...string) *corral.Cmd {
	c := corral.Command(name, arg...)
	c.Containment, c.Require = cont, cont
	return c
}

func startWait(c interface {
	Start() error
	Wait() error
}) error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

func timed(b *testing.B, f func() error) time.Duration {
	began := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}
