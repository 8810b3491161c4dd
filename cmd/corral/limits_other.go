//go:build darwin || freebsd || windows

package main

func stepAside() error { return nil }
