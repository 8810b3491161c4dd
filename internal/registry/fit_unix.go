//go:build linux || darwin || freebsd

package registry

import "encoding/json"

// spareRoom is for what is said beside a list of processes.
const spareRoom = 256 << 10

// fit returns of a list what has room in so many bytes of JSON, less spareRoom. Who they
// are is worth more than their command lines.
func fit(all []Process, most int) (fitting []Process, left *LeftOut) {
	room := most - spareRoom
	size := func(p Process) int {
		b, _ := json.Marshal(p) // which cannot fail
		return len(b) + 1
	}
	n, sizes := 0, make([]int, len(all))
	for ; n < len(all); n++ {
		sizes[n] = size(Process{PID: all[n].PID, Start: all[n].Start})
		if room -= sizes[n]; room < 0 {
			break
		}
	}
	left = &LeftOut{Processes: len(all) - n}
	for i, p := range all[:n] {
		if more := size(p) - sizes[i]; more <= room {
			room -= more
		} else {
			p = Process{PID: p.PID, Start: p.Start}
			left.Commands++
		}
		fitting = append(fitting, p)
	}
	if *left == (LeftOut{}) {
		left = nil
	}
	return fitting, left
}
