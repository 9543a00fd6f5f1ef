"""The places that the conformance suites run over.

A kind of remote is a function here, marked with `kind`: given a `Grounds` it opens an empty remote
as often as it is asked (each time as another process would), as an async context manager. To add a
real server: write the fixture that starts it, and such a function that opens a remote on it.
"""

import asyncio
import contextlib
import itertools
import os
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import pytest
from ceph import rgw_server
from s3_servers import ACCESS_KEY, BUCKET, SECRET_KEY, S3Server, moto_server, rclone_server
from uml import require

from reconciler.remotes.encrypted import EncryptedRemote
from reconciler.remotes.fenced import FencedRemote
from reconciler.remotes.file import FileRemote
from reconciler.remotes.filesystem import Filesystem
from reconciler.remotes.limited import LimitedRemote
from reconciler.remotes.memory import MemoryFilesystem
from reconciler.remotes.places import S3Place
from reconciler.remotes.posix import PosixFilesystem
from reconciler.remotes.rate import Rate
from reconciler.remotes.remote import Remote
from reconciler.remotes.s3 import S3Remote

MIB = 1024 * 1024
MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F"],
    "xfs": ["mkfs.xfs", "-q", "-f"],
    "btrfs": ["mkfs.btrfs", "-q", "-f"],
}
IMAGE_BYTES = 320 * MIB  # mkfs.xfs makes no file system below 300 MiB
ONE_CEPH = pytest.mark.xdist_group("ceph")  # by one worker: it takes long to start
GIVEN = "RECONCILER_REMOTE_PATH"
"""A variable that names a directory, on a mounted share: the suites run there, and nowhere else."""


def needs_root(kind: str):
    return pytest.param(kind, marks=pytest.mark.mounts)


FILESYSTEMS = [
    "memory",
    "memory-reflink",
    "posix",
    needs_root("ext4"),
    needs_root("xfs"),
    needs_root("btrfs"),
]


@dataclass(frozen=True)
class Grounds:
    """What a kind of remote is built on: fixtures by name, a directory and a name of this test."""

    request: pytest.FixtureRequest
    area: Path

    @property
    def name(self) -> str:
        return self.fixture("own_name")

    def fixture(self, name: str):
        return self.request.getfixturevalue(name)


Opening = AbstractAsyncContextManager[Remote]
KINDS: dict[str, tuple[Callable[[Grounds], Callable[[], Opening]], tuple]] = {}


def kind(name: str, *marks: pytest.MarkDecorator):
    """Register a kind: from grounds, make what opens the same place again and again."""

    def register(prepare: Callable[[Grounds], Callable[[], Opening]]):
        KINDS[name] = (prepare, marks)
        return prepare

    return register


_numbers = itertools.count(1)


@pytest.fixture
def own_name() -> str:
    """Of this test alone, for a prefix or a directory on something shared. The name of `tmp_path`
    is not: pytest gives it again once a test has passed."""
    return f"{os.getpid()}-{next(_numbers)}"


@pytest.fixture(scope="session")
def mounted() -> Iterator[dict[str, Path]]:
    """Loop-mounted file systems, made when first asked for."""
    mounts: dict[str, Path] = {}
    yield mounts
    for directory in mounts.values():
        subprocess.run(["umount", str(directory)], check=True)


def mount(kind: str, mounts: dict[str, Path], area: Path) -> Path:
    if kind not in mounts:
        if os.geteuid() != 0:
            pytest.skip("mounting needs root")
        image, directory = area / f"{kind}.img", area / kind
        directory.mkdir()
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        try:
            subprocess.run([*MKFS[kind], str(image)], check=True, capture_output=True)
            subprocess.run(["mount", "-o", "loop", str(image), str(directory)], check=True)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            pytest.skip(f"no {kind} here: {error}")
        mounts[kind] = directory
    return mounts[kind]


@pytest.fixture
def on_mount(mounted, own_name, tmp_path_factory) -> Callable[[str], PosixFilesystem]:
    """An empty directory on a loop-mounted file system of a kind."""

    def make(kind: str) -> PosixFilesystem:
        root = mount(kind, mounted, tmp_path_factory.getbasetemp()) / own_name
        root.mkdir()
        return PosixFilesystem(str(root))

    return make


