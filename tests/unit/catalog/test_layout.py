import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.catalog import layout
from reconciler.ids import DiskUuid, JobId, Stamp, VmUuid

VM = VmUuid("11111111-2222-3333-4444-555555555555")
DISK = DiskUuid("dddddddd-0000-0000-0000-000000000001")
STAMP = Stamp("20260101T020000Z")


def test_keys_are_xen_orchestras():
    path = layout.disk_path(JobId("job"), DISK, STAMP)
    assert path == f"vdis/job/{DISK}/20260101T020000Z.vhd"
    assert layout.key_of(VM, path) == f"xo-vm-backups/{VM}/{path}"
    assert layout.disk_key(VM, JobId("job"), DISK, STAMP) == layout.key_of(VM, path)
    assert layout.metadata_key(VM, STAMP) == f"xo-vm-backups/{VM}/20260101T020000Z.json"
    assert layout.cache_key(VM) == f"xo-vm-backups/{VM}/cache.json.gz"
    assert layout.lock_key(VM) == f"xo-vm-backups/{VM}.lock"
    assert layout.journal_of(path) == f"vdis/job/{DISK}/.20260101T020000Z.vhd.merge.json"
    assert layout.partial_of(path) == f"vdis/job/{DISK}/.20260101T020000Z.vhd.partial"
    assert layout.partial_of("f.json") == ".f.json.partial"


JOBS = st.one_of(
    st.uuids().map(str),
    st.sampled_from(["job", "nightly backup", "…", "..job", "a" * 255, "Ж", "@home", "c:d"]),
)


@given(
    JOBS,
    st.uuids().map(str),
    st.datetimes().map(lambda at: at.strftime("%Y%m%dT%H%M%SZ")),
    st.booleans(),
)
def test_disk_paths_come_apart_as_they_were_put_together(job, disk, stamp, blocks):
    stamp = Stamp(stamp.rjust(16, "0"))
    path = layout.disk_path(JobId(job), DiskUuid(disk), stamp, blocks=blocks)
    place = layout.parse_disk_path(path)
    assert place == layout.DiskPath(JobId(job), DiskUuid(disk), stamp, blocks)
    assert place.path == path
    data = layout.data_path(JobId(job), DiskUuid(disk), stamp)
    assert layout.parse_data_path(data) == layout.DiskPath(JobId(job), DiskUuid(disk), stamp, True)
    assert layout.parse_disk_path(data) is layout.parse_data_path(path) is None


@pytest.mark.parametrize(
    "path",
    [
        f"vdis/job/{DISK}/data",
        f"vdis/job/{DISK}/data/",
        f"vdis/job/{DISK}/data/20260101T020000Z.vhd/blocks",
        f"vdis/job/{DISK}/data/20260101T020000Z.alias.vhd",
        f"vdis/job/{DISK}/data/../20260101T020000Z.vhd",
        f"vdis/job/{DISK}/date/20260101T020000Z.vhd",
        f"vdis/../{DISK}/data/20260101T020000Z.vhd",
        f"vdis/job/{DISK}/data/7a0b4c1e-0000-0000-0000-000000000000.vhd",
    ],
)
def test_anything_else_is_no_block_directory_of_ours(path):
    assert layout.parse_data_path(path) is None


def test_keys_in_block_mode_are_xen_orchestras():
    path = layout.disk_path(JobId("job"), DISK, STAMP, blocks=True)
    assert path == f"vdis/job/{DISK}/20260101T020000Z.alias.vhd"
    assert layout.journal_of(path) == f"vdis/job/{DISK}/.20260101T020000Z.alias.vhd.merge.json"
    journal = layout.journal_of(path).rpartition("/")[2]
    assert layout.parse_journal_name(journal) == "20260101T020000Z.alias.vhd"
    data = layout.data_path(JobId("job"), DISK, STAMP)
    assert data == f"vdis/job/{DISK}/data/20260101T020000Z.vhd"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        f"vdis/../{DISK}/20260101T020000Z.vhd",
        f"vdis/./{DISK}/20260101T020000Z.vhd",
        f"vdis//{DISK}/20260101T020000Z.vhd",
        f"/vdis/job/{DISK}/20260101T020000Z.vhd",
        f"../{VM}/vdis/job/{DISK}/20260101T020000Z.vhd",
        f"vdis/job/../{DISK}/20260101T020000Z.vhd",
        f"vdis/job/{DISK}/../20260101T020000Z.vhd",
        f"vdis/job/{DISK}/20260101T020000Z.vhd/",
        f"vdis/job/{DISK}/.20260101T020000Z.vhd",
        f"vdis/job/{DISK}/20260101T020000Z.vhd.partial",
        f"vdis/job/{DISK}/20260101T020000Z.alias.alias.vhd",
        f"vdis/job/{DISK}/20260101T020000Z.alias",
        f"vdis/job/{DISK}/data/20260101T020000Z.vhd",
        f"vdis/job/{DISK}/20260101T020000Z.VHD",
        f"vdis/job/{DISK.upper()}/20260101T020000Z.vhd",
        f"vdis/job/{DISK}x/20260101T020000Z.vhd",
        f"vdis/job/{DISK}\n/20260101T020000Z.vhd",
        f"vdis/job/{DISK}/20260101T020000Z.vhd\n",
        f"vdis/jo\0b/{DISK}/20260101T020000Z.vhd",
        f"vdis/jo\nb/{DISK}/20260101T020000Z.vhd",
        f"vdis/{'a' * 256}/{DISK}/20260101T020000Z.vhd",
        f"vdis/\ud800/{DISK}/20260101T020000Z.vhd",
        f"vdis/job/{DISK}/20260231T020000Z.vhd",
        f"vdis/job/{DISK}/20260101T250000Z.vhd",
        f"vdis/job/{DISK}/٢٠٢٦٠١٠١T٠٢٠٠٠٠Z.vhd",
        "vdis\\job\\disk\\20260101T020000Z.vhd",
    ],
)
def test_anything_else_is_no_disk_path(path):
    assert layout.parse_disk_path(path) is None


