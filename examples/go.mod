module github.com/corral-run/corral/examples

go 1.25.0

require github.com/corral-run/corral v0.0.0

require golang.org/x/sys v0.31.0 // indirect
