package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed corral.rb.tmpl
var formulaText string

// formula writes the Homebrew formula, which names each archive and its sum. A
// release without the archives of all its systems has none.
func (r *Release) formula() error {
	data := struct {
		Number string
		Sums   map[string]string
	}{r.number(), make(map[string]string)}
	for _, s := range []System{{"darwin", "arm64"}, {"darwin", "amd64"}, {"linux", "arm64"}, {"linux", "amd64"}} {
		text, err := os.ReadFile(filepath.Join(r.out, fmt.Sprintf("corral_%s_%s_%s.tar.gz", r.number(), s.OS, s.Arch)))
		if os.IsNotExist(err) {
			fmt.Printf("no Homebrew formula: it needs the archive for %v, which is not made\n", s)
			return nil
		}
		if err != nil {
			return err
		}
		data.Sums[s.OS+"_"+s.Arch] = sumOf(text)
	}
	var b bytes.Buffer
	if err := template.Must(template.New("").Option("missingkey=error").Parse(formulaText)).Execute(&b, data); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "corral.rb"), b.Bytes(), 0o644)
}
