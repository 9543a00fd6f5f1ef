"""Everything that is known of one restore point. Pure."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from reconciler.cli.description import Description, Table
from reconciler.cli.escape import escape
from reconciler.cli.listed_points import point_dict, points
from reconciler.cli.listings import time_of
from reconciler.cli.points import choose
from reconciler.observed.chain import BrokenChain, Chains
from reconciler.observed.progress import PlaceKind
from reconciler.plan.points import Located, all_points
from reconciler.status.report import Report
from reconciler.units import render_size


def point(report: Report, name: str) -> Description:
    """Describe a point, a broken one too, wherever it lies. Raises Failure: there is none such."""
    listed = next((item for item in points(report).items if item["name"] == name), None)
    if listed is not None and listed["placeKind"] != PlaceKind.REMOTE:
        return _elsewhere(listed)
    found = next((each for each in all_points(report.observed.remotes) if each.name == name), None)
    located = found or choose(name, report.observed.remotes)
    chains = Chains(located.history.files)
    jobs_by_id = {each.id: str(each.name) for each in report.desired.jobs.values()}
    document = point_dict(located.point, located.remote, chains, jobs_by_id)
    tables, disks = [], []
    for number, disk in enumerate(located.point.disks):
        files, why = _files(located, number)
        size = render_size(disk.size_bytes)
        title = f"Disk {disk.position or number}, {escape(disk.name)}, {size}"
        tables.append(
            Table(
                f"{title}{f', BROKEN: {escape(why)}' if why else ''}",
                ("KIND", "SIZE", "FILE"),
                [[each["kind"], render_size(each["fileBytes"]), each["path"]] for each in files],
            )
        )
        disks.append(
            {
                "position": disk.position or str(number),
                "disk": disk.disk,
                "name": disk.name,
                "sizeBytes": disk.size_bytes,
                "broken": why or None,
                "chain": files,
            }
        )
    facts = [
        *(("Name", located.name), ("VM", located.point.vm_name)),
        *(("Taken", f"{located.point.taken_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"),),
        *(("Remote", located.remote), ("Job", document["job"] or f"id {located.point.job}")),
        *(("Kind", document["kind"]), ("State", document["state"])),
        ("Written for it", render_size(located.point.size_bytes)),
    ]
    return Description(facts, {**document, "disks": disks}, tables)


def _files(located: Located, number: int) -> tuple[list[dict[str, Any]], str]:
    """List the files a disk is read from, tip first, as far as they can be followed."""
    path: str | None = located.point.disks[number].path
    if located.point.archive:
        size_bytes = located.point.size_bytes
        return [{"path": path, "kind": "Archive", "fileBytes": size_bytes}], located.point.flaw
    try:
        chain = located.chain_of_disk(number)
        why = ""
    except BrokenChain as error:
        chain, why = (), str(error)
        file = located.history.files.get(path or "")
        chain = (file,) if file is not None else ()
    return [
        {
            "path": file.path,
            "kind": "Full" if file.parent is None else "Delta",
            "fileBytes": file.file_bytes,
        }
        for file in chain
    ], why


def _elsewhere(item: Mapping[str, Any]) -> Description:
    """Describe a point that is a VM, or a snapshot, already."""
    clone = item["snapshot"] or item["replica"]
    facts = [
        *(("Name", item["name"]), ("VM", item["vmName"])),
        ("Taken", f"{time_of(datetime.fromisoformat(item['takenAt']))} UTC"),
        *(("Place", item["place"]), ("Pool", item["pool"]), ("SR", item.get("sr"))),
        *(("Job", item["job"] or f"id {item['jobId']}"), ("Kind", item["kind"])),
        *(("State", item["state"]), ("Disks", item["disks"])),
        ("Made by", "another tool" if item.get("ours") is False else ""),
        ("To use it", f"clone {clone} on pool {item['pool']}"),
    ]
    return Description(facts, dict(item))
