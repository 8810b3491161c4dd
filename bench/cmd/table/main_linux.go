// Command table measures Corral against what a user would pick instead, and prints
// a Markdown table: see docs/performance.md. It is for Linux.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/corral-run/corral"
)

// effort is how much is measured.
type effort struct {
	rounds int // of a row that takes milliseconds
	short  bool
	heavy  bool
}

// few are the rounds of a row that takes a good part of a second.
func (e effort) few() int { return max(e.rounds/20, 1) }

// size is how much a row is about: full, or short with -short.
func (e effort) size(full, short int) int {
	if e.short {
		return short
	}
	return full
}

func main() {
	if len(os.Args) == 3 && roles[os.Args[1]] != nil {
		if err := roles[os.Args[1]](os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, os.Args[1]+":", err)
			os.Exit(1)
		}
		return
	}
	var e effort
	flag.BoolVar(&e.short, "short", false, "a few rounds and small numbers: shows that it works, not how fast")
	flag.BoolVar(&e.heavy, "heavy", false, "a tree of 10,000 processes instead of 1,000")
	flag.IntVar(&e.rounds, "n", 0, "`rounds` of each row; a twentieth of it for those that take long (default 200, with -short 5)")
	only := flag.String("rows", "", "measure only the rows whose figure matches this `regexp`")
	flag.Parse()
	if e.rounds <= 0 {
		e.rounds = e.size(200, 5)
	}
	wanted, err := regexp.Compile(*only)
	if err == nil && flag.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flag.Arg(0))
	}
	if err == nil {
		err = table(e, wanted)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "table:", err)
		os.Exit(1)
	}
}

// table measures and prints row by row. A row that fails does not stop the others.
func table(e effort, wanted *regexp.Regexp) error {
	dir, err := os.MkdirTemp("", "corral-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	missing := make(map[corral.Containment]error)
	fmt.Println(machine(missing))
	fmt.Println("\n| figure | goal | reached | spread | peer |\n| --- | --- | --- | --- | --- |")
	var skipped []string
	failed := false
	for _, r := range rows(e, dir) {
		if !wanted.MatchString(r.figure) {
			continue
		}
		if err := r.cannot(missing); err != nil {
			skipped = append(skipped, fmt.Sprintf("- %s: %v", r.figure, err))
			continue
		}
		fmt.Fprintln(os.Stderr, "measuring:", r.figure)
		res, err := r.measure()
		if err != nil {
			fmt.Fprintf(os.Stderr, "FAILED: %s: %v\n", r.figure, err)
			res, failed = result{reached: "failed"}, true
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", r.figure, r.goal, res.reached, res.spread, res.peer)
	}
	if len(skipped) > 0 {
		fmt.Printf("\nSkipped:\n%s\n", strings.Join(skipped, "\n"))
	}
	if failed {
		return errors.New("not all rows could be measured")
	}
	return nil
}

// cannot returns why a row cannot be measured here, nil if it can.
func (r row) cannot(missing map[corral.Containment]error) error {
	if err := missing[r.containment]; err != nil {
		return err
	}
	if r.tool != nil {
		if err := r.tool.Missing(); err != nil {
			return err
		}
	}
	if r.root && os.Geteuid() != 0 {
		return errors.New("only root may look at a helper's memory, as nobody else may trace it")
	}
	return nil
}

// machine describes where this runs, and fills in the containments that are missing
// there.
func machine(missing map[corral.Containment]error) string {
	var u unix.Utsname
	unix.Uname(&u)
	var can []string
	for _, cont := range []corral.Containment{corral.Cgroup, corral.Keeper, corral.PIDNS, corral.Group} {
		if err := contained(cont, "/bin/true").Run(); err != nil {
			missing[cont] = err
		} else {
			can = append(can, string(cont))
		}
	}
	return fmt.Sprintf("Linux %s, %s, %s, %d cores, %s; containments: %s.", unix.ByteSliceToString(u.Release[:]),
		runtime.GOARCH, processor(), runtime.NumCPU(), runtime.Version(), strings.Join(can, ", "))
}

// processor returns the name that the kernel has for the processor, if it has one.
func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown processor"
}
