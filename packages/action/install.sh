#!/usr/bin/env bash
# Downloads the release of corral for this system, compares it with the checksums of
# the release, and unpacks it:
#
#   install.sh VERSION DIR
#
# In a workflow, the directory is put on the PATH of the steps that follow.
# CORRAL_RELEASES is where the releases are. A download that gets nothing for CORRAL_STALLED
# seconds (30 by default) is begun again, three times at most.
set -euo pipefail

stop() { printf 'corral: %s\n' "$*" >&2; exit 125; }

[ $# = 2 ] || stop "usage: install.sh VERSION DIR"
version=$1 dir=$2
[[ $version =~ ^v[0-9]+\.[0-9]+\.[0-9]+(-[a-z]+[0-9]+)?$ ]] || stop "\"$version\" is no version; want one as v1.2.3"
case $(uname -s) in
Linux) os=linux ;;
Darwin) os=darwin ;;
FreeBSD) os=freebsd ;;
MINGW* | MSYS* | CYGWIN*) os=windows ;;
*) stop "there is no release for $(uname -s)" ;;
esac
case $(uname -m) in
x86_64 | amd64) arch=amd64 ;;
aarch64 | arm64) arch=arm64 ;;
*) stop "there is no release for $(uname -m)" ;;
esac
suffix=tar.gz program=corral
[ "$os" != windows ] || suffix=zip program=corral.exe
name=corral_${version#v}_${os}_$arch.$suffix
from=${CORRAL_RELEASES:-https://github.com/corral-run/corral/releases/download}/$version

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
for file in checksums.txt "$name"; do
	curl -fsSL --proto-redir =https --connect-timeout 30 --speed-limit 1 --speed-time "${CORRAL_STALLED:-30}" --max-time 600 --retry 3 \
		-o "$tmp/$file" "$from/$file" || stop "cannot download $from/$file"
done
want=$(awk -v name="$name" '$2 == name { print $1 }' "$tmp/checksums.txt")
[ -n "$want" ] || stop "checksums.txt of $version has no $name"
if command -v sha256sum >/dev/null; then sum=$(sha256sum "$tmp/$name"); else sum=$(shasum -a 256 "$tmp/$name"); fi
[ "${sum%% *}" = "$want" ] || stop "$name is not what checksums.txt says: ${sum%% *}, want $want"
mkdir -p "$dir"
if [ "$suffix" = zip ]; then unzip -qo "$tmp/$name" -d "$dir"; else tar -xzf "$tmp/$name" -C "$dir"; fi
"$dir/$program" version
[ -z "${GITHUB_PATH:-}" ] || printf '%s\n' "$dir" >>"$GITHUB_PATH"
[ -z "${GITHUB_OUTPUT:-}" ] || printf 'path=%s\n' "$dir/$program" >>"$GITHUB_OUTPUT"
