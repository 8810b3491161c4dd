//go:build !linux

package proctree

func startNow() uint64 { return 0 } // not known

func details(rows []Process) {
	for i, p := range rows {
		if p.Args == nil {
			rows[i] = Detail(p)
		}
	}
}
