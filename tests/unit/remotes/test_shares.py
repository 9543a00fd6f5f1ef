import pytest

from reconciler.remotes.shares import NfsPlace, PlaceInvalid, SmbPlace


def test_an_nfs_share_as_mount_wants_it():
    place = NfsPlace("nas.lan", "/export/backup", options=("vers=4.2", "nconnect=4"))
    assert place.source == "nas.lan:/export/backup"
    assert place.option_string() == "rw,nosuid,nodev,noexec,noatime,hard,vers=4.2,nconnect=4"


def test_an_smb_share_as_mount_wants_it():
    place = SmbPlace("nas", "backup$", username="svc", options=("vers=3.1.1", "seal"))
    assert place.source == "//nas/backup$"
    assert place.option_string("/run/c") == (
        "rw,nosuid,nodev,noexec,noatime,file_mode=0600,dir_mode=0700,credentials=/run/c,vers=3.1.1,seal"
    )
    assert ",guest" in SmbPlace("nas", "open").option_string(None)


def test_a_default_gives_way_to_what_is_said():
    options = NfsPlace("n", "/e", options=("soft", "relatime"), read_only=True).option_string()
    assert options == "ro,nosuid,nodev,noexec,soft,relatime"
    assert NfsPlace("n", "/e", options=("hard",)).option_string().count("hard") == 1


@pytest.mark.parametrize(
    "option",
    [
        "vers=4.2,suid",
        "vers=4.2 -o suid",
        "suid",
        "dev",
        "bind",
        "remount",
        "loop",
        "x-mount.mkdir",
        "context=x",
        "password=secret",
        "credentials=/etc/shadow",
        "vers=4\n",
        "vers=$(id)",
        "nostrictsync",
        "",
        "=",
    ],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda options: NfsPlace("n", "/e", options=options),
        lambda options: SmbPlace("n", "s", options=options),
    ],
    ids=["nfs", "smb"],
)
def test_options_that_are_not_known_to_do_no_harm_are_refused(make, option):
    with pytest.raises(PlaceInvalid):
        make((option,))


@pytest.mark.parametrize(
    "server", ["", "-o", "a b", "a,b", "a/b", "nas:/x", "nas\n", "-nas", "[x]"]
)
def test_servers_are_names_or_addresses(server):
    with pytest.raises(PlaceInvalid):
        NfsPlace(server, "/e")
    with pytest.raises(PlaceInvalid):
        SmbPlace(server, "s")


@pytest.mark.parametrize("server", ["nas", "nas.example.com", "192.0.2.7", "[fe80::1]", "n_1"])
def test_names_and_addresses_are_taken(server):
    assert NfsPlace(server, "/e").source == f"{server}:/e"


@pytest.mark.parametrize(
    "make",
    [
        lambda: NfsPlace("n", "relative"),
        lambda: NfsPlace("n", "/a\nb"),
        lambda: SmbPlace("n", ""),
        lambda: SmbPlace("n", "a/b"),
        lambda: SmbPlace("n", "s", directory="../x"),
        lambda: SmbPlace("n", "s", directory="/x"),
        lambda: SmbPlace("n", "s", username="a\npassword=b"),
        lambda: SmbPlace("n", "s", domain="a\nb"),
    ],
)
def test_places_that_cannot_be(make):
    with pytest.raises(PlaceInvalid):
        make()


def test_credentials_are_a_files_affair_and_shown_nowhere():
    place = SmbPlace("n", "s", username="svc", domain="D", password=lambda: "a,b=c #")
    assert place.credentials() == "username=svc\npassword=a,b=c #\ndomain=D\n"
    assert "a,b=c" not in repr(place)
    with pytest.raises(PlaceInvalid) as raised:
        SmbPlace("n", "s", username="svc", password=lambda: "one\nusername=root").credentials()
    assert "root" not in str(raised.value)
