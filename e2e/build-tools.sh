#!/bin/bash
# Builds the client programs that the end-to-end tests use (tools.txt: folder, program, module)
# from their Go modules, once a version, into
#   $TALLYSTICK_TOOLS, or ${XDG_CACHE_HOME:-$HOME/.cache}/tallystick/tools
# A program that is there already is not built again. Two of these at once are harmless:
# each builds beside the cache and moves the finished folder into place.
set -euo pipefail

list=$(cd "$(dirname "$0")" && pwd)/tools.txt
tools=${TALLYSTICK_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/tallystick/tools}
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)

tmp=$(mktemp -d "$tools/.build-XXXXXX")
trap 'rm -rf "$tmp"' EXIT

build() { # folder program module
	echo "e2e-tools: waiting for the Go compiler to build $3 (3 to 6 minutes on 2 cores the first time)"
	# From the root folder: no go.mod around may change what is built.
	(cd / && GOFLAGS= GOBIN="$tmp/$1" go install -trimpath "$3")
	[ -x "$tools/$1/$2" ] || { rm -rf "${tools:?}/$1"; mv -T "$tmp/$1" "$tools/$1"; }
	echo "e2e-tools: built $1 in ${SECONDS}s"
}

while read -r folder program module; do
	if [ -x "$tools/$folder/$program" ]; then
		echo "e2e-tools: $folder is in $tools"
	else
		SECONDS=0
		build "$folder" "$program" "$module"
	fi
done <"$list"
