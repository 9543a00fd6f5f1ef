#!/bin/sh
# Installs reconciler into a new virtual environment, from the sources and exactly what the lock
# files name, each file checked against its hash. The Dockerfile does it so, and so does its test.
#
#   install.sh SOURCES VENV WORK       WORK: an empty directory, for what is only needed meanwhile
set -eu
sources=$1 venv=$2 work=$3
locked() {
  python3.11 -m venv "$1"
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
    --only-binary :all: -r "$sources/image/$2.lock"
}
locked "$work/build" build
"$work/build/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps \
  --no-build-isolation --wheel-dir "$work/wheels" "$sources"
locked "$venv" runtime
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-index \
  "$work"/wheels/*.whl
"$venv/bin/python" -m pip check # each requirement is there, in a version that will do
