//go:build unix && !darwin

package corral

const maxrssUnit = 1024 // getrusage(2) counts kilobytes everywhere but on macOS
