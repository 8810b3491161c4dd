//go:build !linux

// Package delegated is for Linux.
package delegated
