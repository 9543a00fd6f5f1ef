"""What a node of the tests reads: its configuration, and one small image. Nothing is downloaded."""

import hashlib
import io
import json
import platform
import shutil
import tarfile
from pathlib import Path

NAME = "node"
SMALL_IMAGE = "localhost/small:test"
_APPLETS = ("cat", "sh", "sleep")
_FOR_EVER_S = "2147483647"

_KERNEL = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1_000_000,
    "kernel/keys/root_maxbytes": 25_000_000,
}
"""What the kubelet asks of the kernel."""

_CONTAINERD = """\
version = 3
root = "{directory}/containerd"
state = "{directory}/state"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.nri.v1.nri",
]

[grpc]
  address = "{directory}/containerd.sock"

[ttrpc]
  address = "{directory}/ttrpc.sock"

[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{image}"

[plugins."io.containerd.cri.v1.runtime"]
  disable_apparmor = true
  # Even root may lack the right to make a process less likely to be killed.
  restrict_oom_score_adj = true

  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{plugins}"]
    conf_dir = "{directory}/network"
"""


def write_configuration(directory: Path, plugins: Path) -> None:
    """plugins: the directory of CNI plugins."""
    text = _CONTAINERD.format(directory=directory, plugins=plugins, image=SMALL_IMAGE)
    (directory / "containerd.toml").write_text(text)
    (directory / "kubelet.json").write_text(json.dumps(_kubelet(directory)))
    for name, number in _KERNEL.items():
        path = directory / "settings" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{number}\n")
    # A node has a network, or is not ready. Pods here use the machine's.
    network = {"cniVersion": "1.0.0", "name": "none", "plugins": [{"type": "loopback"}]}
    (directory / "network").mkdir()
    (directory / "network" / "10-none.conflist").write_text(json.dumps(network))


def _kubelet(directory: Path) -> dict[str, object]:
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "containerRuntimeEndpoint": f"unix://{directory}/containerd.sock",
        "podLogsDir": f"{directory}/logs",
        "volumePluginDir": f"{directory}/plugins",
        "staticPodPath": "",
        "enableServer": False,
        "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "protectKernelDefaults": True,
        "makeIPTablesUtilChains": False,
        "enforceNodeAllocatable": [],
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "100Mi"},
        "imageGCHighThresholdPercent": 100,
        "nodeStatusUpdateFrequency": "5s",
    }


def archive_of_small_image(path: Path) -> None:
    """Write an OCI archive of busybox and nothing else, which sleeps: it also holds sandboxes."""
    layer = _layer()
    digest = hashlib.sha256(layer).hexdigest()
    config = _json(
        {
            "architecture": _machine(),
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Entrypoint": ["/bin/sleep", _FOR_EVER_S]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}"]},
        }
    )
    kind = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{kind}.manifest.v1+json",
            "config": _described(f"{kind}.config.v1+json", config),
            "layers": [_described(f"{kind}.layer.v1.tar", layer)],
        }
    )
    named = _described(f"{kind}.manifest.v1+json", manifest)
    named["annotations"] = {"io.containerd.image.name": SMALL_IMAGE}
    with tarfile.open(path, "w") as archive:
        _add(archive, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [named]}))
        for blob in (layer, config, manifest):
            _add(archive, f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}", blob)


def _layer() -> bytes:
    busybox = shutil.which("busybox")
    assert busybox is not None
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as layer:
        layer.add(busybox, "bin/busybox")
        for name in _APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            layer.addfile(link)
    return written.getvalue()


def _described(kind: str, blob: bytes) -> dict[str, object]:
    digest = hashlib.sha256(blob).hexdigest()
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(blob)}


def _json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True).encode()


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _machine() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
