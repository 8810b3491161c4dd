package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// File is a file of an archive.
type File struct {
	Name    string // with slashes; what ends in one is a directory
	Text    []byte
	Program bool
	Shared  bool // a directory that all may write to
}

func (f File) mode() int64 {
	if f.Shared {
		return 0o1777
	}
	if f.Program || strings.HasSuffix(f.Name, "/") {
		return 0o755
	}
	return 0o644
}

// archives writes an archive for each system, and beside it what its program is
// made of.
func (r *Release) archives() error {
	for _, s := range r.systems {
		text, err := os.ReadFile(r.progs[s])
		if err != nil {
			return err
		}
		files := append([]File{{Name: s.program(), Text: text, Program: true}}, r.texts...)
		name := fmt.Sprintf("corral_%s_%s_%s", r.number(), s.OS, s.Arch)
		var packed []byte
		if s.OS == "windows" {
			name += ".zip"
			packed, err = zipped(files, r.time)
		} else {
			name += ".tar.gz"
			if packed, err = tarred(files, r.time); err == nil {
				packed, err = compressed(packed)
			}
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.out, name), packed, 0o644); err != nil {
			return err
		}
		if err := r.materials(s, name+".cdx.json"); err != nil {
			return err
		}
	}
	return nil
}

// tarred makes a tar archive of the files and the directories that they are in. All
// belong to root.
func tarred(files []File, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range withDirectories(files) {
		header := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.Name, Size: int64(len(f.Text)), Mode: f.mode(), ModTime: at,
			Format: tar.FormatUSTAR, Uname: "root", Gname: "root",
		}
		if strings.HasSuffix(f.Name, "/") {
			header.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.Text); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

func zipped(files []File, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range withDirectories(files) {
		header := &zip.FileHeader{Name: f.Name, Method: zip.Deflate, Modified: at}
		header.SetMode(os.FileMode(f.mode()))
		if strings.HasSuffix(f.Name, "/") {
			header.SetMode(os.ModeDir | 0o755)
		}
		entry, err := w.CreateHeader(header)
		if err == nil {
			_, err = entry.Write(f.Text)
		}
		if err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}

// withDirectories returns the files in the order of their names, each after the
// directories that it is in.
func withDirectories(files []File) []File {
	list := slices.Clone(files)
	known := make(map[string]bool)
	for _, f := range files {
		for dir := path.Dir(strings.TrimSuffix(f.Name, "/")); dir != "."; dir = path.Dir(dir) {
			if !known[dir] {
				known[dir] = true
				list = append(list, File{Name: dir + "/"})
			}
		}
	}
	slices.SortFunc(list, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return list
}
