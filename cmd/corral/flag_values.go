//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// duration is a flag's value: a length of time as Go or GNU timeout write it.
type duration time.Duration

func (d *duration) Set(s string) error {
	v, err := parseDuration(s)
	*d = duration(v)
	return err
}

// String returns "0" for none, which help takes for no default.
func (d *duration) String() string {
	if *d == 0 {
		return "0"
	}
	return time.Duration(*d).String()
}

func (d *duration) Type() string { return "DURATION" }

// forever stands for every length of time that is too long to count: 292 years.
const forever = time.Duration(math.MaxInt64)

var units = map[string]time.Duration{
	"ns": time.Nanosecond,
	"us": time.Microsecond,
	"µs": time.Microsecond, // U+00B5, micro sign
	"μs": time.Microsecond, // U+03BC, Greek letter mu
	"ms": time.Millisecond,
	"s":  time.Second,
	"m":  time.Minute,
	"h":  time.Hour,
	"d":  24 * time.Hour,
}

// parseDuration reads a length of time in the form of Go (1m30s, 1.5h), of GNU
// timeout (10, 2.5, 5m, 2d, 1e3, inf), or a mix of both (1d12h). What is longer
// than forever is forever, and what is shorter than a nanosecond but not zero
// is a nanosecond, because zero means something else; timeout(1) does the same.
func parseDuration(s string) (time.Duration, error) {
	// A number alone is in seconds.
	if f, err := strconv.ParseFloat(s, 64); err == nil || errors.Is(err, strconv.ErrRange) {
		f = notZero(f, s)
		if math.IsNaN(f) {
			return 0, errors.New("not a number")
		}
		if f < 0 {
			return 0, errors.New("a duration cannot be negative")
		}
		return scale(f, time.Second), nil
	}
	if len(s) > 1 && s[0] == '-' && strings.IndexByte(".0123456789", s[1]) >= 0 {
		return 0, errors.New("a duration cannot be negative")
	}
	rest := strings.TrimPrefix(s, "+")
	if rest == "" {
		return 0, errors.New("empty; use for example 10, 2.5m or 1m30s")
	}
	var sum time.Duration
	for rest != "" {
		n := prefixLength(rest, func(c byte) bool { return '0' <= c && c <= '9' || c == '.' })
		number := rest[:n]
		rest = rest[n:]
		u := prefixLength(rest, func(c byte) bool { return c != '.' && (c < '0' || c > '9') })
		unit := rest[:u]
		rest = rest[u:]
		f, err := strconv.ParseFloat(number, 64)
		if err != nil && !errors.Is(err, strconv.ErrRange) {
			return 0, errors.New("use for example 10, 2.5m or 1m30s")
		}
		size, ok := units[unit]
		if !ok && unit == "" {
			return 0, fmt.Errorf("a unit is missing after %s", number)
		}
		if !ok {
			return 0, fmt.Errorf("unknown unit %q; there are ns, us, ms, s, m, h and d", unit)
		}
		part := scale(notZero(f, number), size)
		if sum > forever-part {
			sum = forever - part
		}
		sum += part
	}
	return sum, nil
}

// notZero returns f, which strconv has made of s, or the smallest number of its
// sign if it is zero and s is not: 1e-5000.
func notZero(f float64, s string) float64 {
	if f == 0 && strings.ContainsAny(mantissa(strings.ToLower(s)), "123456789abcdef") {
		return math.Copysign(math.SmallestNonzeroFloat64, f)
	}
	return f
}

// mantissa is the part of a lower-case number before its exponent.
func mantissa(s string) string {
	s = strings.TrimLeft(s, "+-")
	if hex, ok := strings.CutPrefix(s, "0x"); ok {
		s, _, _ = strings.Cut(hex, "p")
		return s
	}
	s, _, _ = strings.Cut(s, "e")
	return s
}

func prefixLength(s string, is func(byte) bool) int {
	n := 0
	for n < len(s) && is(s[n]) {
		n++
	}
	return n
}

// scale returns f units, f not being negative.
func scale(f float64, unit time.Duration) time.Duration {
	ns := math.Round(f * float64(unit))
	switch {
	case ns >= float64(forever): // which is 2^63 here: not to be converted
		return forever
	case ns == 0 && f > 0:
		return 1
	}
	return time.Duration(ns)
}

// size is a flag's value: a number of bytes.
type size int64

func (v *size) Set(s string) error {
	n, err := parseSize(s)
	*v = size(n)
	return err
}

func (v *size) String() string { return strconv.FormatInt(int64(*v), 10) }
func (v *size) Type() string   { return "SIZE" }

