module github.com/corral-run/corral/engines

go 1.25.0

require (
	github.com/corral-run/corral v0.0.0
	github.com/creack/pty v1.1.24
	golang.org/x/sys v0.31.0
)
