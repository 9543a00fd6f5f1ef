"""Everything that is known of one pool, remote, job, VM or run. Pure.

Of a point see `point_description.py`.

What is listed as rows elsewhere is told here at length; the document is the listed object with
its parts added.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from reconciler.cli import listed_points, listings
from reconciler.cli.description import (
    Description,
    Table,
    held_dicts,
    held_of,
    held_table,
    named,
    retention_text,
    selector_text,
)
from reconciler.cli.exits import Failure
from reconciler.cli.listings import iso_of, time_of
from reconciler.cli.runs import (
    PART_HEADERS,
    RUN_HEADERS,
    RUN_NARROW,
    Run,
    part_row,
    run_dict,
    run_named,
    run_row,
    try_dict,
)
from reconciler.desired.state import Job
from reconciler.observed.chain import History
from reconciler.observed.pool import PoolView, Vm
from reconciler.observed.remote import RemoteView
from reconciler.observed.unknown import Unknown
from reconciler.status.report import Report
from reconciler.status.standing import JobStanding
from reconciler.units import render_size, render_span

_RUNS_SHOWN = 5


def pool(report: Report, name: str) -> Description:
    """Raises Failure: there is no such pool in the manifests."""
    wanted = named(report.desired.pools, "XenPool", name)
    view = report.observed.pools.get(wanted.name)
    document = listings.pool_dict(wanted, view)
    vms = list(view.vms.values()) if isinstance(view, PoolView) else []
    rows = [
        [vm.name, vm.uuid, vm.power_state.value, str(len(vm.disks)), ", ".join(sorted(vm.tags))]
        for vm in sorted(vms, key=lambda vm: (vm.name, vm.uuid))
    ]
    facts = [
        *(("Name", wanted.name), ("Seen", document["seen"]), ("Why", document["why"])),
        *(("Label", document["label"]), ("UUID", document["uuid"])),
        *(("URLs", ", ".join(wanted.urls)), ("Master", document["master"])),
        *(("Version", document["version"]), ("User", wanted.username)),
        ("Trust", f"fingerprint {wanted.fingerprint}" if wanted.fingerprint else wanted.ca or ""),
        ("At once", f"{wanted.exports_max} disks, {wanted.snapshots_max} snapshots"),
    ]
    table = Table("VMs", ("NAME", "UUID", "POWER", "DISKS", "TAGS"), rows)
    held = held_of(report, f"pool {name}")
    return Description(facts, {**document, "held": held_dicts(held)}, (table, held_table(held)))


def remote(report: Report, name: str) -> Description:
    """Raises Failure: there is no such remote in the manifests."""
    wanted = named(report.desired.remotes, "BackupRemote", name)
    view = report.observed.remotes.get(wanted.name)
    document = listings.remote_dict(wanted, view)
    histories = sorted(view.histories.items()) if isinstance(view, RemoteView) else []
    vms = [_history_dict(uuid, history) for uuid, history in histories]
    rows = [
        [
            vm["name"] or "",
            vm["vm"],
            str(vm["points"] or 0),
            _time(vm["newestAt"]),
            render_size(vm["sizeBytes"] or 0),
            vm["state"],
            vm["why"] or "",
        ]
        for vm in vms
    ]
    size, free, total = (document[key] for key in ("sizeBytes", "freeBytes", "totalBytes"))
    facts = [
        *(("Name", wanted.name), ("Seen", document["seen"]), ("Why", document["why"])),
        *(("Kind", document["kind"]), ("Place", document["place"])),
        *(("Access", document["access"]), ("Layout", document["layout"])),
        ("Encrypted", "yes" if document["encrypted"] else "no"),
        ("Identity", _identity(document)),
        ("Suspended", "yes" if wanted.suspend else ""),
        ("At once", f"{wanted.actions_max} actions"),
        ("At most", wanted.rate_bytes_per_s and f"{render_size(wanted.rate_bytes_per_s)}/s"),
        ("Points", document["points"]),
        ("Size", None if size is None else render_size(size)),
        ("Free", None if free is None else f"{render_size(free)} of {render_size(total or 0)}"),
    ]
    headers = ("NAME", "UUID", "POINTS", "NEWEST", "SIZE", "STATE", "WHY")
    held = held_of(report, f"remote {name}")
    document = {**document, "histories": vms, "held": held_dicts(held)}
    return Description(facts, document, (Table("VMs", headers, rows), held_table(held)))


def _identity(document: Mapping[str, Any]) -> str:
    if document["identity"] is None:
        return ""
    pinned = "as the manifest says" if document["identityPinned"] else "not in the manifest"
    return f"{document['identity']} ({pinned})"


def _history_dict(uuid: str, history: History | Unknown) -> dict[str, Any]:
    if isinstance(history, Unknown):
        return {
            **{"vm": uuid, "name": None, "state": "Unknown", "why": history.why},
            **{"points": None, "newestAt": None, "sizeBytes": None},
        }
    newest = history.points[-1] if history.points else None
    odd = next(iter(history.unreadable), None)
    return {
        "vm": uuid,
        "name": newest.vm_name if newest else None,
        "state": "Unreadable" if odd else "Locked" if history.locked_by_others else "Ok",
        "why": f"{odd.path}: {odd.why}" if odd else None,
        "points": len(history.points),
        "newestAt": iso_of(newest.taken_at) if newest else None,
        "sizeBytes": sum(file.file_bytes for file in history.files.values()),
    }


def job(report: Report, name: str, runs: Sequence[Run]) -> Description:
    """Raises Failure: there is no such job in the manifests. runs: of all jobs, newest first."""
    wanted = named(report.desired.jobs, "BackupJob", name)
    standing = next(each for each in report.standings if each.job.name == wanted.name)
    conditions = report.conditions()[wanted.name]
    document = listings.job_dict(standing, conditions)
    schedules = [
        _schedule_dict(wanted, number, report.at) for number in range(len(wanted.schedules))
    ]
    mine = [run for run in runs if run.job == name][:_RUNS_SHOWN]
    held = held_of(report, f"job {name}")
    guard = wanted.guard
    facts = [
        *(("Name", wanted.name), ("ID", wanted.id)),
        ("Suspended", "yes" if wanted.suspend else ""),
        *(("Mode", wanted.mode.value), ("Pools", ", ".join(wanted.pools))),
        *(("Remotes", ", ".join(wanted.remotes)), ("SRs", ", ".join(document["srs"]))),
        ("Selector", selector_text(wanted.selector)),
        ("Full every", f"{wanted.full_every} points" if wanted.full_every else ""),
        ("First run", "at once" if wanted.run_on_create else "at the next slot"),
        ("Verification", _verification(wanted)),
        ("Guard", f"holds more than {guard.percent_max} % or {guard.points_max} deletions at once"),
        ("When deleted", wanted.deletion_policy.value),
        *(("Last point", time_of(standing.last_taken_at)), ("Next", time_of(standing.next_slot))),
    ]
    tables = (
        Table(
            "Conditions",
            ("TYPE", "STATUS", "REASON", "MESSAGE"),
            [[each.type, each.status, each.reason, each.message] for each in conditions],
        ),
        Table(
            "Schedules",
            ("NAME", "CRON", "ZONE", "NEXT", "KEEPS", "TARGETS"),
            [
                [
                    *(each["name"], each["cron"], each["timeZone"], each["next"], each["keeps"]),
                    "all" if each["targets"] is None else ", ".join(each["targets"]),
                ]
                for each in schedules
            ],
        ),
        _standing_table(standing),
        held_table(held),
        Table("Runs", RUN_HEADERS[:RUN_NARROW], [run_row(run)[:RUN_NARROW] for run in mine]),
    )
    document = {
        **document,
        "schedules": schedules,
        "held": held_dicts(held),
        "runs": [run_dict(run) for run in mine],
    }
    return Description(facts, document, tables)


def _verification(wanted: Job) -> str:
    asked = wanted.verification
    return "" if asked is None else f"a proof may be {render_span(asked.max_age)} old"


def _standing_table(standing: JobStanding) -> Table:
    rows = [
        [
            vm.name,
            vm.state.value,
            time_of(vm.last_taken_at),
            time_of(vm.behind_since),
            str(vm.points),
            vm.why,
        ]
        for vm in standing.vms
    ]
    return Table("VMs", ("NAME", "STATE", "LAST", "BEHIND SINCE", "POINTS", "WHY"), rows)


def _schedule_dict(wanted: Job, number: int, now: datetime) -> dict[str, Any]:
    schedule = wanted.schedules[number]
    following = schedule.schedule.next_due(now)
    shown = "" if following.year >= datetime.max.year else time_of(following)
    return {
        "name": schedule.name,
        "id": schedule.id,
        "cron": schedule.schedule.cron,
        "timeZone": schedule.schedule.zone,
        "next": "suspended" if schedule.suspend else shown,
        "keeps": retention_text(schedule.retention),
        "targets": None
        if schedule.destinations is None
        else [listings.destination_text(one) for one in wanted.destinations_of(schedule)],
    }


def vm(report: Report, name: str) -> Description:
    """Raises Failure: no pool has such a VM, or several have it."""
    pool_name, wanted = _vm_named(report, name)
    listed = listings.vms(report)
    mine = [
        item for item in listed.items if (item["uuid"], item["pool"]) == (wanted.uuid, pool_name)
    ]
    points = listed_points.points(report, wanted.uuid)
    overdue = [item["proofDueSince"] for item in mine if item["proofDueSince"]]
    facts = [
        *(("Name", wanted.name), ("UUID", wanted.uuid), ("Pool", pool_name)),
        *(("Power", wanted.power_state.value), ("Tags", ", ".join(sorted(wanted.tags)))),
        ("Busy", ", ".join(wanted.busy)),
        ("Our snapshots", sum(each.marks is not None for each in wanted.snapshots)),
        ("Proof due since", _time(min(overdue, default=None))),
    ]
    tables = (
        Table(
            "Disks",
            ("N", "NAME", "SIZE", "UUID", "SR"),
            [
                [disk.position, disk.name, render_size(disk.size_bytes), disk.uuid, disk.sr]
                for disk in wanted.disks
            ],
        ),
        Table(
            "Jobs",
            ("JOB", "STATE", "LAST", "WHY"),
            [
                [item["job"] or "", item["state"], _time(item["lastPointAt"]), item["why"] or ""]
                for item in mine
            ],
        ),
        _proof_table(mine),
        Table(
            "Points", points.headers[: points.narrow], [row[: points.narrow] for row in points.rows]
        ),
    )
    document = {
        "name": wanted.name,
        "uuid": wanted.uuid,
        "pool": pool_name,
        "powerState": wanted.power_state.value,
        "tags": sorted(wanted.tags),
        "disks": [
            {
                "position": disk.position,
                "uuid": disk.uuid,
                "name": disk.name,
                "sizeBytes": disk.size_bytes,
                "sr": disk.sr,
            }
            for disk in wanted.disks
        ],
        "jobs": mine,
        "points": list(points.items),
    }
    return Description(facts, document, tables)


def _proof_table(listed: Sequence[Mapping[str, Any]]) -> Table:
    """When points of a VM were last read whole. listed: the VM, once for each of its jobs."""
    rows = [
        [
            *(item["job"], proof["remote"], _time(proof["at"]), proof["point"]),
            render_size(proof["readBytes"]),
        ]
        for item in listed
        for proof in item["proofs"]
    ]
    return Table("Proofs", ("JOB", "REMOTE", "PROVEN", "POINT", "READ"), rows)


def _vm_named(report: Report, name: str) -> tuple[str, Vm]:
    every = [
        (pool_name, each)
        for pool_name, view in sorted(report.observed.pools.items())
        if isinstance(view, PoolView)
        for each in view.vms.values()
    ]
    found = [(pool_name, each) for pool_name, each in every if each.uuid == name.lower()]
    found = found or [(pool_name, each) for pool_name, each in every if each.name == name]
    if len(found) == 1:
        return found[0]
    uuids = ", ".join(each.uuid for _, each in found)
    raise Failure(
        f"{len(found)} VMs have this name: {uuids}" if found else "no pool has such a VM",
        subject=name,
        hint="use the uuid of the VM" if found else "reconciler get vms DIR… lists all there are",
    )


def run(runs: Sequence[Run], name: str, now: datetime) -> Description:
    """now: for how long what runs has been running. Raises Failure: no such run is recorded."""
    wanted = run_named(runs, name)
    facts = [
        *(("Name", wanted.name), ("Job", wanted.job), ("State", wanted.state.value)),
        *(("Cause", wanted.cause or None), ("Why", wanted.why() or None)),
        *(("Due", time_of(wanted.due)), ("Started", time_of(wanted.started_at))),
        ("Took", None if wanted.duration is None else render_span(wanted.duration)),
        *(("VMs", wanted.vms), ("Points", wanted.points), ("Failures", wanted.failures)),
        ("Moved", render_size(wanted.bytes)),
    ]
    rows = [
        [
            time_of(each.started_at),
            each.verb,
            each.vm_name,
            each.place,
            each.outcome,
            render_size(each.bytes),
            each.why,
        ]
        for each in reversed(wanted.tries)
    ]
    headers = ("STARTED", "ACTION", "VM", "PLACE", "OUTCOME", "SIZE", "WHY")
    document = {**run_dict(wanted), "tries": [try_dict(each) for each in reversed(wanted.tries)]}
    parts = [part_row(part, now) for part in wanted.parts()]
    tables = (Table("Restore points", PART_HEADERS, parts), Table("Tries", headers, rows))
    return Description(facts, document, tables)


def _time(iso: str | None) -> str:
    return time_of(None if iso is None else datetime.fromisoformat(iso))
