#!/usr/bin/env bash
# The programs that witness for us in the tests and that pip cannot bring: disk tools and file
# servers from Debian, and npm's XAPI client. Does nothing (in well under a second) when all is there. As root, installs
# what is missing; as anybody else, says what is missing and which packages hold it, and fails.
set -euo pipefail
cd "$(dirname "$0")"
PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# program:Debian package
wanted=(
  qemu-img:qemu-utils
  qemu-io:qemu-utils
  mke2fs:e2fsprogs
  e2fsck:e2fsprogs
  debugfs:e2fsprogs
  mkfs.xfs:xfsprogs
  mkfs.btrfs:btrfs-progs
  losetup:mount
  mount:mount
  fallocate:util-linux
  node:nodejs
  npm:npm
  xva-img:xva-img
  promtool:prometheus
  linux.uml:user-mode-linux
  modprobe:kmod
  ip:iproute2
  mount.nfs:nfs-common
  mount.cifs:cifs-utils
  ganesha.nfsd:nfs-ganesha
  smbd:samba
  fusermount:fuse
  ceph:ceph-common
  radosgw:radosgw
  ceph-mon:ceph-mon
  ceph-osd:ceph-osd
)

# Files that no program stands for.
files=(
  "libfuse.so.2:libfuse2"
  "ganesha/libfsalvfs.so:nfs-ganesha-vfs"
)

missing=()
find_missing() {
  missing=()
  local pair
  for pair in "${wanted[@]}"; do
    command -v "${pair%%:*}" >/dev/null || missing+=("$pair")
  done
  for pair in "${files[@]}"; do
    compgen -G "/usr/lib/*/${pair%%:*}" >/dev/null || compgen -G "/lib/*/${pair%%:*}" >/dev/null ||
      missing+=("$pair")
  done
}

say_missing() {
  echo "tests need programs that are not here:" >&2
  local pair
  for pair in "${missing[@]}"; do
    printf '  %-12s Debian package %s\n' "${pair%%:*}" "${pair#*:}" >&2
  done
}

# Runs what downloads, and again after a pause where it failed: networks do, now and then.
patiently() {
  local pause_s
  for pause_s in 5 20 60; do
    "$@" && return
    echo "${*:1:3} … failed; once more in $pause_s s" >&2
    sleep "$pause_s"
  done
  "$@"
}

find_missing
if ((${#missing[@]})); then
  say_missing
  packages=$(printf '%s\n' "${missing[@]#*:}" | sort -u | tr '\n' ' ')
  if [[ $(id -u) != 0 ]] || ! command -v apt-get >/dev/null; then
    echo "install them, on Debian with: sudo apt-get install ${packages% }" >&2
    exit 1
  fi
  export DEBIAN_FRONTEND=noninteractive
  apt=(apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3)
  patiently "${apt[@]}" update
  # shellcheck disable=SC2086  # the list is meant to be split
  patiently "${apt[@]}" install --yes --no-install-recommends $packages >/dev/null
  find_missing
  if ((${#missing[@]})); then
    say_missing
    exit 1
  fi
fi

# npm writes .package-lock.json last, so a broken installation does not count.
client=conformance/xapi-js
if [[ -f $client/package.json && ! -f $client/node_modules/.package-lock.json ]]; then
  verb=install
  [[ -f $client/package-lock.json ]] && verb=ci
  patiently npm --prefix "$client" "$verb" --no-audit --no-fund --loglevel=error
fi
