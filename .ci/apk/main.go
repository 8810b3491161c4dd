// Installs packages of Alpine into a directory, as Alpine's apk add --allow-untrusted does
// with a repository that has these packages. It uses apko's apk, as Alpine's own is to be
// had in no other distribution.
//
//	apk DIR FILE.apk...
package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"chainguard.dev/apko/pkg/apk/apk"
	apkfs "chainguard.dev/apko/pkg/apk/fs"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: apk DIR FILE.apk...")
		os.Exit(2)
	}
	if err := add(context.Background(), os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "apk:", err)
		os.Exit(1)
	}
}

func add(ctx context.Context, root string, files []string) error {
	repository, err := os.MkdirTemp("", "apk")
	if err != nil {
		return err
	}
	defer os.RemoveAll(repository)
	var index apk.APKIndex
	var names []string
	for _, file := range files {
		pkg, err := publish(ctx, repository, file)
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		index.Packages = append(index.Packages, pkg)
		names = append(names, pkg.Name)
	}
	arch := index.Packages[0].Arch
	archive, err := apk.ArchiveFromIndex(&index)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(archive)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(repository, arch, "APKINDEX.tar.gz"), data, 0o644); err != nil {
		return err
	}

	system, err := apk.New(ctx, apk.WithFS(apkfs.DirFS(ctx, root, apkfs.WithCreateDir())), apk.WithArch(arch),
		apk.WithIgnoreIndexSignatures(true), apk.WithIgnoreMknodErrors(true))
	if err != nil {
		return err
	}
	if err := system.InitDB(ctx); err != nil {
		return err
	}
	if err := system.SetRepositories(ctx, []string{repository}); err != nil {
		return err
	}
	if err := system.SetWorld(ctx, names); err != nil {
		return err
	}
	if _, err := system.FixateWorld(ctx, nil); err != nil {
		return err
	}
	installed, err := system.GetInstalled()
	if err != nil {
		return err
	}
	for _, pkg := range installed {
		fmt.Println("installed", pkg.Name, pkg.Version, pkg.Arch)
	}
	return nil
}

// publish copies a package into a repository, under the name that an index implies.
func publish(ctx context.Context, repository, file string) (*apk.Package, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pkg, err := apk.ParsePackage(ctx, bytes.NewReader(data), uint64(len(data)))
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(repository, pkg.Arch)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	return pkg, os.WriteFile(filepath.Join(dir, pkg.Filename()), data, 0o644)
}
