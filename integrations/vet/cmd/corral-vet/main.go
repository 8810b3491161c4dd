// Corral-vet finds what a program that uses Corral in place of os/exec should say
// otherwise. Run it by itself or by the go command:
//
//	corral-vet ./...
//	go vet -vettool=$(which corral-vet) ./...
//
// With -osexec it looks at a program that still uses os/exec.
package main

import (
	"golang.org/x/tools/go/analysis/singlechecker"

	"github.com/corral-run/corral/integrations/vet"
)

func main() { singlechecker.Main(vet.Analyzer) }
