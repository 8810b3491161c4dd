module github.com/corral-run/corral/bench

go 1.25.0

require (
	github.com/corral-run/corral v0.0.0
	golang.org/x/sys v0.31.0
)
