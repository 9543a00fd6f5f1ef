"""Lists and descriptions of a small world in which something is wrong everywhere."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from reconciler.cli import descriptions, listed_points, listings, point_description
from reconciler.cli.description import text_of
from reconciler.cli.exits import Failure
from reconciler.cli.listing import Listing, put
from reconciler.cli.output import Format
from reconciler.cli.points import require_on_remote
from reconciler.desired.retention import Retention
from reconciler.desired.schedule import Schedule
from reconciler.desired.selector import Selector
from reconciler.desired.state import (
    Desired,
    DiskLayout,
    Job,
    JobSchedule,
    LocalPlace,
    Pool,
    Remote,
    S3Place,
    SecretRef,
    Verification,
)
from reconciler.ids import (
    DiskSnapshotUuid,
    DiskUuid,
    JobId,
    JobName,
    PoolName,
    RemoteName,
    ScheduleId,
    SnapshotUuid,
    SrUuid,
    Stamp,
    VmUuid,
    instant_of,
)
from reconciler.observed.chain import (
    Chains,
    DiskFile,
    History,
    PointDisk,
    PointKind,
    RestorePoint,
)
from reconciler.observed.pool import Disk, Marks, PoolView, PowerState, Snapshot, Vm
from reconciler.observed.proof import Proof, ProofLevel
from reconciler.observed.remote import RemoteView
from reconciler.observed.replica import Replica, ReplicaKind, ReplicaState, Sr
from reconciler.observed.state import Observed
from reconciler.observed.unknown import Unknown
from reconciler.plan.planner import plan
from reconciler.status.report import Report

NOW = datetime(2026, 1, 9, 12, tzinfo=UTC)
LAB, GONE, NAS, OFF = PoolName("lab"), PoolName("gone"), RemoteName("nas1"), RemoteName("off")
WEB, DB = (
    VmUuid("0000000a-0000-0000-0000-00000000000a"),
    VmUuid("0000000b-0000-0000-0000-00000000000b"),
)
FULL, DELTA, LOST = (Stamp(f"2026010{day}T020000Z") for day in (7, 8, 9))
GIB = 1 << 30

JOB = Job(
    name=JobName("nightly"),
    id=JobId("j"),
    pools=(LAB,),
    remotes=(NAS,),
    selector=Selector(tags=frozenset({"prod"})),
    schedules=(
        JobSchedule(
            "night", ScheduleId("n"), Schedule.parse("0 2 * * *"), Retention(last=3, daily=7)
        ),
    ),
)


def file_of(stamp: Stamp, parent: Stamp | None) -> DiskFile:
    return DiskFile(
        f"vdis/j/d/{stamp}.vhd",
        DiskSnapshotUuid(stamp),
        None if parent is None else f"{parent}.vhd",
        None if parent is None else DiskSnapshotUuid(parent),
        GIB,
        GIB // 2,
        GIB // 2,
    )


def point_of(stamp: Stamp) -> RestorePoint:
    disk = PointDisk(
        DiskUuid("d"), DiskSnapshotUuid(stamp), "root\x1b", f"vdis/j/d/{stamp}.vhd", GIB, "0"
    )
    return RestorePoint(
        WEB, "web\x1b[2J", stamp, instant_of(stamp), JOB.id, (ScheduleId("n"),), (disk,), GIB // 2
    )


@pytest.fixture
def report() -> Report:
    pool = Pool(LAB, ("https://lab",), "root", SecretRef(env="SECRET_NAME"))
    gone = Pool(GONE, ("https://gone",), "root", SecretRef(env="SECRET_NAME"))
    desired = Desired(
        pools={LAB: pool, GONE: gone},
        remotes={
            NAS: Remote(NAS, LocalPlace("/nas")),
            OFF: Remote(OFF, LocalPlace("/off"), read_only=True),
        },
        jobs={JOB.name: JOB},
    )
    disk = Disk(DiskUuid("d"), "root\x1b", GIB, "sr", "0")
    vms = {
        WEB: Vm(WEB, "web\x1b[2J", frozenset({"prod"}), PowerState.RUNNING, (disk,)),
        DB: Vm(DB, "db", frozenset(), PowerState.HALTED, (disk,)),
    }
    files = [file_of(FULL, None), file_of(DELTA, FULL), file_of(LOST, Stamp("nowhere"))]
    history = History(
        WEB,
        NOW,
        points=tuple(point_of(stamp) for stamp in (FULL, DELTA, LOST)),
        files={file.path: file for file in files},
    )
    observed = Observed(
        pools={
            LAB: PoolView(LAB, "u", "Lab", "10.0.0.1", "8.3", NOW, vms),
            GONE: Unknown(NOW, "PoolUnreachable", "no route to host"),
        },
        remotes={NAS: RemoteView(NAS, NOW, 3 * GIB, 10 * GIB, {WEB: history})},
    )
    return Report(desired, observed, plan(desired, observed, NOW), NOW)


def table(listing: Listing, columns: int | None = None) -> list[list[str]]:
    return [list(row[: columns or listing.narrow]) for row in listing.rows]


def test_pools(report: Report) -> None:
    listing = listings.pools(report)
    assert table(listing) == [
        ["gone", "Unknown", "", "", ""],
        ["lab", "True", "10.0.0.1", "8.3", "2"],
    ]
    assert listing.items[0]["why"] == "no route to host"
    assert "SECRET_NAME" not in str(listing)


def test_remotes(report: Report) -> None:
    listing = listings.remotes(report)
    assert table(listing) == [
        ["nas1", "local", "True", "1", "3", "1.5 GiB", "3.0 GiB", "10.0 GiB"],
        ["off", "local", "Unknown", "", "", "", "", ""],
    ]
    assert listing.items[1]["why"] == "it has not been looked at"
    assert listing.items[1]["access"] == "ReadOnly"
    assert (listing.items[0]["layout"], listing.items[0]["encrypted"]) == ("Files", False)


def test_a_remote_of_another_kind(report: Report) -> None:
    key = SecretRef(env="SECRET_NAME")
    remote = Remote(
        RemoteName("cloud"),
        S3Place("https://s3.example.net", "xen", key, key, "dc1"),
        layout=DiskLayout.BLOCKS,
        encryption=key,
        rate_bytes_per_s=1024**2,
    )
    view = RemoteView(remote.name, report.at, None, None, identity="an-id")
    content = listings.remote_dict(remote, view)
    assert (content["kind"], content["place"]) == ("s3", "https://s3.example.net/xen/dc1")
    assert (content["layout"], content["encrypted"]) == ("Blocks", True)
    assert (content["identity"], content["identityPinned"]) == ("an-id", False)
    assert content["rateBytesPerS"] == 1024**2
    assert listings.remote_dict(replace(remote, identity="said"), None)["identity"] == "said"
    assert "SECRET_NAME" not in str(content)


def test_jobs(report: Report) -> None:
    (row,) = table(listings.jobs(report))
    assert row[:5] == [
        "nightly",
        "True",
        "1/1",
        "2026-01-09 02:00:00",
        "2026-01-10 02:00:00",
    ]
    (item,) = listings.jobs(report).items
    states = {each["type"]: each["status"] for each in item["conditions"]}
    assert states == {"Ready": "True", "RPOMet": "True", "ChainsHealthy": "False"}


def test_vms_without_a_job_are_listed_too(report: Report) -> None:
    assert table(listings.vms(report)) == [
        ["db", "lab", "", "Unassigned", "", ""],
        ["web\x1b[2J", "lab", "nightly", "Protected", "2026-01-09 02:00:00", "3"],
    ]


def verified(report: Report, *, proven: bool) -> Report:
    """Its job asks for proofs, and has one of the VM or none."""
    asking = replace(JOB, verification=Verification(timedelta(days=30)))
    desired = replace(report.desired, jobs={JOB.name: asking})
    view = report.observed.remotes[NAS]
    assert isinstance(view, RemoteView)
    proof = Proof(ProofLevel.CHAIN, DELTA, datetime(2026, 1, 8, 4, tzinfo=UTC), GIB)
    history = view.histories[WEB]
    assert isinstance(history, History)
    histories = {WEB: replace(history, proofs={JOB.id: proof} if proven else {})}
    observed = replace(report.observed, remotes={NAS: replace(view, histories=histories)})
    return Report(desired, observed, plan(desired, observed, NOW), NOW)


def cell(listing: Listing, name: str, column: str) -> str:
    (row,) = (each for each in listing.rows if each[0].startswith(name))
    return row[listing.headers.index(column)]


def test_proofs_are_told_where_a_job_asks_for_them(report: Report) -> None:
    found = verified(report, proven=True)
    listing = listings.vms(found)
    assert cell(listing, "web", "PROVEN") == "2026-01-08 04:00:00"
    assert cell(listing, "db", "PROVEN") == ""
    assert cell(listings.jobs(found), "nightly", "PROOF FRESH") == "True"
    (item,) = (each for each in listing.items if each["uuid"] == WEB)
    assert (item["proofs"], item["proofDueSince"]) == (
        [
            {
                "remote": "nas1",
                "at": "2026-01-08T04:00:00+00:00",
                "level": "Chain",
                "point": DELTA,
                "readBytes": GIB,
            }
        ],
        None,
    )
    shown = text_of(descriptions.vm(found, WEB), colour=False)
    lines = shown.partition("Proofs:\n")[2].splitlines()
    assert lines[0].split() == ["JOB", "REMOTE", "PROVEN", "POINT", "READ"]
    assert lines[1].split() == ["nightly", "nas1", "2026-01-08", "04:00:00", DELTA, "1.0", "GiB"]
    assert "Proof due since" not in shown
    told = text_of(descriptions.job(found, "nightly", ()), colour=False)
    assert "a proof may be 30d old" in told


def test_a_proof_that_is_lacking_is_told_by_when_it_was_due(report: Report) -> None:
    found = verified(report, proven=False)
    assert cell(listings.vms(found), "web", "PROVEN") == ""
    assert cell(listings.jobs(found), "nightly", "PROOF FRESH") == "False"
    (item,) = (each for each in listings.vms(found).items if each["uuid"] == WEB)
    assert (item["proofs"], item["proofDueSince"]) == ([], "2026-01-07T02:00:00+00:00")
    shown = text_of(descriptions.vm(found, WEB), colour=False)
    assert "Proof due since:" in shown
    assert "2026-01-07 02:00:00" in shown
    assert "Proofs:" not in shown


def test_where_no_job_asks_for_proofs_nothing_is_said_of_them(report: Report) -> None:
    assert cell(listings.vms(report), "web", "PROVEN") == ""
    assert cell(listings.jobs(report), "nightly", "PROOF FRESH") == ""
    assert "roof" not in text_of(descriptions.vm(report, WEB), colour=False)
    assert "roof" not in text_of(descriptions.job(report, "nightly", ()), colour=False)


def test_points_say_what_can_be_restored(report: Report) -> None:
    listing = listed_points.points(report)
    assert [row[3:6] for row in table(listing)] == [
        ["Full", "512 MiB", "Ok"],
        ["Delta", "512 MiB", "Ok"],
        ["", "512 MiB", "Broken"],
    ]
    assert listing.names[0] == f"{WEB}/{FULL}@nas1"
    assert [item["chainLength"] for item in listing.items] == [1, 2, 0]


def test_points_are_listed_wherever_they_lie(report: Report) -> None:
    fast, slow = SrUuid("f" * 36), SrUuid("s" * 36)
    replica = Replica(
        sr=fast,
        vm=WEB,
        vm_name="web",
        stamp=FULL,
        taken_at=instant_of(FULL),
        job=JOB.id,
        schedules=(),
        kind=ReplicaKind.UPDATED,
        replica=VmUuid("r"),
        snapshot=SnapshotUuid("rs"),
        disks=(),
    )
    nameless = replace(replica, sr=slow, kind=ReplicaKind.COPIED, snapshot=None)
    unfinished = replace(replica, stamp=DELTA, state=ReplicaState.INTERRUPTED)
    pool = report.observed.pools[LAB]
    assert isinstance(pool, PoolView)
    marks = Marks(JOB.id, (), DELTA, WEB, rolling=True)
    snapshots = (
        Snapshot(SnapshotUuid("s1"), "a", NOW, marks, ()),
        Snapshot(SnapshotUuid("s2"), "b", NOW, replace(marks, rolling=False), ()),
    )
    seen = replace(
        pool,
        srs={
            fast: Sr(fast, "Local storage", None, None),
            slow: Sr(slow, "twin", None, None),
            SrUuid("t"): Sr(SrUuid("t"), "twin", None, None),
        },
        replicas=(replica, nameless, unfinished),
        vms={**pool.vms, WEB: replace(pool.vms[WEB], snapshots=snapshots)},
    )
    pools = {**report.observed.pools, LAB: seen}
    listing = listed_points.points(
        replace(report, observed=replace(report.observed, pools=pools)), WEB
    )
    elsewhere = [each for each in listing.items if each["placeKind"] != "Remote"]
    assert {(each["name"], each["kind"], each["state"]) for each in elsewhere} == {
        (f"{WEB}/{FULL}@lab:Local storage", "Replica", "Ok"),
        (f"{WEB}/{FULL}@lab:{slow}", "Copy", "Ok"),
        (f"{WEB}/{DELTA}@pool/lab", "Snapshot", "Ok"),
    }
    assert {each["name"] for each in listing.items} == set(listing.names)
    assert len(listing.items) == 6
    at_sr = replace(report, observed=replace(report.observed, pools=pools))
    shown = point_description.point(at_sr, f"{WEB}/{FULL}@lab:Local storage")
    assert "clone rs on pool lab" in text_of(shown, colour=False)
    assert shown.document["replica"] == "r"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (f"{WEB}/{FULL}@lab:Local storage", "lies on an SR of pool lab, where it is a VM already"),
        (f"{WEB}/{FULL}@pool/lab", "is a snapshot on pool lab"),
    ],
)
def test_what_lies_on_a_pool_is_cloned_there_and_not_restored(name: str, why: str) -> None:
    with pytest.raises(Failure, match=why) as caught:
        require_on_remote(name, [LAB], [NAS])
    assert "clone it there" in str(caught.value.hint)
    require_on_remote(f"{WEB}/{FULL}@nas1", [LAB], [NAS])
    require_on_remote("web@latest", [LAB], [NAS])


@pytest.mark.parametrize(("flaw", "state"), [("", "Ok"), ("it is missing", "Broken")])
def test_archives_are_listed_by_their_kind_and_have_no_chain(flaw: str, state: str) -> None:
    archived = {"kind": PointKind.ARCHIVE, "archive": f"{FULL}.xva", "flaw": flaw, "disks": ()}
    point = replace(point_of(FULL), **archived)
    content = listed_points.point_dict(point, NAS, Chains({}), {})
    assert (content["kind"], content["state"]) == ("Archive", state)
    assert (content["chainLength"], content["disks"]) == (1, 0)


@pytest.mark.parametrize("how", list(Format))
def test_every_list_can_be_put_in_every_form(
    report: Report, how: Format, capsys: pytest.CaptureFixture[str]
) -> None:
    for listing in (
        listings.pools(report),
        listings.remotes(report),
        listings.jobs(report),
        listings.vms(report),
        listed_points.points(report),
    ):
        put(listing, how)
        out = capsys.readouterr().out
        assert "\x1b" not in out
        assert len(out.splitlines()) >= len(listing.names)


def test_an_empty_table_says_so_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    put(Listing("Point", ("NAME",), 1, [], [], []), Format.TABLE)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "no points found\n")


def test_descriptions_are_for_terminals_of_careful_people(report: Report) -> None:
    shown = [
        descriptions.pool(report, "gone"),
        descriptions.pool(report, "lab"),
        descriptions.remote(report, "nas1"),
        descriptions.remote(report, "off"),
        descriptions.job(report, "nightly", ()),
        descriptions.vm(report, WEB),
        descriptions.vm(report, "db"),
        point_description.point(report, f"{WEB}/{FULL}@nas1"),
        point_description.point(report, f"{WEB}/{LOST}@nas1"),
    ]
    texts = [text_of(each, colour=False) for each in shown]
    for text in texts:
        assert "\x1b" not in text
        assert "SECRET_NAME" not in text
    assert "no route to host" in texts[0]
    assert "web\\x1b[2J" in texts[1]
    assert "keeps" not in texts[4]
    assert "last 3, daily 7" in texts[4]
    assert "tags prod" in texts[4]
    assert "Unassigned" in texts[6]
    assert "BROKEN: vdis/j/d/nowhere.vhd: the file is missing" in texts[8]


@pytest.mark.parametrize(
    ("kind", "name"), [("pool", "x"), ("remote", "x"), ("vm", "x"), ("point", "x")]
)
def test_what_is_not_there(report: Report, kind: str, name: str) -> None:
    with pytest.raises(Failure) as caught:
        getattr(point_description if kind == "point" else descriptions, kind)(report, name)
    assert caught.value.hint
    with pytest.raises(Failure, match="no manifest"):
        descriptions.job(report, name, ())
