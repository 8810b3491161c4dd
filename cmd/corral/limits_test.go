//go:build linux || darwin || freebsd || windows

package main

import (
	"math"
	"testing"

	"github.com/spf13/pflag"

	"github.com/corral-run/corral"
)

func TestLimitValues(t *testing.T) {
	for _, tt := range []struct {
		flag, text string
		want       corral.Limits
	}{
		{"memory", "4096", corral.Limits{Memory: 4096}},
		{"memory", "512M", corral.Limits{Memory: 512 << 20}},
		{"memory", "1.5g", corral.Limits{Memory: 3 << 29}},
		{"memory", "64KiB", corral.Limits{Memory: 64 << 10}},
		{"memory", "64kb", corral.Limits{Memory: 64 << 10}},
		{"memory", "2Gi", corral.Limits{Memory: 2 << 30}},
		{"memory", "100B", corral.Limits{Memory: 100}},
		{"memory", "0.1", corral.Limits{Memory: 1}},
		{"memory", "1P", corral.Limits{Memory: 1 << 50}},
		{"memory", "unlimited", corral.Limits{}},
		{"core", "0", corral.Limits{Core: corral.LimitToZero}},
		{"core", "unlimited", corral.Limits{}},
		{"file-size", "0", corral.Limits{FileSize: corral.LimitToZero}},
		{"file-size", "1M", corral.Limits{FileSize: 1 << 20}},
		{"pids", "100", corral.Limits{PIDs: 100}},
		{"open-files", "2147483647", corral.Limits{OpenFiles: math.MaxInt32}},
		{"cpus", "1.5", corral.Limits{CPUs: 1.5}},
		{"cpus", "0.01", corral.Limits{CPUs: 0.01}},
	} {
		flags, o := limitFlagSet()
		if err := flags.Set(tt.flag, tt.text); err != nil || o.limits() != tt.want {
			t.Errorf("--%s %s: %+v, %v", tt.flag, tt.text, o.limits(), err)
		}
		// What help shows as the default, and what String says, is read as the same.
		if again, o2 := limitFlagSet(); o.limits() != (corral.Limits{}) && (again.Set(tt.flag, flags.Lookup(tt.flag).Value.String()) != nil || o2.limits() != tt.want) {
			t.Errorf("--%s %s is shown as %s", tt.flag, tt.text, flags.Lookup(tt.flag).Value)
		}
	}
	for flag, texts := range map[string][]string{
		"memory":     {"", "0", "0K", "-1", "-1M", "1X", "M", "1 M", "1e9", "0x10", "1KiBB", "1BB", "1IB", "9000P", "infinity", "NaN", ".", "1..5"},
		"file-size":  {"", "-1", "1Z"},
		"core":       {"-1", "none"},
		"pids":       {"", "0", "-5", "1.5", "99999999999", "-99999999999", "x", "10K"},
		"open-files": {"0", "-1"},
		"cpus":       {"", "0", "0.0", "0.001", "-1", "1e3", "inf", "NaN", "x", "1,5"},
	} {
		for _, text := range texts {
			if flags, o := limitFlagSet(); flags.Set(flag, text) == nil || o.limits() != (corral.Limits{}) {
				t.Errorf("--%s %q: %+v", flag, text, o.limits())
			}
		}
	}
}

func limitFlagSet() (*pflag.FlagSet, *limitFlags) {
	flags, o := pflag.NewFlagSet("", pflag.ContinueOnError), new(limitFlags)
	o.define(func(value pflag.Value, name, short, usage string, _ func() []string) {
		flags.VarP(value, name, short, usage)
	})
	return flags, o
}
