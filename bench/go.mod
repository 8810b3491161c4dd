module github.com/corral-run/corral/bench

go 1.26.0

require (
	github.com/corral-run/corral v0.0.0
	golang.org/x/sys v0.49.0
)

require github.com/creack/pty v1.1.24 // indirect

replace github.com/corral-run/corral => ../
