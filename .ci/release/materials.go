package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// materials writes which modules a program has been built from, in which versions,
// and with which Go, as CycloneDX. The linker has written that into the program.
func (r *Release) materials(s System, name string) error {
	info, err := buildinfo.ReadFile(r.progs[s])
	if err != nil {
		return err
	}
	text, err := os.ReadFile(r.progs[s])
	if err != nil {
		return err
	}
	file, err := os.Create(filepath.Join(r.out, name))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := cdx.NewBOMEncoder(file, cdx.BOMFileFormatJSON).SetPretty(true).Encode(r.bom(s, info, sumOf(text))); err != nil {
		return err
	}
	return file.Close()
}

// bom has no serial number and no time, which would be others in each build.
func (r *Release) bom(s System, info *debug.BuildInfo, sum string) *cdx.BOM {
	bom := cdx.NewBOM()
	main := cdx.Component{
		BOMRef: purl(info.Main.Path, r.version), Type: cdx.ComponentTypeApplication, Name: info.Main.Path, Version: r.version,
		PackageURL: purl(info.Main.Path, r.version),
		Licenses:   &cdx.Licenses{{License: &cdx.License{ID: "MIT"}}},
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}},
		Properties: &[]cdx.Property{
			{Name: "corral:commit", Value: r.commit},
			{Name: "corral:system", Value: s.String()},
		},
	}
	bom.Metadata = &cdx.Metadata{Component: &main}
	goVersion := strings.TrimPrefix(info.GoVersion, "go")
	components := []cdx.Component{{
		BOMRef: purl("std", goVersion), Type: cdx.ComponentTypeLibrary, Name: "std", Version: goVersion, PackageURL: purl("std", goVersion),
	}}
	refs := []string{components[0].BOMRef}
	for _, module := range info.Deps {
		c := moduleComponent(module, r.version)
		components = append(components, c)
		refs = append(refs, c.BOMRef)
	}
	bom.Components = &components
	// The linker says what is in the program, not who required it.
	bom.Dependencies = &[]cdx.Dependency{{Ref: main.BOMRef, Dependencies: &refs}}
	return bom
}

// moduleComponent is a module of a program. One without a version is from the
// checkout, and so of the release itself.
func moduleComponent(module *debug.Module, version string) cdx.Component {
	if module.Replace != nil {
		module = module.Replace
	}
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, Name: module.Path, Version: module.Version}
	if c.Version == "(devel)" || c.Version == "v0.0.0" {
		c.Version = version
	}
	c.PackageURL = purl(c.Name, c.Version)
	c.BOMRef = c.PackageURL
	if encoded, ok := strings.CutPrefix(module.Sum, "h1:"); ok {
		if sum, err := base64.StdEncoding.DecodeString(encoded); err == nil && len(sum) == sha256.Size {
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
		}
	}
	return c
}

// purl is the package URL of a Go module
// (https://github.com/package-url/purl-spec, type golang).
func purl(module, version string) string {
	return fmt.Sprintf("pkg:golang/%s@%s", module, version)
}
