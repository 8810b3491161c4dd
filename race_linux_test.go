//go:build race

package corral_test

const raceEnabled = true
