//go:build darwin || freebsd

package proctree

import (
	"os"

	"golang.org/x/sys/unix"
)

const known = true

func snapshot() ([]Process, error) {
	table, err := survey()
	if err != nil {
		return nil, err
	}
	for i := range table {
		table[i].Args = arguments(table[i].PID)
	}
	return table, nil
}

func survey() ([]Process, error) { return rows(everyProcess) }

func childPIDs(pid int) ([]int, error) { return childPIDsByTable(pid) }

func lookup(pid int) (Process, error) {
	p, err := row(pid)
	if err != nil {
		return p, err
	}
	p.Args = arguments(pid)
	return p, nil
}

func identify(pid int) (ID, error) {
	p, err := row(pid)
	return p.ID, err
}

func group(pgid int) ([]Process, error) {
	members, err := rows("kern.proc.pgrp", pgid)
	if err == unix.ESRCH {
		return nil, nil
	}
	return members, err
}

// row returns the row of pid without Args.
func row(pid int) (Process, error) {
	table, err := rows("kern.proc.pid", pid)
	// FreeBSD gives an error if there is no such process, macOS gives nothing.
	if err == unix.ESRCH || err == nil && (len(table) == 0 || table[0].PID != pid) {
		return Process{}, ErrGone
	}
	if err != nil {
		return Process{}, err
	}
	return table[0], nil
}

// sysctl returns the value of a sysctl, which may grow while it is read. It returns
// a bare ESRCH.
func sysctl(name string, args ...int) ([]byte, error) {
	for attempt := 1; ; attempt++ {
		b, err := unix.SysctlRaw(name, args...)
		switch {
		case err == nil || err == unix.ESRCH:
			return b, err
		case err != unix.ENOMEM || attempt == 10:
			return nil, os.NewSyscallError("sysctl "+name, err)
		}
	}
}
