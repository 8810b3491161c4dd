//go:build darwin || freebsd || windows

package main

// adoptOrphans: there is no such thing here.
const adoptOrphans = false
