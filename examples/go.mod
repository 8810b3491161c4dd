module github.com/corral-run/corral/examples

go 1.25.0
