//go:build linux

package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// otherPlace matches a directory with Go files that are not compiled with the
// module.
var otherPlace = regexp.MustCompile(`^(testdata|vendor|[._].+)$`)

// replaceImports replaces the import in all Go files that are compiled with the
// module, and returns in how many it has done so.
func replaceImports(dir string) (int, error) {
	n := 0
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != dir && otherPlace.MatchString(e.Name()):
			return fs.SkipDir
		case e.IsDir() || !strings.HasSuffix(path, ".go"):
			return nil
		}
		old, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		text, err := replaceImport(old)
		if err != nil || text == nil {
			return err
		}
		n++
		return os.WriteFile(path, text, 0o644)
	})
	return n, err
}

// replaceImport returns a file with the import changed, or nil if it has none or
// is generated.
func replaceImport(text []byte) ([]byte, error) {
	fset := token.NewFileSet()
	f, err := parser.ParseFile(fset, "", text, parser.ImportsOnly|parser.ParseComments)
	if err != nil || ast.IsGenerated(f) {
		return nil, err
	}
	for _, imp := range f.Imports {
		if imp.Path.Value != `"os/exec"` {
			continue
		}
		word := strconv.Quote(library)
		if imp.Name == nil {
			word = "exec " + word
		}
		from, to := fset.Position(imp.Path.Pos()).Offset, fset.Position(imp.Path.End()).Offset
		return slices.Concat(text[:from], []byte(word), text[to:]), nil
	}
	return nil, nil
}
