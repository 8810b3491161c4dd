//go:build unix

package corral_test

import (
	"bytes"
	"flag"
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/corral-run/corral/internal/headtail"
)

var outputSize = flag.Int64("output-size", 1<<30, "bytes that the commands of BenchmarkOutput and TestOutputLimitMemory write; 10 GiB is 10737418240")

// counter is a sink that is no file.
type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

// BenchmarkOutput times a command that writes much, through os/exec and through
// this package in turns, to the same kind of writer.
func BenchmarkOutput(b *testing.B) {
	args := []string{"-c", fmt.Sprint(*outputSize), "/dev/zero"}
	const limit = 1 << 20
	theirs := func() (int64, error) {
		c := exec.Command("head", args...)
		var n counter
		c.Stdout = &n
		err := c.Run()
		return int64(n), err
	}
	limited := func() (int64, error) {
		c := group("head", args...)
		c.OutputLimit = limit
		_, err := c.Output()
		return c.Report().OutputDropped + limit, err
	}
	for _, bm := range []struct {
		name         string
		theirs, ours func() (int64, error)
	}{
		{"writer", theirs, func() (int64, error) {
			c := group("head", args...)
			var n counter
			c.Stdout = &n
			err := c.Run()
			return int64(n), err
		}},
		{"limit", func() (int64, error) {
			c := exec.Command("head", args...)
			var out bytes.Buffer
			w := &headtail.Writer{To: &out, Limit: limit}
			c.Stdout = w
			err := c.Run()
			return w.Dropped() + limit, err
		}, limited},
		{"limit against no limit", theirs, limited},
	} {
		b.Run(bm.name, func(b *testing.B) {
			var theirs, ours []time.Duration
			run := func(f func() (int64, error)) time.Duration {
				return timed(b, func() error {
					n, err := f()
					if err == nil && n != *outputSize {
						err = fmt.Errorf("%d bytes; want %d", n, *outputSize)
					}
					return err
				})
			}
			for i := 0; b.Loop(); i++ {
				if i%2 == 0 {
					theirs = append(theirs, run(bm.theirs))
					ours = append(ours, run(bm.ours))
				} else {
					ours = append(ours, run(bm.ours))
					theirs = append(theirs, run(bm.theirs))
				}
			}
			t, o := median(theirs), median(ours)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(t.Milliseconds()), "ms-os/exec")
			b.ReportMetric(float64(o.Milliseconds()), "ms-corral")
			b.ReportMetric(float64(o)/float64(t), "x-os/exec")
		})
	}
}
