#!/usr/bin/env bash
# Builds the programs of Kubernetes that the tests run, from their Go modules, once.
#
#   build.sh [SET…]           build what is not there yet; these sets, or all but the opt-in ones
#   build.sh --where SET…     print where the programs of each set are, or will be; build nothing
#
# A set is a directory here with a go.mod: its `tool` lines are what is built, its go.sum is what
# it is built from. One whose go.mod begins with `// opt-in` is built only when it is named.
#
# Results are kept in a cache by what they are made of, so the second call takes milliseconds. It
# may be started in the background as soon as the sources are there: a second call waits for the
# first one, and ends when all is built.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${XDG_CACHE_HOME:-${HOME:?neither XDG_CACHE_HOME nor HOME is set}/.cache}/reconciler/kube
flags="-trimpath -buildvcs=false -mod=readonly"

where_only=
if [[ ${1:-} == --where ]]; then
  where_only=yes
  shift
fi
sets=("$@")
((${#sets[@]})) || mapfile -t sets < <(cd "$here" && grep -L '^// opt-in' */go.mod | xargs -n1 dirname)

# The linker's flags for a set: no symbols for debuggers, and the version that a server tells.
linked_with() {
  local names="-s -w" package=k8s.io/component-base/version version
  version=$(sed -nE 's/^(require |\t)k8s.io\/kubernetes (v[0-9.]+).*/\2/p' "$here/$1/go.mod")
  if [[ $version =~ ^v([0-9]+)\.([0-9]+) ]]; then
    names+=" -X $package.gitVersion=$version"
    names+=" -X $package.gitMajor=${BASH_REMATCH[1]} -X $package.gitMinor=${BASH_REMATCH[2]}"
  fi
  echo "$names"
}

# Where a set is kept. The compiler's version is no part of the name: what was built stays right.
place_of() {
  local key
  key=$({ cat "$here/$1/go.mod" "$here/$1/go.sum" && echo "$flags $2" && uname -sm; } | sha256sum)
  echo "$cache/$1-${key:0:16}"
}

build() {
  local set=$1 names=$2 place=$3 work
  echo "building $set from its Go modules: once, for minutes" >&2
  rm -rf "$place".unfinished.* # of a build that was killed
  work=$(mktemp -d "$place.unfinished.XXXXXX")
  cd "$here/$set"
  # A developer's own settings of Go stay out, but for where modules come from.
  GOFLAGS=$flags CGO_ENABLED=0 GOWORK=off nice go build -ldflags "$names" -o "$work/" tool
  [[ ! -e $work/server ]] || mv "$work/server" "$work/etcd" # its package is called server
  chmod 755 "$work"
  mv -T "$work" "$place"
}

for set in "${sets[@]}"; do
  [[ -f $here/$set/go.mod ]] || { echo "no such set of programs: $set" >&2; exit 64; }
  names=$(linked_with "$set")
  place=$(place_of "$set" "$names")
  if [[ -n $where_only ]]; then
    echo "$place"
  elif [[ ! -d $place ]]; then
    command -v go >/dev/null || {
      echo "$set is built with Go, which is not here: install Go 1.26 or newer" >&2
      exit 1
    }
    mkdir -p "$cache"
    exec 9>"$cache/$set.lock"
    flock 9
    if [[ ! -d $place ]]; then # another call may have built it meanwhile
      (build "$set" "$names" "$place") # not behind ||, where a failure would not end it
    fi
    exec 9>&-
  fi
done
