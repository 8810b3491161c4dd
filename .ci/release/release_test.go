package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

var at = time.Date(2026, 11, 28, 1, 2, 4, 0, time.UTC)

func TestVersions(t *testing.T) {
	for version, want := range map[string]bool{
		"v1.2.3": true, "v0.0.0-git20261128010204": true, "v1.2.3-rc1": true, "v1.2.3-beta12": true,
		"1.2.3": false, "v1.2": false, "v01.2.3": false, "v1.2.3-rc.1": false, "v1.2.3-rc": false, "v1.2.3+dirty": false, "v1.2.3 ": false,
	} {
		if got := versions.MatchString(version); got != want {
			t.Errorf("%q is taken for a version: %v; want %v", version, got, want)
		}
	}
}

// TestArchives: whole, in order, with directories, and the same each time.
func TestArchives(t *testing.T) {
	files := []File{{Name: "corral", Text: []byte("program"), Program: true}, {Name: "man/corral.1", Text: []byte("page")}, {Name: "LICENSE", Text: []byte("MIT")}}
	want := []string{"LICENSE 644 MIT", "corral 755 program", "man/ 755 ", "man/corral.1 644 page"}

	packed, err := tarred(files, at)
	if err != nil {
		t.Fatal(err)
	}
	small, err := compressed(packed)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := gzip.NewReader(bytes.NewReader(small))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	r := tar.NewReader(unpacked)
	for {
		header, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(at) || header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s: %v, %d:%d; want %v, 0:0", header.Name, header.ModTime, header.Uid, header.Gid, at)
		}
		got = append(got, line(header.Name, header.FileInfo(), text))
	}
	if _, err := io.Copy(io.Discard, unpacked); err != nil { // the checksum comes last
		t.Error(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("tar:\n%q\nwant\n%q", got, want)
	}

	zipFile, err := zipped(files, at)
	if err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(zipFile), int64(len(zipFile)))
	if err != nil {
		t.Fatal(err)
	}
	got = nil
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		if !f.Modified.Equal(at) {
			t.Errorf("%s: %v; want %v", f.Name, f.Modified, at)
		}
		got = append(got, line(f.Name, f.FileInfo(), text))
	}
	if !slices.Equal(got, want) {
		t.Errorf("zip:\n%q\nwant\n%q", got, want)
	}
	slices.Reverse(files)
	if again, err := zipped(files, at); err != nil || !bytes.Equal(again, zipFile) {
		t.Errorf("the same files in another order make another archive; %v", err)
	}
}

func line(name string, info os.FileInfo, text []byte) string {
	return fmt.Sprintf("%s %o %s", name, info.Mode().Perm(), text)
}

// TestReleasedLibrary: when the modules require a release of the library, go.work is
// the only other file that says which.
func TestReleasedLibrary(t *testing.T) {
	root, dir := "../..", t.TempDir()
	tree := exec.Command("sh", "-euc", `git -c safe.directory='*' ls-files -co --exclude-standard -z |
		tar -c --null -T - | tar -x -C "$1"; cd "$1"
		find . -name go.mod -o -name go.work | xargs sed -i.bak 's/\(corral-run\/corral\) v0\.0\.0\>/\1 v1.999.0/'
		find . -name '*.bak' | xargs rm`, "sh", dir)
	tree.Dir = root
	if out, err := tree.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, args := range [][]string{
		{".ci/outside", ".ci/release", "go", "list", "."},
		{".ci/outside", "integrations/mcp", "go", "list", "./..."},
		{".ci/tidy", "-diff"},
	} {
		cmd := exec.Command(filepath.Join(dir, args[0]), args[1:]...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%q: %v\n%s", args, err, out)
		}
	}
	work, err := workspace(dir)
	if want := fmt.Sprintf("\nreplace github.com/corral-run/corral v1.999.0 => %q\n", dir); err != nil || !strings.HasSuffix(work, want) {
		t.Errorf("%q, %v; want %q at its end", work, err, want)
	}
}

