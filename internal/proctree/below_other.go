//go:build !linux

package proctree

func descendants(pid int) ([]Process, error) { return descendantsByTable(pid) }
func childPIDs(pid int) ([]int, error)       { return childPIDsByTable(pid) }

func eventDriven() bool { return true }
