//go:build !linux

package proctree

func details(rows []Process) {
	for i, p := range rows {
		if p.Args == nil {
			rows[i] = Detail(p)
		}
	}
}