@given(st.text(max_size=80))
def test_parsers_take_any_name(name):
    """Names are input; whatever is accepted leads nowhere else than it says."""
    place = layout.parse_disk_path(f"vdis/{name}/{DISK}/20260101T020000Z.vhd")
    assert place is None or (place.job == name and "/" not in name and name not in (".", ".."))
    for parse in (
        layout.parse_disk_path,
        layout.parse_disk_name,
        layout.parse_metadata_name,
        layout.parse_journal_name,
        layout.parse_archive_mark,
        layout.parse_vm,
        layout.is_partial,
        layout.is_disk_like,
        layout.is_metadata_like,
    ):
        parse(name)


@pytest.mark.parametrize(
    "name",
    [
        ".20260101T020000Z.vhd.partial",
        ".20260101T020000Z.vhd.merging",
        ".20260101T020000Z.vhd.0a1b2c.partial",
        ".20260101T020000Z.json.0a1b2c3d4e5f6789.partial",
        ".cache.json.gz.0a1b.partial",
        ".20260101T020000Z.alias.vhd.0a1b.partial",
        "..20260101T020000Z.alias.vhd.merge.json.0a1b.partial",
        ".20260101T020000Z.xva.partial",
        ".20260101T020000Z.xva.0a1b2c.partial",
        ".20260101T020000Z.xva.checksum.0a1b2c.partial",
        "..20260101T020000Z.xva.partial.0a1b2c.partial",
        "..20260101T020000Z.vhd.merge.json.0a1b.partial",
    ],
)
def test_our_own_unfinished_files_are_recognised(name):
    assert layout.is_partial(name)
    assert not layout.is_disk_like(name)
    assert not layout.is_metadata_like(name)


def test_only_the_mark_of_an_archive_is_one():
    stamp = Stamp("20260101T020000Z")
    assert layout.parse_archive_mark(layout.archive_mark_path(stamp)) == stamp
    for name in (
        f"{stamp}.xva.partial",
        f"..{stamp}.xva.partial",
        f".{stamp}.xva",
        f".{stamp}.xva.0a1b.partial",
        f".{stamp}.vhd.partial",
        ".20260231T020000Z.xva.partial",
    ):
        assert layout.parse_archive_mark(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "20260101T020000Z.vhd",
        "20260101T020000Z.vhd.partial",
        "20260101T020000Z.json",
        "cache.json.gz",
        ".20260101T020000Z.vhd",
        ".20260101T020000Z.vhd.merge.json",
        ".1767225600000.20260101T020000Z.vhd",  # Xen Orchestra's upload
        ".thesis.doc.partial",  # somebody's download
        ".partial",
        ".nfs00000001",
        ".20260101T020000Z.vhd.partial\n",
        ".20260101T020000Z.vhd.a/b.partial",
        "20260101T020000Z.xva",
        ".20260101T020000Z.xva",
        ".1767225600000.20260101T020000Z.xva",  # Xen Orchestra's
        "20260101T020000Z.xva.checksum",
    ],
)
def test_nothing_else_is_taken_for_one(name):
    assert not layout.is_partial(name)


def test_names_say_what_they_are():
    assert layout.parse_metadata_name("20260101T020000Z.json") == STAMP
    assert layout.parse_metadata_name("notes.json") is None
    assert layout.parse_journal_name(".20260101T020000Z.vhd.merge.json") == "20260101T020000Z.vhd"
    assert layout.parse_journal_name(".x.merge.json") is None
    assert layout.is_disk_like("anything.vhd") and not layout.is_disk_like(".x.vhd")
    assert layout.is_metadata_like("x.json") and not layout.is_metadata_like(".x.json")
    assert layout.parse_vm(VM) == VM
    assert layout.parse_vm(f"{VM}.lock") is None
    assert layout.parse_vm(VM.replace("1", "A")) is None