// TestPackageNames: GitHub keeps the names of the files, also those of a version that
// other packages come after.
func TestPackageNames(t *testing.T) {
	s := System{"linux", "amd64"}
	r := &Release{out: t.TempDir(), tmp: t.TempDir(), version: "v1.2.3-rc1", time: at, systems: []System{s},
		texts: []File{{Name: "LICENSE", Text: []byte("MIT")}, {Name: "man/corral.1", Text: []byte("page")}}}
	r.progs = map[System]string{s: filepath.Join(r.tmp, "corral")}
	if err := os.WriteFile(r.progs[s], []byte("program"), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := r.packages(); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(r.out)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := []string{"corral-1.2.3.rc1-1.x86_64.rpm", "corral_1.2.3.rc1-1_amd64.deb", "corral_1.2.3_rc1-r1_x86_64.apk"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

// TestBuildEnvironment: what somebody has set for himself is not in a release. Where he
// has his modules is.
func TestBuildEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "env")
	if err := os.WriteFile(file, []byte("GOFLAGS=-tags=x\nGOEXPERIMENT=arenas\nGOAMD64=v3\nGOPROXY=https://proxy.example\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	clean := slices.DeleteFunc(os.Environ(), func(e string) bool {
		name, _, _ := strings.Cut(e, "=")
		return slices.Contains([]string{"GOFLAGS", "GOEXPERIMENT", "GOAMD64", "GOPROXY", "GOENV"}, name)
	})
	env, err := buildEnvironment(append(clean, "GOENV="+file))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "env", "GOFLAGS", "GOEXPERIMENT", "GOAMD64", "GOPROXY")
	cmd.Env = env
	out, err := cmd.Output()
	if want := "\n\nv1\nhttps://proxy.example\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

// TestFormula: each system has its own archive and sum, and it is Ruby.
func TestFormula(t *testing.T) {
	r := &Release{out: t.TempDir(), version: "v1.2.3"}
	var want []string
	for _, s := range []string{"darwin_arm64", "darwin_amd64", "linux_arm64", "linux_amd64"} {
		if err := os.WriteFile(filepath.Join(r.out, "corral_1.2.3_"+s+".tar.gz"), []byte(s), 0o666); err != nil {
			t.Fatal(err)
		}
		want = append(want, `url "https://github.com/corral-run/corral/releases/download/v1.2.3/corral_1.2.3_`+s+`.tar.gz"`,
			`sha256 "`+sumOf([]byte(s))+`"`)
	}
	if err := r.formula(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(r.out, "corral.rb")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for l := range strings.Lines(string(text)) {
		if l = strings.TrimSpace(l); strings.HasPrefix(l, "url ") || strings.HasPrefix(l, "sha256 ") {
			got = append(got, l)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
	if _, err := exec.LookPath("ruby"); err != nil {
		t.Skip("SKIPPED, no ruby to check the formula with: ", err)
	}
	if out, err := exec.Command("ruby", "-c", path).CombinedOutput(); err != nil {
		t.Errorf("ruby -c: %v: %s", err, out)
	}
}

// TestBOM: what is from the checkout has the version of the release, and what is
// from elsewhere its own, and the sum of go.sum.
func TestBOM(t *testing.T) {
	r := &Release{version: "v1.2.3", commit: "abc"}
	info := &debug.BuildInfo{GoVersion: "go1.26.8", Main: debug.Module{Path: "example.com/main", Version: "(devel)"}, Deps: []*debug.Module{
		{Path: "example.com/lib", Version: "v0.0.0", Replace: &debug.Module{Path: "example.com/lib", Version: "(devel)"}},
		{Path: "example.com/other", Version: "v0.3.0", Sum: "h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
	}}
	bom := r.bom(System{"linux", "amd64"}, info, "0123")
	var got []string
	for _, c := range *bom.Components {
		got = append(got, c.PackageURL)
		if c.Hashes != nil {
			got = append(got, string((*c.Hashes)[0].Algorithm)+" "+(*c.Hashes)[0].Value)
		}
	}
	want := []string{"pkg:golang/std@1.26.8", "pkg:golang/example.com/lib@v1.2.3", "pkg:golang/example.com/other@v0.3.0",
		"SHA-256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
	if c := bom.Metadata.Component; c.PackageURL != "pkg:golang/example.com/main@v1.2.3" || (*c.Hashes)[0] != (cdx.Hash{Algorithm: cdx.HashAlgoSHA256, Value: "0123"}) {
		t.Errorf("the program: %s, %v", c.PackageURL, *c.Hashes)
	}
}

// TestBadCommandLine: nothing is made, and one line says what was wrong.
func TestBadCommandLine(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "a"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ out, only, want string }{
		{"", "", "-out has to name a directory"},
		{full, "", "is not empty"},
		{t.TempDir(), "linux/s390x", `no release for the system "linux/s390x"`},
	} {
		if err := run("../..", "v1.2.3", c.out, c.only, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("-out %q -systems %q: %v; want %q", c.out, c.only, err, c.want)
		}
	}
}

// TestAsk: a release has the tag of its version, and a section in the changelog. A
// snapshot needs neither.
func TestAsk(t *testing.T) {
	dir := t.TempDir()
	do := func(line string) {
		t.Helper()
		cmd := exec.Command("sh", "-euc", line)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	commit := "git add . && git -c user.name=a -c user.email=a@example.com commit -qm a"
	want := func(version, want string) {
		t.Helper()
		err := (&Release{root: dir, version: version}).ask()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("version %q: %v; want %q", version, err, want)
		}
	}
	do("git init -q && printf '# Changelog\n\n## Unreleased\n- a\n\n## 1.2.2\n' >CHANGELOG.md && " + commit)
	want("", "")
	want("1.2.3", "want vX.Y.Z")
	want("v1.2.3", "does not have the tag cmd/corral/v1.2.3")
	do("git tag v1.2.3 && git tag cmd/corral/v1.2.30")
	want("v1.2.3", "does not have the tag cmd/corral/v1.2.3")
	do("git tag cmd/corral/v1.2.3")
	want("v1.2.3", `CHANGELOG.md is "Unreleased"; want "1.2.3"`)
	do("sed -i.bak s/Unreleased/1.2.3/ CHANGELOG.md && rm CHANGELOG.md.bak && " + commit + " && git tag -f cmd/corral/v1.2.3")
	want("v1.2.3", "")
	do("echo >>CHANGELOG.md")
	want("v1.2.3", "these files are in none")
	want("", "")
}
