package main

import (
	"fmt"
	"slices"
	"time"
)

// pair is one turn: the peer and Corral, one right after the other.
type pair struct{ Theirs, Ours time.Duration }

// turns measures both n times. Which comes first alternates, so that whatever else
// the machine does weighs on both. The turn before the first does not count.
func turns(n int, theirs, ours func() (time.Duration, error)) ([]pair, error) {
	var pairs []pair
	for i := range n + 1 {
		var p pair
		order := []func() (err error){
			func() (err error) { p.Theirs, err = theirs(); return },
			func() (err error) { p.Ours, err = ours(); return },
		}
		if i%2 == 1 {
			slices.Reverse(order)
		}
		for _, f := range order {
			if err := f(); err != nil {
				return nil, err
			}
		}
		if i > 0 {
			pairs = append(pairs, p)
		}
	}
	return pairs, nil
}

func timed(f func() error) func() (time.Duration, error) {
	return func() (time.Duration, error) {
		began := time.Now()
		err := f()
		return time.Since(began), err
	}
}

// ratio is Corral's time over the peer's, turn by turn.
func ratio(pairs []pair, peer string) result {
	var ratios []float64
	var theirs []time.Duration
	for _, p := range pairs {
		ratios = append(ratios, float64(p.Ours)/float64(p.Theirs))
		theirs = append(theirs, p.Theirs)
	}
	return result{
		reached: fmt.Sprintf("%.2fx", quantile(ratios, 0.5)),
		spread:  fmt.Sprintf("%.2f to %.2f", quantile(ratios, 0.25), quantile(ratios, 0.75)),
		peer:    peer + ": " + milliseconds(quantile(theirs, 0.5)),
	}
}

// plain is a result in milliseconds.
func plain(all []time.Duration) result {
	return result{
		reached: milliseconds(quantile(all, 0.5)),
		spread:  fmt.Sprintf("%s to %s", milliseconds(quantile(all, 0.25)), milliseconds(quantile(all, 0.75))),
	}
}

// withTail is plain with the 99th percentile.
func withTail(all []time.Duration) result {
	res := plain(all)
	res.reached += ", p99 " + milliseconds(quantile(all, 0.99))
	return res
}

// beside is a result in milliseconds, with the peer's for comparison.
func beside(pairs []pair, peer string, in func([]time.Duration) result) result {
	var theirs, ours []time.Duration
	for _, p := range pairs {
		theirs, ours = append(theirs, p.Theirs), append(ours, p.Ours)
	}
	res := in(ours)
	res.peer = peer + ": " + in(theirs).reached
	return res
}

// quantile returns the value that a part q of all values does not exceed.
func quantile[T float64 | time.Duration](values []T, q float64) T {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// milliseconds formats a duration as the goals are written.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.3g ms", d.Seconds()*1000)
}
