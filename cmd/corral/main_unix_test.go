//go:build linux || darwin || freebsd

package main

// succeed is a command that does nothing.
var succeed = []string{"true"}