@pytest.fixture(scope="session")
def moto(tmp_path_factory) -> Iterator[S3Server]:
    with moto_server(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session", autouse=True)
def quick_to_settle() -> Iterator[None]:
    """A server that honours no conditions is given a moment after each name that is taken. Nobody
    here takes one at the same time there, so it may be a short one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("reconciler.remotes.s3._SETTLE_S", 0.05)
        yield


@pytest.fixture(scope="session")
def rclone(tmp_path_factory) -> Iterator[S3Server]:
    with rclone_server(tmp_path_factory.mktemp("rclone")) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory) -> Iterator[S3Server]:
    require("radosgw", "ceph-mon", "ceph-osd", "ceph")
    with rgw_server(tmp_path_factory.mktemp("ceph")) as server:
        yield server


def given_directory(name: str) -> PosixFilesystem:
    """An empty directory at the given place."""
    root = Path(os.environ[GIVEN]) / name
    root.mkdir()
    return PosixFilesystem(str(root))


def place_on(server: S3Server, prefix: str) -> S3Place:
    return S3Place(
        bucket=BUCKET,
        access_key=ACCESS_KEY,
        secret_key=lambda: SECRET_KEY,
        endpoint=server.endpoint,
        prefix=prefix,
    )


@pytest.fixture
def s3_place() -> Callable[[S3Server, str], S3Place]:
    """Describes a place on a server, by its prefix."""
    return place_on


@pytest.fixture
def filesystem(request, tmp_path, own_name, on_mount) -> Filesystem:
    match request.param:
        case "memory":
            return MemoryFilesystem(reflink=False)
        case "memory-reflink":
            return MemoryFilesystem(reflink=True)
        case "posix":
            return PosixFilesystem(str(tmp_path))
        case "given":
            return given_directory(f"{own_name}-file")
        case kind:
            return on_mount(kind)


# --- the kinds


def on_filesystem(filesystem: Filesystem) -> Callable[[], Opening]:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[FileRemote]:
        threads = None if isinstance(filesystem, MemoryFilesystem) else 4
        remote = await FileRemote.attach("cellar", filesystem, threads=threads)
        yield remote
        await remote.close()

    return opened


def on_s3(place: S3Place) -> Callable[[], Opening]:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[S3Remote]:
        remote = await S3Remote.attach("cellar", place)
        yield remote
        await remote.close()

    return opened


@kind("memory")
def memory(grounds: Grounds) -> Callable[[], Opening]:
    return on_filesystem(MemoryFilesystem())


@kind("local")
def local(grounds: Grounds) -> Callable[[], Opening]:
    return on_filesystem(PosixFilesystem(str(grounds.area)))


for _name in MKFS:

    @kind(_name, pytest.mark.mounts)
    def loop_mount(grounds: Grounds, name: str = _name) -> Callable[[], Opening]:
        return on_filesystem(grounds.fixture("on_mount")(name))


@kind("s3-moto")
def s3_moto(grounds: Grounds) -> Callable[[], Opening]:
    return on_s3(place_on(grounds.fixture("moto"), grounds.name))


@kind("s3-rclone")
def s3_rclone(grounds: Grounds) -> Callable[[], Opening]:
    return on_s3(place_on(grounds.fixture("rclone"), grounds.name))


@kind("s3-ceph", pytest.mark.servers, ONE_CEPH)
def s3_ceph(grounds: Grounds) -> Callable[[], Opening]:
    return on_s3(place_on(grounds.fixture("ceph"), grounds.name))


ENCRYPTION_KEY = "0123456789abcdef0123456789abcdef"


def encrypted(bare: Callable[[], Opening]) -> Callable[[], Opening]:
    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Remote]:
        async with bare() as inner:
            yield await EncryptedRemote.attach(inner, lambda: ENCRYPTION_KEY)

    return opened


@kind("encrypted-memory")
def encrypted_memory(grounds: Grounds) -> Callable[[], Opening]:
    return encrypted(memory(grounds))


@kind("encrypted-local")
def encrypted_local(grounds: Grounds) -> Callable[[], Opening]:
    return encrypted(local(grounds))


@kind("encrypted-s3-moto")
def encrypted_s3_moto(grounds: Grounds) -> Callable[[], Opening]:
    return encrypted(s3_moto(grounds))


@kind("encrypted-s3-rclone")
def encrypted_s3_rclone(grounds: Grounds) -> Callable[[], Opening]:
    return encrypted(s3_rclone(grounds))


@kind("encrypted-s3-ceph", pytest.mark.servers, ONE_CEPH)
def encrypted_s3_ceph(grounds: Grounds) -> Callable[[], Opening]:
    return encrypted(s3_ceph(grounds))


@kind("fenced-local")
def fenced_local(grounds: Grounds) -> Callable[[], Opening]:
    bare = local(grounds)

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Remote]:
        async with bare() as inner:
            yield LimitedRemote(FencedRemote(inner, lambda: True), Rate(200 * MIB))

    return opened


@kind("limited-local")
def limited_local(grounds: Grounds) -> Callable[[], Opening]:
    bare = local(grounds)

    @contextlib.asynccontextmanager
    async def opened() -> AsyncIterator[Remote]:
        async with bare() as inner:
            yield LimitedRemote(inner, Rate(200 * MIB))

    return opened


if GIVEN in os.environ:
    KINDS.clear()

    @kind("given")
    def given(grounds: Grounds) -> Callable[[], Opening]:
        return on_filesystem(given_directory(grounds.name))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tests that ask for `place` run over every kind; those of file systems, over theirs."""
    if "place" in metafunc.fixturenames:
        every = [pytest.param(name, marks=marks, id=name) for name, (_, marks) in KINDS.items()]
        metafunc.parametrize("place", every, indirect=True)
    elif "filesystem" in metafunc.fixturenames:
        kinds = ["given"] if GIVEN in os.environ else FILESYSTEMS
        metafunc.parametrize("filesystem", kinds, indirect=True)


@pytest.fixture
def place(request, tmp_path) -> Callable[[], Opening]:
    """Opens one place, empty at first, as often as it is called."""
    prepare, _ = KINDS[request.param]
    return prepare(Grounds(request, tmp_path))


@pytest.fixture
def fill(request, place, own_name) -> Callable[[Remote, str, list[str]], Awaitable[None]]:
    """Puts many empty objects into a directory.

    rclone looks at a whole directory at each of them: its files are laid where it keeps them.
    """

    async def put(remote: Remote, directory: str, names: list[str]) -> None:
        waiting = list(names)

        async def putter() -> None:
            while waiting:
                await remote.put(f"{directory}/{waiting.pop()}", b"")

        async with asyncio.TaskGroup() as group:
            for _ in range(8):
                group.create_task(putter())

    async def lay(remote: Remote, directory: str, names: list[str]) -> None:
        server = request.getfixturevalue("rclone")
        root = server.output.parent / "rclone" / BUCKET / own_name / directory
        root.mkdir(parents=True)
        for name in names:
            (root / name).touch()

    return lay if request.node.callspec.params["place"].endswith("rclone") else put
