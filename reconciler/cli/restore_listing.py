"""Restores as a list, and one of them described: a report in, rows and objects out. Pure."""

from typing import Any

from reconciler.cli.description import Description, Table, named
from reconciler.cli.listing import Listing
from reconciler.status.conditions import ConditionType
from reconciler.status.report import Report
from reconciler.status.restores import RestoreStanding, restore_standings


def restores(report: Report) -> Listing:
    """List the restores that manifests ask for."""
    found = list(restore_standings(report))
    return Listing(
        kind="Restore",
        headers=("NAME", "COMPLETE", "POOL", "VM", "STATUS", "POINT", "ID"),
        narrow=5,
        rows=[_row(each) for each in found],
        items=[restore_dict(each) for each in found],
        names=[each.restore.name for each in found],
    )


def _row(standing: RestoreStanding) -> list[str]:
    content = restore_dict(standing)
    said = content["conditions"]
    point, made = content["resolvedPoint"] or {}, content["restoredVM"] or {}
    complete = next((each["status"] for each in said if each["type"] == "Complete"), "Unknown")
    restore = standing.restore
    return [
        restore.name,
        complete,
        restore.pool,
        made.get("uuid", ""),
        next(each["message"] for each in said if each["type"] == ConditionType.READY),
        point.get("name", ""),
        restore.id,
    ]


def restore(report: Report, name: str) -> Description:
    """Describe one restore. Raises Failure."""
    wanted = named(report.desired.restores, "Restore", name)
    (standing,) = (each for each in restore_standings(report) if each.restore == wanted)
    content = restore_dict(standing)
    point, made = content["resolvedPoint"] or {}, content["restoredVM"] or {}
    conditions = [
        [each["type"], each["status"], each["reason"], each["message"]]
        for each in content["conditions"]
    ]
    return Description(
        facts=[
            ("Name", wanted.name),
            ("Of VM", wanted.vm),
            ("Point asked for", wanted.stamp or "latest"),
            ("From remote", wanted.remote or "any"),
            ("To pool", wanted.pool),
            ("Storage", wanted.sr or "the pool's default"),
            ("Point", point.get("name")),
            ("New VM", made.get("uuid")),
            ("Id", wanted.id),
        ],
        document={"kind": "Restore", **content},
        tables=[Table("Conditions", ("TYPE", "STATUS", "REASON", "MESSAGE"), conditions)],
    )


def restore_dict(standing: RestoreStanding) -> dict[str, Any]:
    """Render a restore for a program, as its status in a cluster says it."""
    restore = standing.restore
    return {
        "name": restore.name,
        "id": restore.id,
        "pool": restore.pool,
        "vm": restore.vm,
        "suspend": restore.suspend,
        "resolvedPoint": standing.fields.get("resolvedPoint"),
        "restoredVM": standing.fields.get("restoredVM"),
        "conditions": [
            {
                "type": each.type.value,
                "status": each.status.value,
                "reason": each.reason.value,
                "message": each.message,
            }
            for each in standing.conditions
        ],
    }
