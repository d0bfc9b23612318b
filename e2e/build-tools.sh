#!/bin/bash
# Builds the client programs that the end-to-end tests use (tools.txt: folder, program, module)
# from their Go modules, once a version, into
#   $TALLYSTICK_TOOLS, or ${XDG_CACHE_HOME:-$HOME/.cache}/tallystick/tools
# and fetches axe-core, with which pages are judged. A program that is there already is not built again. Two of these at once are harmless:
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
	elif [ "$2" = notation ]; then
		build_notation "$1" "$3"
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

# `go install` asks for the list of notation's versions, which not every module proxy gives. So it is built as the
# tool of an otherwise empty module, with its own checksums.
build_notation() { # folder module
	local module=${2%/cmd/*} version=${2#*@} source
	source=$(cd / && go mod download -json "$module@$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	mkdir -p "$tmp/$1" "$tmp/module"
	printf 'module tools\n%s\ntool %s\nrequire %s %s\n' "$(grep '^go ' "$source/go.mod")" "${2%@*}" "$module" "$version" >"$tmp/module/go.mod"
	install -m 644 "$source/go.sum" "$tmp/module/go.sum"
	(cd "$tmp/module" && GOFLAGS= go build -trimpath -mod=mod -o "$tmp/$1/notation" "${2%@*}")
	rm -rf "$tmp/module"
}

while read -r folder program module; do
	if [ -x "$tools/$folder/$program" ]; then
		echo "e2e-tools: $folder is in $tools"
	else
		SECONDS=0
		build "$folder" "$program" "$module"
	fi
done <"$list"

# axe-core finds what keeps people from using a page. It is one script, in a package of npm's of which nothing is run here.
axe=axe-core-4.14.1
if [ -f "$tools/$axe/axe.min.js" ]; then
	echo "e2e-tools: $axe is in $tools"
else
	(cd "$tmp" && npm pack --silent --ignore-scripts "axe-core@${axe#axe-core-}" >/dev/null)
	sha512sum --quiet -c - <<<"1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5  $tmp/$axe.tgz"
	mkdir "$tmp/$axe"
	tar -xzf "$tmp/$axe.tgz" -C "$tmp/$axe" --strip-components=1 package/axe.min.js package/LICENSE
	[ -f "$tools/$axe/axe.min.js" ] || { rm -rf "${tools:?}/$axe"; mv -T "$tmp/$axe" "$tools/$axe"; }
	echo "e2e-tools: fetched $axe"
fi
