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
	echo "e2e-tools: waiting for the Go compiler to build $3 (1 to 6 minutes on 2 cores the first time)"
	if [ "$2" = timestamp-server ]; then
		build_timestamp_server "$1" "$3"
	else
		# From the root folder: no go.mod around may change what is built.
		(cd / && GOFLAGS= GOBIN="$tmp/$1" go install -trimpath "$3")
	fi
	[ -x "$tools/$1/$2" ] || { rm -rf "${tools:?}/$1"; mv -T "$tmp/$1" "$tools/$1"; }
	echo "e2e-tools: built $1 in ${SECONDS}s"
}

# timestamp-server listens for metrics on port 2112 of all interfaces, whatever its flags, and ends
# when somebody else has that port. The one built here takes a free port of loopback instead;
# nothing else of it is changed.
build_timestamp_server() { # folder module
	local source
	source=$(cd / && go mod download -json "${2%/cmd/*}@${2#*@}" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	cp -r "$source" "$tmp/source"
	chmod -R u+w "$tmp/source"
	sed -i 's/":2112"/"127.0.0.1:0"/' "$tmp/source/pkg/server/prometheus.go"
	grep -q '"127.0.0.1:0"' "$tmp/source/pkg/server/prometheus.go"
	(cd "$tmp/source" && GOFLAGS= GOBIN="$tmp/$1" go install -trimpath ./cmd/timestamp-server)
}

while read -r folder program module; do
	if [ -x "$tools/$folder/$program" ]; then
		echo "e2e-tools: $folder is in $tools"
	else
		SECONDS=0
		build "$folder" "$program" "$module"
	fi
done <"$list"
