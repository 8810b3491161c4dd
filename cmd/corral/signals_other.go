//go:build darwin || freebsd || windows

package main

// Real-time signals: none that have a name here.
const rtMin, rtMax = 0, 0
