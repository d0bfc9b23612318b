#!/bin/bash
# Builds what the tests with -tags kubernetes use, once a version, into
#   $TALLYSTICK_TOOLS, or ${XDG_CACHE_HOME:-$HOME/.cache}/tallystick/tools
# that is, the admission engines' own programs, a Kubernetes API server with kubectl, and Debian's etcd.
# Twenty minutes to an hour and 1 GB on 2 cores, so they are not part of build-tools.sh.
#
# `go install` refuses modules with replace directives, and most of these have some. So each is built as the
# tool of an otherwise empty module, with its own replace directives and checksums.
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
	# Kubernetes' own replace directives lead to folders that its module lacks: these are modules too, v0.x.y
	# beside v1.x.y.
	{
		echo "module tools"
		grep '^go ' "$source/go.mod"
		echo "tool $5"
		echo "require $3 $4"
		sed "s# => ./staging/src/\(.*\)# => \1 v0.${4#v1.}#" "$source/go.mod" |
			sed -n 's/^\(replace\)\?[ \t]*\([^ \t/]*\/[^ \t]*\) => \([^ ]* v[^ ]*\).*/replace \2 => \3/p'
	} >"$tmp/module/go.mod"
	install -m 644 "$source/go.sum" "$tmp/module/go.sum"
	(cd "$tmp/module" && GOFLAGS= go build -trimpath -mod=mod -o "$tmp/$1/$2" "$5")
	mv -T "$tmp/$1" "$tools/$1"
	rm -rf "$tmp/module"
}

build policy-controller-v0.13.1 tester github.com/sigstore/policy-controller v0.13.1 github.com/sigstore/policy-controller/cmd/tester
build kyverno-v1.19.1 kyverno github.com/kyverno/kyverno v1.19.1 github.com/kyverno/kyverno/cmd/cli/kubectl-kyverno
build kube-apiserver-v1.34.4 kube-apiserver k8s.io/kubernetes v1.34.4 k8s.io/kubernetes/cmd/kube-apiserver
build kubectl-v1.34.4 kubectl k8s.io/kubernetes v1.34.4 k8s.io/kubernetes/cmd/kubectl
build ratify-v1.4.6 ratify github.com/ratify-project/ratify v1.4.6 github.com/ratify-project/ratify/cmd/ratify

# How engines and cert-manager define their own resources and settings, to hold ours against.
definitions() { # folder module version files
	[ ! -d "$tools/$1" ] || { echo "engines: $1 is in $tools"; return; }
	echo "engines: fetching the files of $2@$3"
	local source
	source=$(cd / && go mod download -json "$2@$3" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	mkdir -p "$tmp/$1"
	(cd "$source" && install -m 644 "${@:4}" "$tmp/$1/")
	mv -T "$tmp/$1" "$tools/$1"
}
definitions definitions-gatekeeper-v3.23.1 github.com/open-policy-agent/gatekeeper/v3 v3.23.1 \
	charts/gatekeeper/values.yaml charts/gatekeeper/crds/{assign,constrainttemplate,provider}-customresourcedefinition.yaml
definitions definitions-policy-controller-v0.13.1 github.com/sigstore/policy-controller v0.13.1 config/300-{clusterimagepolicy,trustroot}.yaml
definitions definitions-kyverno-v1.19.1 github.com/kyverno/kyverno v1.19.1 \
	config/crds/kyverno/kyverno.io_clusterpolicies.yaml config/crds/policies.kyverno.io/policies.kyverno.io_imagevalidatingpolicies.yaml
definitions definitions-ratify-v1.4.6 github.com/ratify-project/ratify v1.4.6 config/crd/bases/config.ratify.deislabs.io_{policies,stores,verifiers}.yaml
definitions definitions-cert-manager-v1.21.2 github.com/cert-manager/cert-manager v1.21.2 deploy/crds/cert-manager.io_{certificates,issuers}.yaml

# Debian's etcd, or one that is installed.
if [ -x "$tools/etcd/etcd" ]; then
	echo "engines: etcd is in $tools"
else
	mkdir "$tmp/etcd" "$tmp/debian"
	if ! installed=$(command -v etcd); then
		echo "engines: fetching the Debian package etcd-server"
		fetch() { apt-get download -qq -o APT::Sandbox::User=root etcd-server; }
		(cd "$tmp/debian" && { fetch || { apt-get update -qq && fetch; }; } && dpkg -x etcd-server_*.deb .)
		installed=$tmp/debian/usr/bin/etcd
	fi
	install "$installed" "$tmp/etcd/etcd"
	mv -T "$tmp/etcd" "$tools/etcd"
fi

# This module's own program is the go command's to keep; it takes a moment when nothing has changed.
echo "engines: waiting for the Go compiler to build e2e/gatekeeper"
mkdir -p "$tools/gatekeeper-v3.23.1"
(cd "$(dirname "$0")/gatekeeper" && GOFLAGS= go build -trimpath -o "$tools/gatekeeper-v3.23.1/gatekeeper" .)
