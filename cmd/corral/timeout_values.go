//go:build linux || darwin || freebsd || windows

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// interval is an option's value: a length of time as GNU timeout takes it.
type interval time.Duration

func (d *interval) Set(s string) error {
	v, ok := parseInterval(s)
	if !ok {
		return fmt.Errorf("invalid time interval '%s'", s)
	}
	*d = interval(v)
	return nil
}

func (d *interval) String() string { return (*duration)(d).String() }

func (d *interval) Type() string { return "DURATION" }

// parseInterval reads a number as strtod(3) does, hexadecimal ones and white
// space in front included, and one of the suffixes. As in scale, the smallest is
// a nanosecond, the largest forever.
func parseInterval(s string) (time.Duration, bool) {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	unit := time.Second
	f, ok := parseNumber(s)
	if !ok && s != "" { // not first: d is a hexadecimal digit, too
		end := len(s) - 1
		if unit, ok = units[s[end:]]; ok {
			f, ok = parseNumber(s[:end])
		}
	}
	if !ok || !(f >= 0) {
		return 0, false
	}
	return scale(f, unit), true
}

func parseNumber(s string) (float64, bool) {
	lower := strings.ToLower(s)
	if strings.Contains(s, "_") {
		return 0, false
	}
	if strings.Contains(lower, "0x") && !strings.Contains(lower, "p") {
		s += "p0"
	}
	f, err := strconv.ParseFloat(s, 64)
	if errors.Is(err, strconv.ErrRange) {
		return f, true
	}
	return notZero(f, s), err == nil
}

// timeoutSignal is an option's value: a signal as GNU timeout takes it, which
// may be none, 0.
type timeoutSignal struct{ syscall.Signal }

func (v *timeoutSignal) Set(s string) error {
	sig, ok := parseTimeoutSignal(s)
	if !ok {
		return fmt.Errorf("'%s': invalid signal", s)
	}
	v.Signal = sig
	return nil
}

func (v *timeoutSignal) String() string { return v.name() }

func (v *timeoutSignal) Type() string { return "SIGNAL" }

// name is what GNU timeout calls the signal: that of sig2str of POSIX.
func (v timeoutSignal) name() string {
	middle := rtMin + (rtMax-rtMin)/2
	switch n := int(v.Signal); {
	case n == 0:
		return "EXIT"
	case signalName(v.Signal) == "SIGIO":
		return "POLL"
	case signalName(v.Signal) != "":
		return strings.TrimPrefix(signalName(v.Signal), "SIG")
	case n == rtMin:
		return "RTMIN"
	case n == rtMax:
		return "RTMAX"
	case rtMin < n && n <= middle:
		return fmt.Sprintf("RTMIN+%d", n-rtMin)
	case middle < n && n < rtMax:
		return fmt.Sprintf("RTMAX-%d", rtMax-n)
	default:
		return strconv.Itoa(n)
	}
}

// parseTimeoutSignal reads what parseSignal does, 0 and EXIT, and, as a number,
// also the exit status that a shell gives for the signal.
func parseTimeoutSignal(s string) (syscall.Signal, bool) {
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	switch {
	case name == "EXIT":
		return 0, true
	case s != "" && '0' <= s[0] && s[0] <= '9':
		n, err := strconv.ParseInt(s, 10, 32)
		if n >= 0xff {
			n &= 0xff
		} else {
			n &= 0x7f
		}
		return knownSignal(int(n), err == nil)
	case name != s && name != "" && '0' <= name[0] && name[0] <= '9': // SIG15
		n, err := strconv.Atoi(name)
		return knownSignal(n, err == nil)
	}
	sig, err := parseSignal(s)
	return sig, err == nil && !strings.HasPrefix(s, "+") && !strings.HasPrefix(s, "-")
}

func knownSignal(n int, ok bool) (syscall.Signal, bool) {
	sig := syscall.Signal(n)
	return sig, ok && (n == 0 || isSignal(sig))
}
