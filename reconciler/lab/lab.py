"""The lab: one simulated pool in one directory, opened by one process at a time.

    with Lab.open(directory) as lab, lab.serve() as served:
        lab.import_vm("web", ["disk.raw"], tags=["backup"])
        client = XenAPI.Session(served.url)

Everything persists in the directory; sessions and tasks do not, as with a toolstack restart.
"""

import fcntl
import hashlib
import json
import os
import secrets
import ssl
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from reconciler.lab import guest
from reconciler.lab.attachments import resync
from reconciler.lab.certificates import make_certificate
from reconciler.lab.collector import Collector
from reconciler.lab.database import Database, Row
from reconciler.lab.failures import LabError
from reconciler.lab.faults import Faults
from reconciler.lab.guest import Machine
from reconciler.lab.housekeeping import Housekeeping
from reconciler.lab.pool import Pool
from reconciler.lab.routes import ROUTES
from reconciler.lab.rpc import Dispatcher
from reconciler.lab.seed import host_address, seed
from reconciler.lab.server import Server
from reconciler.lab.settings import Settings
from reconciler.lab.store import Store
from reconciler.lab.transfers import Transfers
from reconciler.lab.values import Value

ENDPOINT = "endpoint.json"
_ACCOUNT = "account.json"
_LOCK = "lock"


