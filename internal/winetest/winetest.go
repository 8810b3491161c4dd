// Package winetest is for tests that run on Windows, real or as Wine has it.
package winetest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// TempDir is t.TempDir for Wine too, where os.RemoveAll does not work (version 8.0
// has no FileDispositionInformationEx).
func TempDir(t testing.TB) string {
	t.Helper()
	if !Detected() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "corral")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// RemoveAll is os.RemoveAll for Wine too.
func RemoveAll(dir string) error {
	if !Detected() {
		return os.RemoveAll(dir)
	}
	var all []string
	filepath.WalkDir(dir, func(path string, _ fs.DirEntry, _ error) error {
		all = append(all, path)
		return nil
	})
	var errs []error
	for _, path := range slices.Backward(all) {
		errs = append(errs, os.Remove(path))
	}
	return errors.Join(errs...)
}

// Need skips the test, or the rest of it, under Wine. why says what Wine lacks.
func Need(t testing.TB, why string) {
	t.Helper()
	if Detected() {
		t.Skip("SKIPPED: under Wine, " + why)
	}
}
