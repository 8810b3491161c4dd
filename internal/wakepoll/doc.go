//go:build !linux && !darwin && !freebsd

// Package wakepoll is for systems with poll(2).
package wakepoll
