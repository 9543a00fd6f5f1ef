#!/bin/sh
# Writes the lock files anew: what is locked stays, what pyproject.toml asks for besides is added.
# Delete a file first to have newer versions of everything.
#
#   lock.sh BIN       BIN: the directory of a virtual environment's programs, uv among them
set -eu
bin=$1
cd "$(dirname "$0")/.."
lock() {
  "$bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header \
    --no-annotate --output-file "image/$2.lock" "$1"
}
lock pyproject.toml runtime
"$bin/python" -c 'import tomllib
print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
  lock - build