// parseSize reads a number of bytes: 10, 64K, 1M or 2G, powers of 1024, in any
// case, and with or without iB after it, as head -c has it.
func parseSize(s string) (int64, error) {
	digits := prefixLength(s, func(c byte) bool { return '0' <= c && c <= '9' })
	unit := strings.TrimSuffix(strings.ToUpper(s[digits:]), "IB")
	shift, ok := map[string]uint{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[unit]
	if digits == 0 || !ok || unit == "" && digits < len(s) {
		return 0, errors.New("use a number of bytes, for example 65536, 64K, 10M or 1G")
	}
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil || n > math.MaxInt64>>shift {
		return 0, errors.New("too large")
	}
	return n << shift, nil
}

// signalValue is a flag's value: a signal by name or number.
type signalValue struct {
	syscall.Signal
	given bool // and not the default
}

func (v *signalValue) Set(s string) error {
	sig, err := parseSignal(s)
	v.Signal, v.given = sig, true
	return err
}

func (v *signalValue) String() string { return strings.TrimPrefix(signalName(v.Signal), "SIG") }
func (v *signalValue) Type() string   { return "SIGNAL" }

// parseSignal reads TERM, SIGTERM, sigterm or 15; the second names that some
// signals have; and RTMIN, RTMIN+3, RTMAX-1, or 37, where there are such.
func parseSignal(s string) (syscall.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if sig := syscall.Signal(n); isSignal(sig) {
			return sig, nil
		}
		return 0, errors.New("there is no such signal here")
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if other, ok := map[string]string{"IOT": "ABRT", "CLD": "CHLD", "POLL": "IO"}[name]; ok {
		name = other
	}
	sig := signalNumber("SIG" + name)
	if offset, ok := strings.CutPrefix(name, "RTMIN"); ok {
		sig = realTime(rtMin, offset, "+")
	} else if offset, ok := strings.CutPrefix(name, "RTMAX"); ok {
		sig = realTime(rtMax, offset, "-")
	}
	if sig != 0 {
		return sig, nil
	}
	if like := nearest(name, signalNames()); like != "" {
		return 0, fmt.Errorf("there is no such signal here (did you mean %s?)", like)
	}
	return 0, errors.New("there is no such signal here; use a name such as TERM or INT, or a number")
}

// realTime is the signal at offset from base, 0 if there is none.
func realTime(base syscall.Signal, offset, sign string) syscall.Signal {
	n := 0
	if offset != "" {
		var err error
		if n, err = strconv.Atoi(offset); err != nil || !strings.HasPrefix(offset, sign) {
			return 0
		}
	}
	if sig := base + syscall.Signal(n); rtMin <= sig && sig <= rtMax {
		return sig
	}
	return 0
}

// isSignal reports whether there is such a signal here.
func isSignal(sig syscall.Signal) bool {
	return signalName(sig) != "" || rtMin > 0 && rtMin <= sig && sig <= rtMax
}

// signalNames lists the signals of this system without SIG.
func signalNames() []string {
	var names []string
	for n := 1; n < 64; n++ {
		if name := signalName(syscall.Signal(n)); name != "" {
			names = append(names, strings.TrimPrefix(name, "SIG"))
		}
	}
	return names
}

// fileName is a flag's value: the name of a file.
type fileName string

func (v *fileName) Set(s string) error {
	if s == "" {
		return errors.New("the name of the file is empty")
	}
	*v = fileName(s)
	return nil
}

func (v *fileName) String() string { return string(*v) }
func (v *fileName) Type() string   { return "FILE" }

// lifelines is a flag's value: the names of lifelines.
type lifelines []string

func (v *lifelines) Set(list string) error {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return errors.New("empty; use stdin, tty, parent, fd:N or pid:N")
		}
		if !isLifeline(name) {
			return fmt.Errorf("%s is no lifeline; use stdin, tty, parent, fd:N or pid:N", name)
		}
		*v = append(*v, name)
	}
	return nil
}

// isLifeline reports whether name looks like a lifeline; whether it is one, the
// library finds out.
func isLifeline(name string) bool {
	kind, number, numbered := strings.Cut(name, ":")
	if !numbered {
		return kind == "stdin" || kind == "tty" || kind == "parent"
	}
	_, err := strconv.ParseUint(number, 10, 31)
	return err == nil && (kind == "fd" || kind == "pid")
}

func (v *lifelines) String() string { return strings.Join(*v, ",") }
func (v *lifelines) Type() string   { return "LIFELINE" }

// choice is a flag's value: one of a few names, each standing for a T.
type choice[T any] struct {
	kind    string // what help calls it
	to      *T
	current string
	options []option[T]
}

type option[T any] struct {
	name  string
	value T

	elsewhere bool // only another system has it
}

func (c *choice[T]) Set(s string) error {
	for _, o := range c.options {
		if o.name == s && o.elsewhere {
			return fmt.Errorf("not available on %s; it must be one of %s", runtime.GOOS, strings.Join(c.names(), ", "))
		}
		if o.name == s {
			c.current, *c.to = s, o.value
			return nil
		}
	}
	return fmt.Errorf("it must be one of %s", strings.Join(c.names(), ", "))
}

func (c *choice[T]) String() string { return c.current }
func (c *choice[T]) Type() string   { return c.kind }

func (c *choice[T]) names() []string {
	var names []string
	for _, o := range c.options {
		if !o.elsewhere {
			names = append(names, o.name)
		}
	}
	return names
}
