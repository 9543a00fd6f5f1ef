"""One call: its name, its session, its arguments, its task. Knows no transport.

Class.message         at once
Class_message         the same, by XAPI's older wire names
Async.Class.message   a task reference at once, the work in a thread of its own
"""

import logging
import re
import threading
from collections import deque
from collections.abc import Iterable

from reconciler.lab import (
    calls_devices,
    calls_disks,
    calls_pool,
    calls_power,
    calls_session,
    calls_storage,
    calls_vms,
    generic,
    xmlrpc,
)
from reconciler.lab.failures import Failure
from reconciler.lab.faults import DropConnection, Dropped, FailCall, KillToolstack
from reconciler.lab.methods import Call, Method, Registry, check_arguments, check_references
from reconciler.lab.pool import Pool, dummy_task
from reconciler.lab.schema import TABLES
from reconciler.lab.values import Value

_log = logging.getLogger(__name__)
_ASYNC = "Async."
_CHANGES_MAX = 10_000
_READING = re.compile(r"session\.|event\.|\w+\.(get_|assert_|is_|has_|list_changed)")
_PARTS = (
    *(calls_devices, calls_disks, calls_pool, calls_power, calls_session, calls_storage),
    calls_vms,
)

# Fields that the schema calls read-only and that have a message to set them all the same; a star
# says that the message also exists as `Async.`.
_SETTABLE: dict[str, str] = {
    "VM": """NVRAM ha_restart_priority ha_always_run memory_dynamic_max memory_dynamic_min
        memory_static_max memory_static_min HVM_shadow_multiplier VCPUs_max VCPUs_at_startup
        bios_strings* snapshot_schedule start_delay* shutdown_delay* order* suspend_VDI*
        appliance* has_vendor_device* actions_after_crash* domain_type HVM_boot_policy
        blocked_operations* other_config platform""",
    "VDI": """managed sharable read_only missing virtual_size physical_utilisation is_a_snapshot
        snapshot_of snapshot_time metadata_of_pool allow_caching* cbt_enabled*""",
    "SR": """shared* name_label* name_description* physical_size virtual_allocation
        physical_utilisation""",
    "VIF": "locking_mode* ipv4_allowed* ipv6_allowed*",
    "task": "other_config*",
    "PBD": "device_config*",
    "network": "default_locking_mode*",
    "PIF": "disallow_unplug* primary_address_type*",
    "host": "iscsi_iqn* multipathing* license_params*",
    "pool": "igmp_snooping_enabled* ha_host_failures_to_tolerate* guest_agent_config*",
}


def _all_methods() -> dict[str, Method]:
    registry = generic.generic_methods()
    for class_name, fields in _SETTABLE.items():
        table = TABLES[class_name]
        for field in fields.split():
            known = table.fields[field.rstrip("*")]
            generic.add_setters(registry, table, known, asynchronous=field.endswith("*"))
    for part in _PARTS:
        registry.methods.update(part.METHODS.methods)
    return registry.methods


class Dispatcher:
    """Executes calls for one pool."""

    def __init__(self, pool: Pool, extra: Iterable[Registry] = ()) -> None:
        self._pool = pool
        self._methods = _all_methods()
        for registry in extra:
            self._methods.update(registry.methods)
        self._names = sorted(self._methods)
        # What clients asked for that may change something, in order; for tests that want silence.
        self.changes: deque[str] = deque(maxlen=_CHANGES_MAX)
        self._aliases = {name.replace(".", "_"): name for name in self._names}

    def call(self, name: str, parameters: list[Value], host: str) -> Value:
        """The result of a call that came in at a host.

        Raises:
            Failure: what XAPI would answer.
            Dropped: a fault says that nobody answers.
        """
        if name == "system.listMethods":
            return list(self._names)
        if name.startswith("system.isAlive"):
            return True
        method, asynchronous = self._find(name)
        self._require_master(host)
        session = ""
        if method.needs_session:
            if not parameters or not isinstance(parameters[0], str):
                raise Failure("SESSION_INVALID", "")
            session, parameters = parameters[0], parameters[1:]
            self._pool.sessions.check(session)
        fault = self._pool.faults.take(f"rpc:{name}")
        if isinstance(fault, FailCall):
            raise Failure(fault.code, *fault.params)
        if isinstance(fault, KillToolstack):
            self._pool.kill_toolstack(fault.refuse_s)
            raise Dropped(reset=True)
        arguments = check_arguments(method, parameters)
        if not _READING.match(method.name):
            self.changes.append(name)
        if asynchronous:
            result: Value = self._begin(method, arguments, session, host)
        else:
            task = dummy_task(method.name)
            result = self._run(method, arguments, Call(self._pool, name, session, host, task))
        if isinstance(fault, DropConnection):
            raise Dropped(fault.reset)
        return result

    def _find(self, name: str) -> tuple[Method, bool]:
        if name.startswith(_ASYNC):
            method = self._methods.get(name.removeprefix(_ASYNC))
            if method is None:
                raise Failure("MESSAGE_METHOD_UNKNOWN", name)
            if not method.asynchronous:
                raise Failure("Fault", f"No async mode for this operation (rpc: {method.name})")
            return method, True
        method = self._methods.get(self._aliases.get(name, name))
        if method is None:
            raise Failure("MESSAGE_METHOD_UNKNOWN", name)
        return method, False

    def _require_master(self, host: str) -> None:
        pool = self._pool
        if host != pool.master:
            address = pool.database.row("host", pool.master).text("address")
            raise Failure("HOST_IS_SLAVE", address)

    def _run(self, method: Method, arguments: list[Value], call: Call) -> Value:
        try:
            check_references(self._pool, method, arguments)
            return method.run(call, *arguments)
        except (Failure, Dropped):
            raise
        except Exception as error:
            _log.exception("%s failed", method.name)
            raise Failure("INTERNAL_ERROR", f"{type(error).__name__}: {error}") from error

    def _begin(self, method: Method, arguments: list[Value], session: str, host: str) -> str:
        name = f"{_ASYNC}{method.name}"
        task = self._pool.tasks.create(name, "", host)
        call = Call(self._pool, name, session, host, task.ref)

        def work() -> None:
            try:
                result = self._run(method, arguments, call)
            except Failure as failure:
                self._pool.tasks.fail(task.ref, failure)
            else:
                self._pool.tasks.succeed(task.ref, "" if result == "" else xmlrpc.encode(result))

        threading.Thread(target=work, name=name, daemon=True).start()
        return task.ref
