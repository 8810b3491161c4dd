//go:build !linux && !darwin && !freebsd

package proctree

func survey() ([]Process, error)             { return snapshot() }
func descendants(pid int) ([]Process, error) { return descendantsByTable(pid) }
func childPIDs(pid int) ([]int, error)       { return childPIDsByTable(pid) }

func eventDriven() bool { return true }
