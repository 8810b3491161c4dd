//go:build !linux

// Package wakepoll is for Linux only.
package wakepoll
