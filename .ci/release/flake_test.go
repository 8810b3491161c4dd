package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
)

// TestFlake: flake.nix is Nix, and has a package for each system. Whether that can be
// built, only a machine with nixpkgs can say.
func TestFlake(t *testing.T) {
	if _, err := exec.LookPath("nix-instantiate"); err != nil {
		t.Skip("SKIPPED, no Nix to evaluate the flake with: ", err)
	}
	flake, err := filepath.Abs("../../flake.nix")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cmd := exec.Command("nix-instantiate", "--eval", "--strict", "--json", "testdata/flake.nix", "--arg", "flake", flake)
	cmd.Env = append(os.Environ(), "HOME="+dir, "NIX_STORE_DIR="+dir+"/store", "NIX_STATE_DIR="+dir+"/state", "NIX_LOCALSTATE_DIR="+dir+"/state", "NIX_LOG_DIR="+dir+"/log")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	type shown struct {
		Pname, Version, ModRoot, Library string
		Ldflags                          []string
	}
	var got map[string]shown
	if err := json.Unmarshal(out, &got); err != nil {
		t.Fatal(err)
	}
	one := shown{"corral", "0.0.0-abc", "cmd/corral", "(cd cmd/corral && go mod edit -replace github.com/corral-run/corral=../..)\n",
		[]string{"-s", "-w", "-X main.linkedVersion=v0.0.0-abc", "-X main.linkedCommit=abcdef"}}
	want := map[string]shown{"x86_64-linux": one, "aarch64-linux": one, "x86_64-darwin": one, "aarch64-darwin": one}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant\n%+v", got, want)
	}
}
