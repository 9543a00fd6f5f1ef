"""The simulated pool: what its parts share, and who is who among its hosts."""

import os
from collections.abc import Callable

from reconciler.lab.database import Database, Row
from reconciler.lab.disks import DiskTree
from reconciler.lab.events import Events
from reconciler.lab.faults import Faults
from reconciler.lab.layers import BLOCK
from reconciler.lab.sessions import Sessions
from reconciler.lab.settings import Settings
from reconciler.lab.tasks import Tasks
from reconciler.lab.transfers import Transfers
from reconciler.lab.values import NULL, new_uuid


class Pool:
    """The parts of one pool. Calls and handlers get it whole; it has no behaviour of its own."""

    def __init__(
        self, directory: str, database: Database, settings: Settings, user: str, password: str
    ) -> None:
        self.directory = directory
        self.database = database
        self.settings = settings
        self.faults = Faults()
        self.sessions = Sessions(database, settings, user, password)
        self.tasks = Tasks(database, settings)
        self.transfers = Transfers(settings)
        self.events = Events(database, self.sessions, settings)
        self.disks = DiskTree(f"{directory}/sr", database)
        # Set by those who know: the garbage collector and the server.
        self.kick_collector: Callable[[str], None] = lambda sr: None
        self.collect_now: Callable[[], int] = lambda: 0
        self.kill_toolstack: Callable[[float], None] = lambda refuse_s: None
        self.base_url: Callable[[str], str] = lambda address: f"http://{address}"
        self.certificate: str = ""
        self.zeros = _hole(f"{directory}/zeros", BLOCK)

    def close(self) -> None:
        self.database.close()
        os.close(self.zeros)

    @property
    def record(self) -> Row:
        """The one object of class pool."""
        return next(iter(self.database.tables["pool"].values()))

    @property
    def master(self) -> str:
        return self.record.text("master")

    def dom0(self, host: str) -> str:
        return self.database.row("host", host).text("control_domain")

    def sees(self, host: str, sr: str) -> bool:
        """An SR is usable on a host iff that PBD is attached."""
        return any(
            pbd.text("host") == host and pbd.text("SR") == sr and pbd.flag("currently_attached")
            for pbd in self.database.rows("PBD")
        )

    def host_seeing(self, sr: str) -> str:
        """A host on which the SR is usable, the master if possible, NULL if none."""
        hosts = [self.master, *self.database.tables["host"]]
        return next((host for host in hosts if self.sees(host, sr)), NULL)


def _hole(path: str, size: int) -> int:
    """A descriptor of a file that is nothing but zeros: what no layer holds is sent from it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    os.ftruncate(descriptor, size)
    return descriptor


def dummy_task(method: str) -> str:
    """The name of the task that a synchronous call would have."""
    return f"DummyRef:|{new_uuid()}|{method}"
