#!/bin/bash
# Builds the admission controllers' command lines that the tests with -tags engines use, once a
# version, into
#   $TALLYSTICK_TOOLS, or ${XDG_CACHE_HOME:-$HOME/.cache}/tallystick/tools
# Ten to thirty minutes and 530 MB on 2 cores, so they are not part of build-tools.sh.
#
# `go install` refuses modules with replace directives, and these have some. So each is built as the tool of
# an otherwise empty module, with its own replace directives and checksums.
set -euo pipefail

tools=${TALLYSTICK_TOOLS:-${XDG_CACHE_HOME:-$HOME/.cache}/tallystick/tools}
mkdir -p "$tools"
tools=$(cd "$tools" && pwd)

tmp=$(mktemp -d "$tools/.build-XXXXXX")
trap 'rm -rf "$tmp"' EXIT

build() { # folder program module version package
	[ ! -x "$tools/$1/$2" ] || { echo "engines: $1 is in $tools"; return; }
	echo "engines: waiting for the Go compiler to build $5@$4"
	local source
	source=$(cd / && go mod download -json "$3@$4" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	mkdir -p "$tmp/$1" "$tmp/module"
	{
		echo "module tools"
		grep '^go ' "$source/go.mod"
		echo "tool $5"
		echo "require $3 $4"
		sed -n 's/^\(replace\)\?[ \t]*\([^ \t/]*\/[^ \t]*\) => \([^ ]* v[^ ]*\).*/replace \2 => \3/p' "$source/go.mod"
	} >"$tmp/module/go.mod"
	install -m 644 "$source/go.sum" "$tmp/module/go.sum"
	(cd "$tmp/module" && GOFLAGS= go build -trimpath -mod=mod -o "$tmp/$1/$2" "$5")
	mv -T "$tmp/$1" "$tools/$1"
	rm -rf "$tmp/module"
}

build policy-controller-v0.13.1 tester github.com/sigstore/policy-controller v0.13.1 github.com/sigstore/policy-controller/cmd/tester
build kyverno-v1.19.1 kyverno github.com/kyverno/kyverno v1.19.1 github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno
