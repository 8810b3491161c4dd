//go:build !linux

package proctree

// What procfs_linux.go and below_linux.go have, and no other system needs.

func startNow() uint64 { return 0 } // not known

func details(rows []Process) {
	for i, p := range rows {
		if p.Args == nil {
			rows[i] = Detail(p)
		}
	}
}

// BelowMainThread is Below: no thread of a process has children of its own.
func BelowMainThread(pid int, _ ...int) ([]Process, error) { return Below(pid) }

// Births returns 0: there is no such number here.
func Births() int { return 0 }

// MoreBelowMainThread is Below: see the one on Linux.
func MoreBelowMainThread(pid int, _ []Process) ([]Process, error) { return Below(pid) }

func keepOpen() error { return nil }

func usable() error {
	_, err := survey()
	return err
}

func brief(pid int) (Process, error) { return lookup(pid) }
