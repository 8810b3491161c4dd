//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/corral-run/corral"
)

// limitFlags are the flags that limit what a run may use.
type limitFlags struct {
	memory, fileSize, core byteLimit
	pids, openFiles        countLimit
	cpus                   cpuLimit
}

func (o *limitFlags) define(add func(value pflag.Value, name, short, usage string, completions func() []string)) {
	o.fileSize.zero, o.core.zero = true, true
	add(&o.memory, "memory", "", "kill the run when it uses more memory than this SIZE, all processes together", nil)
	add(&o.pids, "pids", "", "let there be at most this NUMBER of processes at a time, counting threads", nil)
	add(&o.cpus, "cpus", "", "let the run use this NUMBER of processors, such as 1.5, all processes together", nil)
	add(&o.openFiles, "open-files", "", "let each process have this NUMBER of descriptors", nil)
	add(&o.fileSize, "file-size", "", "let each process write files up to this SIZE", nil)
	add(&o.core, "core", "", "let core files have this SIZE; 0: none", nil)
}

func (o *limitFlags) limits() corral.Limits {
	return corral.Limits{
		Memory: o.memory.value, PIDs: int(o.pids), CPUs: float64(o.cpus),
		OpenFiles: int64(o.openFiles), FileSize: o.fileSize.value, Core: o.core.value,
	}
}

// needControlGroup reports whether there are limits of all processes together.
func (o *limitFlags) needControlGroup() bool { return o.memory.value > 0 || o.pids > 0 || o.cpus > 0 }

// unlimited is the value of each of these flags that takes a limit back, which a
// variable may have set.
const unlimited = "unlimited"

var errNoLimit = errors.New("0 would leave nothing to run with; use " + unlimited + " for no limit")

// byteLimit is a flag's value: a number of bytes, as corral.Limits has it.
type byteLimit struct {
	value int64
	zero  bool // 0 is a limit, too
}

func (v *byteLimit) Set(s string) error {
	if s == unlimited {
		v.value = 0
		return nil
	}
	n, err := parseBytes(s)
	switch {
	case err != nil:
		return err
	case n > 0:
		v.value = n
	case v.zero:
		v.value = corral.LimitToZero
	default:
		return errNoLimit
	}
	return nil
}

func (v *byteLimit) String() string {
	switch {
	case v.value == 0:
		return ""
	case v.value < 0:
		return "0"
	}
	return strconv.FormatInt(v.value, 10)
}

func (v *byteLimit) Type() string { return "SIZE" }

// parseBytes reads a number of bytes as people write it: 512M, 1.5G, 64KiB, 100kb, 4096.
// Units are powers of 1024.
func parseBytes(s string) (int64, error) {
	number := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := strings.TrimSuffix(strings.ToUpper(s[len(number):]), "B")
	if len(unit) == 2 {
		unit = strings.TrimSuffix(unit, "I")
	}
	shift, ok := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40, "P": 50}[unit]
	plain := number != "" && strings.Trim(number, "0123456789.") == ""
	f, err := strconv.ParseFloat(number, 64)
	if strings.HasPrefix(s, "-") {
		return 0, errors.New("a limit cannot be negative")
	}
	if !ok || !plain || err != nil {
		return 0, errors.New("use a number of bytes, for example 65536, 64K, 512M or 1.5G, or " + unlimited)
	}
	if f *= float64(uint64(1) << shift); f >= math.MaxInt64 {
		return 0, errors.New("too large; use " + unlimited + " for no limit")
	}
	return int64(math.Ceil(f)), nil
}

// countLimit is a flag's value: how many there may be.
type countLimit int

func (v *countLimit) Set(s string) error {
	if s == unlimited {
		*v = 0
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	switch {
	case errors.Is(err, strconv.ErrRange) && !strings.HasPrefix(s, "-"):
		return errors.New("too large; use " + unlimited + " for no limit")
	case err != nil && !errors.Is(err, strconv.ErrRange):
		return errors.New("use a number, for example 100, or " + unlimited)
	case err != nil || n < 0:
		return errors.New("a limit cannot be negative")
	case n == 0:
		return errNoLimit
	}
	*v = countLimit(n)
	return nil
}

func (v *countLimit) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.Itoa(int(*v))
}

func (v *countLimit) Type() string { return "NUMBER" }

// cpuLimit is a flag's value: a number of processors.
type cpuLimit float64

func (v *cpuLimit) Set(s string) error {
	const least = 0.01
	if s == unlimited {
		*v = 0
		return nil
	}
	if strings.HasPrefix(s, "-") {
		return errors.New("a limit cannot be negative")
	}
	f, err := strconv.ParseFloat(s, 64)
	switch {
	case s == "" || strings.Trim(s, "0123456789.") != "" || err != nil:
		return errors.New("use a number of processors, for example 2 or 1.5, or " + unlimited)
	case f == 0:
		return errNoLimit
	case f < least:
		return fmt.Errorf("the least is %v", least)
	}
	*v = cpuLimit(f)
	return nil
}

func (v *cpuLimit) String() string {
	if *v == 0 {
		return ""
	}
	return strconv.FormatFloat(float64(*v), 'g', -1, 64)
}

func (v *cpuLimit) Type() string { return "NUMBER" }
