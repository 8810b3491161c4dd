# What flake.nix has for each system, with a nixpkgs that builds nothing.
{ flake }:
let
  systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
  genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
  pkgs = { buildGoModule = a: a; installShellFiles = "installShellFiles"; lib.licenses.mit = "MIT"; };
  nixpkgs = { lib = { inherit genAttrs; fakeHash = "fake"; }; legacyPackages = genAttrs systems (_: pkgs); };
  outputs = (import flake).outputs { self = { shortRev = "abc"; rev = "abcdef"; outPath = "/src"; }; inherit nixpkgs; };
  shown = p: {
    inherit (p) pname version modRoot ldflags;
    library = (p.overrideModAttrs { inherit (p) postPatch; }).postPatch;
  };
in
builtins.mapAttrs (_: p: shown p.default) outputs.packages
