//go:build !race

package corral_test

const raceEnabled = false
