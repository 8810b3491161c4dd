//go:build linux

package filelimit

const prlimit64 = 302
