# nix run github:corral-run/corral -- -- npm test
#
# UNCHECKED: this has been parsed and evaluated (.ci/release, TestFlake), but not built,
# as nixpkgs was not to be had. vendorHash is not known: the first nix build prints it.
{
  description = "Run a command and leave none of its processes behind";

  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      each = f: nixpkgs.lib.genAttrs systems (system: f nixpkgs.legacyPackages.${system});
    in
    {
      packages = each (pkgs: {
        default = pkgs.buildGoModule {
          pname = "corral";
          version = "0.0.0-${self.shortRev or "dirty"}";
          src = self;
          modRoot = "cmd/corral";
          # The command requires a library that may have no release yet, and gets that of
          # this checkout. The hash is of the other modules alone.
          proxyVendor = true;
          env.CGO_ENABLED = "0";
          env.GOWORK = "off";
          postPatch = ''
            (cd cmd/corral && go mod edit -replace github.com/corral-run/corral=../..)
          '';
          overrideModAttrs = old: { inherit (old) postPatch; };
          vendorHash = nixpkgs.lib.fakeHash;
          ldflags = [ "-s" "-w" "-X main.linkedVersion=v0.0.0-${self.shortRev or "dirty"}" "-X main.linkedCommit=${self.rev or ""}" ];
          # The tests start and kill processes, and are for .ci/run.
          doCheck = false;
          nativeBuildInputs = [ pkgs.installShellFiles ];
          postInstall = ''
            mkdir man
            $out/bin/corral man man
            installManPage man/*.1
            installShellCompletion --cmd corral \
              --bash <($out/bin/corral completion bash) \
              --zsh <($out/bin/corral completion zsh) \
              --fish <($out/bin/corral completion fish)
          '';
          meta = {
            description = "Run a command and leave none of its processes behind";
            homepage = "https://github.com/corral-run/corral";
            license = pkgs.lib.licenses.mit;
            mainProgram = "corral";
          };
        };
      });
    };
}
