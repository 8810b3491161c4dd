//go:build unix

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/corral-run/corral/internal/release"
)

// TestInstall: once both modules are released, go install with a version works. A
// replace directive in the command's go.mod would keep it from that.
func TestInstall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the command")
	}
	proxy := release.NewProxy(t)
	mod, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	required := regexp.MustCompile(`github\.com/corral-run/corral (v\S+)`).FindSubmatch(mod)
	proxy.PublishAs(t, "../..", "github.com/corral-run/corral", string(required[1]))
	proxy.Publish(t, ".", "github.com/corral-run/corral/cmd/corral")
	dir := t.TempDir()
	proxy.Setenv("GOBIN", dir)
	proxy.Go(t, dir, "install", "github.com/corral-run/corral/cmd/corral@"+release.Version)
	installed := filepath.Join(dir, "corral")
	err = exec.Command(installed, "--", "sh", "-c", "exit 3").Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("what was installed: %v; want exit status 3", err)
	}
	want := fmt.Sprintf("corral %s (%s, %s/%s)\n", release.Version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	if out, err := exec.Command(installed, "version").Output(); err != nil || string(out) != want {
		t.Errorf("corral version of what was installed: %q, %v; want %q", out, err, want)
	}
}
