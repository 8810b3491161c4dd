//go:build !linux

package main

// Real-time signals: none that have a name here.
const rtMin, rtMax = 0, 0
