"""Which options of mount(8) a manifest may give: those known to do no harm, of the right syntax.

Options are joined with commas later, so that one could hide in another; some would show a password
to every user of the machine, some would break a promise (syncs that do not reach the server). What
is not known is not taken.
"""

import json
import re
from collections.abc import Mapping
from difflib import get_close_matches

from reconciler.desired.rules import Rule, matches

_OPTION = re.compile(r"[a-z][a-z0-9_]{0,31}(=[A-Za-z0-9_.:/@+-]{1,127})?")
_NO_OPTION = "must be one mount option; for example vers=4.2, and each in an item of its own"
_HARMLESS = "must be a mount option that is known to be harmless; "
_ANOTHER = "must be another mount option; "
_OTHERWISE = "let the system mount the share with it"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OF_ALL = _words("noatime nodiratime relatime sync dirsync nosuid nodev noexec")
NFS_OPTIONS = _OF_ALL | _words(
    "vers nfsvers minorversion proto port timeo retrans retry rsize wsize sec hard softerr soft"
    " softreval nosoftreval nconnect max_connect trunkdiscovery notrunkdiscovery xprtsec clientaddr"
    " ac noac actimeo acregmin acregmax acdirmin acdirmax lookupcache resvport noresvport"
    " rdirplus nordirplus sharecache nosharecache migration nomigration tcp rdma"
    " lock nolock local_lock mountport mountproto mountvers mounthost fg"
)
SMB_OPTIONS = _OF_ALL | _words(
    "vers sec seal sign port ip uid gid forceuid noforceuid forcegid noforcegid file_mode dir_mode"
    " iocharset cache actimeo acregmax acdirmax closetimeo rsize wsize bsize rasize max_credits"
    " echo_interval hard soft nobrl serverino noserverino persistenthandles nopersistenthandles"
    " resilienthandles noresilienthandles handletimeout multichannel max_channels nohandlecache"
    " perm noperm posix noposix unix nounix mapposix mapchars nomapchars compress rdma nodfs"
    " nosharesock domainauto netbiosname servern guest strictsync"
)
_REFUSED: Mapping[str, str] = {
    "nostrictsync": "what was written has to survive a loss of power",
    **dict.fromkeys(("ro", "rw"), "it is spec.accessMode that decides"),
    **dict.fromkeys(_words("user username domain dom"), "it has a field"),
    **dict.fromkeys(
        _words("pass password pass2 password2 cred credentials"),
        "any user of the machine could read it; use passwordFrom",
    ),
}


def check_nfs_option(text: str) -> str:
    """Return an option as it is. Raises ValueError."""
    return _checked(text, NFS_OPTIONS)


def check_smb_option(text: str) -> str:
    """Return an option as it is. Raises ValueError."""
    return _checked(text, SMB_OPTIONS)


def _checked(text: str, known: frozenset[str]) -> str:
    name = text.partition("=")[0]
    if name in _REFUSED:
        raise ValueError(_ANOTHER + _REFUSED[name])
    if not _OPTION.fullmatch(text):
        raise ValueError(_NO_OPTION)
    if name not in known:
        near = get_close_matches(name, sorted(known), n=1, cutoff=0.7)
        raise ValueError(_HARMLESS + (f"did you mean {near[0]}?" if near else _OTHERWISE))
    return text


def option_rules(known: frozenset[str]) -> tuple[Rule, ...]:
    """What is checked of an option here, for a server."""
    name = "self.split('=', 2)[0]"
    whys = dict.fromkeys(_REFUSED.values())
    refused = {why: [one for one in _REFUSED if _REFUSED[one] == why] for why in whys}
    return (
        matches(_OPTION.pattern, _NO_OPTION),
        Rule(f"{name} in {json.dumps(sorted(known | _REFUSED.keys()))}", _HARMLESS + _OTHERWISE),
        *(
            Rule(f"!({name} in {json.dumps(sorted(names))})", _ANOTHER + why)
            for why, names in refused.items()
        ),
    )
