package main

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/apk"
	_ "github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm"
)

// packages writes the packages of Linux distributions.
func (r *Release) packages() error {
	for _, s := range r.systems {
		if s.OS != "linux" {
			continue
		}
		for _, format := range []string{"deb", "rpm", "apk"} {
			if err := r.distribution(s, format); err != nil {
				return fmt.Errorf("%s for %v: %w", format, s, err)
			}
		}
	}
	return nil
}

func (r *Release) distribution(s System, format string) error {
	contents, err := r.contents(s, format)
	if err != nil {
		return err
	}
	const summary, more = "run a command and leave none of its processes behind",
		"What the command has started is stopped when it ends, times out or is cancelled."
	// .PKGINFO of Alpine's packages has a line for each value.
	description := summary
	if format != "apk" {
		description += "\n" + more
	}
	info := nfpm.WithDefaults(&nfpm.Info{
		Name: "corral", Arch: s.Arch, Platform: "linux", Version: r.version, Release: "1",
		Section: "utils", Priority: "optional", License: "MIT",
		Maintainer: "The Corral authors", Vendor: "The Corral authors",
		Homepage:    "https://github.com/corral-run/corral",
		Description: description,
		MTime:       r.time,
		Overridables: nfpm.Overridables{
			Contents: contents,
			RPM:      nfpm.RPM{BuildHost: "localhost", Summary: "Run a command and leave none of its processes behind"},
		},
	})
	if err := nfpm.PrepareForPackager(info, format); err != nil {
		return err
	}
	packager, err := nfpm.Get(format)
	if err != nil {
		return err
	}
	// GitHub would make a dot of the ~ itself, and checksums.txt would name no file.
	name := strings.ReplaceAll(packager.ConventionalFileName(info), "~", ".")
	file, err := os.Create(filepath.Join(r.out, name))
	if err != nil {
		return err
	}
	defer file.Close()
	if err := packager.Package(info, file); err != nil {
		return err
	}
	return file.Close()
}

// contents says where a distribution has which file.
func (r *Release) contents(s System, format string) (files.Contents, error) {
	const share = "/usr/share/"
	where := map[string]string{
		"completions/corral.bash": share + "bash-completion/completions/corral",
		"completions/_corral":     share + "zsh/site-functions/_corral",
		"completions/corral.fish": share + "fish/vendor_completions.d/corral.fish",
		"LICENSE":                 share + "licenses/corral/LICENSE",
	}
	if format == "deb" {
		where["completions/_corral"] = share + "zsh/vendor-completions/_corral"
		where["LICENSE"] = share + "doc/corral/copyright"
	}
	list := files.Contents{r.content(r.progs[s], "/usr/bin/corral", 0o755)}
	for _, f := range r.texts {
		to, text := where[f.Name], f.Text
		if path.Dir(f.Name) == "man" {
			to = share + "man/man1/" + path.Base(f.Name) + ".gz"
			var err error
			if text, err = compressed(text); err != nil {
				return nil, err
			}
		}
		if to == "" {
			continue
		}
		from := filepath.Join(r.tmp, "packages", format, filepath.FromSlash(to))
		if err := os.MkdirAll(filepath.Dir(from), 0o777); err != nil {
			return nil, err
		}
		if err := os.WriteFile(from, text, 0o666); err != nil {
			return nil, err
		}
		list = append(list, r.content(from, to, 0o644))
	}
	return list, nil
}

func (r *Release) content(from, to string, mode os.FileMode) *files.Content {
	return &files.Content{Source: from, Destination: to,
		FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.time}}
}
