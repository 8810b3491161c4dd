package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestActionDownloads: what the action gets is what checksums.txt has, and a server that
// says no more does not keep a job waiting. Whoever is refused is told why in one line.
func TestActionDownloads(t *testing.T) {
	for _, name := range []string{"bash", "curl", "tar"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skip("SKIPPED: ", err)
		}
	}
	if runtime.GOOS == "windows" {
		t.Skip("the program of the release is a script")
	}
	archive, err := tarred([]File{{Name: "corral", Text: []byte("#!/bin/sh\necho this is corral $1\n"), Program: true}}, at)
	if err == nil {
		archive, err = compressed(archive)
	}
	if err != nil {
		t.Fatal(err)
	}
	name := fmt.Sprintf("corral_1.2.3_%s_%s.tar.gz", runtime.GOOS, runtime.GOARCH)
	sums := sumOf(archive) + "  " + name + "\n"
	for _, tt := range []struct {
		name, version, sums string
		stalls              int32 // so many downloads of the archive
		want                string
	}{
		{"good", "v1.2.3", sums, 0, ""},
		{"the archive stalls once", "v1.2.3", sums, 1, ""},
		{"another archive", "v1.2.3", strings.ToUpper(sumOf(nil)) + "  " + name + "\n", 0, name + " is not what checksums.txt says"},
		{"no checksums", "v1.2.3", "", 0, "cannot download"},
		{"not in the checksums", "v1.2.3", sumOf(archive) + "  other\n", 0, "checksums.txt of v1.2.3 has no " + name},
		{"no such release", "v1.2.4", sums, 0, "cannot download"},
		{"no version", "", sums, 0, `"" is no version`},
		{"a path", "v1.2.3/../v1.2.3", sums, 0, "is no version"},
		{"a command", "v1.2.3$(touch made)", sums, 0, "is no version"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch file, ok := strings.CutPrefix(r.URL.Path, "/v1.2.3/"); {
				case ok && file == "checksums.txt" && tt.sums != "":
					fmt.Fprint(w, tt.sums)
				case ok && file == name && asked.Add(1) <= tt.stalls:
					w.Write(archive[:10])
					w.(http.Flusher).Flush()
					<-r.Context().Done() // curl has hung up
				case ok && file == name:
					w.Write(archive)
				default:
					http.NotFound(w, r)
				}
			}))
			defer server.Close()
			defer server.CloseClientConnections() // curl outlives a script that is killed
			dir := filepath.Join(t.TempDir(), "to")
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			script, err := filepath.Abs("../../packages/action/install.sh")
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(ctx, script, tt.version, dir)
			cmd.Dir = t.TempDir()
			cmd.WaitDelay = time.Second // curl may have the output
			cmd.Env = append(os.Environ(), "CORRAL_RELEASES="+server.URL, "CORRAL_STALLED=2", "GITHUB_PATH=", "GITHUB_OUTPUT=", "no_proxy=127.0.0.1")
			out, err := cmd.CombinedOutput()
			if tt.want == "" {
				if err != nil || !strings.HasSuffix(string(out), "this is corral version\n") {
					t.Errorf("%v: %s", err, out)
				}
				return
			}
			if cmd.ProcessState.ExitCode() != 125 || !strings.Contains(string(out), "corral: ") || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v: %s; want %q, and status 125", err, out, tt.want)
			}
			if _, err := os.Stat(dir); err == nil {
				t.Error("there is something of it")
			}
			if made, _ := os.ReadDir(cmd.Dir); len(made) > 0 {
				t.Errorf("made: %v", made)
			}
		})
	}
}