class Served:
    """A lab that answers: use as a context manager or call `close`."""

    def __init__(
        self, lab: "Lab", server: Server, url: str, hosts: list[str], certificate: str
    ) -> None:
        self._lab = lab
        self._server = server
        self.url = url
        self.user = lab.user
        self.password = lab.password
        self.hosts = hosts  # the URL of each host, the master's first
        self.certificate = certificate  # path of the PEM file, "" without TLS
        self.fingerprint = ""
        if certificate:
            with open(certificate, encoding="ascii") as file:
                pem = file.read()
            self.fingerprint = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()

    def description(self) -> dict[str, str | list[str] | dict[str, str]]:
        """What another process needs to know."""
        return {
            "url": self.url,
            "user": self.user,
            "password": self.password,
            "hosts": self.hosts,
            "certificate": self.certificate,
            "fingerprint": self.fingerprint,
            "srs": self._lab.srs,
        }

    def close(self) -> None:
        self._server.close()
        self._lab.forget_endpoint()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class Lab:
    """A pool in a directory. Use `Lab.open`."""

    def __init__(self, directory: str, lock: int, settings: Settings, hosts: int) -> None:
        self.directory = directory
        self._lock = lock
        self.user, self.password = _account(directory)
        database = Database(Store(os.path.join(directory, "database.sqlite")))
        self.pool = Pool(directory, database, settings, self.user, self.password)
        if not database.tables["pool"]:
            seed(database, "lab", hosts, "127.0.0.1")
        resync(self.pool)
        self._dispatcher = Dispatcher(self.pool)
        self._session = ""
        self._collector = Collector(self.pool)
        self._collector.start()
        self._housekeeping = Housekeeping(self.pool)
        self._housekeeping.start()
        self._served: Served | None = None
        self._closed = False

    @classmethod
    def open(cls, directory: str, *, settings: Settings | None = None, hosts: int = 1) -> "Lab":
        """Open or make a lab; `hosts` counts only when it is made.

        Raises:
            LabError: another process has it open.
        """
        directory = os.path.abspath(directory)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        lock = os.open(os.path.join(directory, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            raise LabError(f"{directory}: another process has this lab open") from None
        return cls(directory, lock, settings or Settings(), hosts)

    # -- serving ----------------------------------------------------------------------------------

    def serve(self, port: int = 0, host: str = "127.0.0.1", tls: bool = False) -> Served:
        """Answer on an address for each host of the pool (host, the next one …).

        Raises:
            LabError: the port is taken.
        """
        addresses = self._address_hosts(host)
        context, certificate = None, ""
        if tls:
            certificate = make_certificate(self.directory, list(addresses.values()))
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, os.path.join(self.directory, "key.pem"))
            with open(certificate, encoding="ascii") as file:
                self.pool.certificate = file.read()
        self.pool.events.stopped = lambda: False
        server = Server(self.pool, self._dispatcher, ROUTES, context)
        try:
            server.listen(addresses, port)
        except OSError as error:
            raise LabError(f"cannot listen on {host}:{port}: {error.strerror}") from None
        urls = [self.pool.base_url(address) for address in addresses.values()]
        master = self.pool.base_url(addresses[self.pool.master])
        self._served = Served(self, server, master, urls, certificate)
        self._write_endpoint(self._served)
        return self._served

    def _address_hosts(self, first: str) -> dict[str, str]:
        """Each host's address; `host.address` follows where we listen."""
        database = self.pool.database
        addresses = {}
        with database.transaction():
            for number, row in enumerate(database.rows("host")):
                address = host_address(first, number)
                database.set(row, address=address)
                addresses[row.ref] = address
                for pif in row.members("PIFs"):
                    database.set(database.row("PIF", pif), IP=address)
        return addresses

    def _write_endpoint(self, served: Served) -> None:
        path = os.path.join(self.directory, ENDPOINT)
        with open(path + ".new", "w", encoding="utf-8", opener=_private) as file:
            json.dump({**served.description(), "pid": os.getpid()}, file)
        os.replace(path + ".new", path)

    def forget_endpoint(self) -> None:
        self._served = None
        path = os.path.join(self.directory, ENDPOINT)
        if os.path.exists(path):
            os.unlink(path)

    def call(self, method: str, *parameters: Value) -> Value:
        """One XenAPI call from within the process, logged in as the owner.

        Raises:
            Failure: as a client would see it.
        """
        if not self.pool.sessions.alive(self._session):
            master = self.pool.master
            self._session = self.pool.sessions.login(self.user, self.password, "owner", master)
        return self._dispatcher.call(method, [self._session, *parameters], self.pool.master)

    # -- machines ---------------------------------------------------------------------------------

    def import_vm(
        self,
        name: str,
        images: Sequence[str],
        *,
        tags: Sequence[str] = (),
        memory: int = 1 << 30,
        sr: str = "",
        description: str = "",
    ) -> Machine:
        """A halted machine with one disk per raw, VHD or qcow2 image."""
        return guest.import_machine(
            self.pool, name, images, tags=tags, memory=memory, sr=sr, description=description
        )

    def disk(self, vm: str, position: int | str = 0) -> Row:
        """The VDI of a machine's disk."""
        return guest.find_disk(self.pool, guest.find_machine(self.pool, vm), str(position))

    def write_disk(self, vm: str, position: int | str, offset: int, data: bytes) -> None:
        """A guest's write."""
        guest.write(self.pool, self.disk(vm, position), offset, data)

    def random_write(self, vm: str, position: int | str, offset: int, count: int) -> None:
        """A guest's write of incompressible bytes."""
        guest.write_random(self.pool, self.disk(vm, position), offset, count)

    def read_disk(self, vm: str, position: int | str, offset: int, count: int) -> bytes:
        """What the guest would read."""
        return guest.read(self.pool, self.disk(vm, position), offset, count)

    def read_vdi(self, vdi_uuid: str, offset: int, count: int) -> bytes:
        """The bytes of any VDI, snapshots too."""
        vdi = self.pool.database.by_uuid("VDI", vdi_uuid)
        return guest.read(self.pool, vdi, offset, count)

    def export_raw(self, vdi_uuid: str, path: str) -> None:
        """The whole content of any VDI into a sparse file."""
        guest.export_raw(self.pool, self.pool.database.by_uuid("VDI", vdi_uuid), path)

    def power(self, vm: str, state: str) -> None:
        """`Running` or `Halted`."""
        guest.set_power(self.pool, guest.find_machine(self.pool, vm), state)

    @property
    def changes(self) -> list[str]:
        """The calls so far (and transfers) that may have changed something, by name; the last
        10,000. An engine at rest adds none, whatever the pool itself does meanwhile.
        """
        return list(self._dispatcher.changes)

    @property
    def transfers(self) -> Transfers:
        """What went in and out, and what is under way."""
        return self.pool.transfers

    # -- storage ----------------------------------------------------------------------------------

    def add_sr(self, name: str, kind: str = "ext") -> str:
        """A further SR, seen by all hosts (`nfs`) or by the master alone (`ext`); its uuid."""
        made = self.call(
            "SR.create", self.pool.master, {}, 0, name, "", kind, "user", kind == "nfs"
        )
        return str(self.call("SR.get_uuid", made))

    @property
    def srs(self) -> dict[str, str]:
        """The uuid of each SR by its name."""
        rows = self.pool.database.rows("SR")
        return {row.text("name_label"): row.text("uuid") for row in rows}

    # -- disturbances -----------------------------------------------------------------------------

    @property
    def faults(self) -> Faults:
        return self.pool.faults

    def kill_toolstack(self, refuse_s: float = 0.0) -> None:
        """Drop sessions, tasks and sockets; refuse connections for a while."""
        self.pool.kill_toolstack(refuse_s)

    def coalesce(self) -> int:
        """Collect every SR now; how many steps that took."""
        return self._collector.collect_all()

    # -- ends -------------------------------------------------------------------------------------

    def close(self) -> None:
        """Stop serving and let the directory go; a second time does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._served is not None:
            self._served.close()
        self._housekeeping.stop()
        self._collector.stop()
        self.pool.close()
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _account(directory: str) -> tuple[str, str]:
    """The lab's one account, made with the directory."""
    path = os.path.join(directory, _ACCOUNT)
    if not os.path.exists(path):
        with open(path + ".new", "w", encoding="utf-8", opener=_private) as file:
            json.dump({"user": "root", "password": secrets.token_urlsafe(12)}, file)
        os.replace(path + ".new", path)
    with open(path, encoding="utf-8") as file:
        account = json.load(file)
    return account["user"], account["password"]
