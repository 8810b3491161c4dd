//go:build !linux

package main

// adoptOrphans: there is no such thing here.
const adoptOrphans = false
