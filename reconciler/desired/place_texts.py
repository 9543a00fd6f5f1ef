"""Texts that say where a remote lies: each with what only its kind can get wrong.

What stands here goes into mounts and into URLs later. So every text is checked for what it could
mean there beside itself: an option that hides in another, a path that leads elsewhere, a secret
that any user of the machine could read in the table of mounts.
"""

import re
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import AfterValidator, Field

from reconciler.desired.address import HOST_RULES, check_host, check_url, url_rules
from reconciler.desired.envelope import NO_DOTS, Text
from reconciler.desired.mount_options import (
    NFS_OPTIONS,
    SMB_OPTIONS,
    check_nfs_option,
    check_smb_option,
    option_rules,
)
from reconciler.desired.rules import Rule, matches, text_schema

# Meaningful to mount, to shells, to Windows, or to whoever reads the table of mounts.
_STRANGE = r"""\x00-\x1f\x7f"'\\,;:*?<>|$&`"""
_STRANGE_IN_SHARE = r"""\x00-\x1f\x7f"'\\/\[\]:|<>+=;,*?%&`"""
_STRANGE_IN_USER = r"""\x00-\x1f\x7f"\\/,;:*?<>|%"""
_DOMAIN = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,253}[A-Za-z0-9])?"
_BUCKET = r"[a-z0-9]([a-z0-9.-]{1,61}[a-z0-9])"
_PREFIX = r"[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*"
_REGION = r"[A-Za-z0-9]([A-Za-z0-9._-]{0,62}[A-Za-z0-9])?"

_NO_EXPORT = "must be the path that the server exports; for example /srv/backups"
_NO_SHARE = (
    "must be the name of a share; for example backups; directories below it belong to"
    " spec.smb.directory"
)
_NO_DIRECTORY = "must be a path below the share; for example xen/paris"
_NO_USER = "must be the name of a user alone; its domain has a field"
_NO_DOMAIN = "must be the name of a domain; for example EXAMPLE or ad.example.net"
_NO_BUCKET = (
    "must be the name of a bucket; 3 to 63 lower-case letters, digits, - and . between them"
)
_NO_PREFIX = "must be what keys begin with; letters, digits, - . and _, with / between them"
_NO_REGION = "must be the name of a region; for example eu-west-3"
_SECRETS_IN = "accessKeyFrom and secretKeyFrom"
_EXAMPLE = "a server; for example https://s3.example.net (the bucket has a field)"


def _export(text: str) -> str:
    if not re.fullmatch(rf"/[^{_STRANGE}]*", text) or "//" in text:
        raise ValueError(_NO_EXPORT)
    return _without_dots(text).rstrip("/") or "/"


def _share(text: str) -> str:
    if re.search(f"[{_STRANGE_IN_SHARE}]", text) or text in (".", "..") or text != text.strip():
        raise ValueError(_NO_SHARE)
    return text


def _directory(text: str) -> str:
    if re.search(f"[{_STRANGE}]", text) or "//" in text:
        raise ValueError(_NO_DIRECTORY)
    return _without_dots(text).strip("/")


def _without_dots(text: str) -> str:
    if {".", ".."} & set(text.split("/")):
        raise ValueError(NO_DOTS.message)
    return text


def _user(text: str) -> str:
    if re.search(f"[{_STRANGE_IN_USER}]", text):
        raise ValueError(_NO_USER)
    return text


def _endpoint(text: str) -> str:
    return check_url(text, secrets_in=_SECRETS_IN, example=_EXAMPLE)


def _bucket(text: str) -> str:
    if not re.fullmatch(_BUCKET, text) or ".." in text or _is_ipv4(text):
        raise ValueError(_NO_BUCKET)
    return text


def _prefix(text: str) -> str:
    bare = text.strip("/")
    if not re.fullmatch(_PREFIX, bare) or {".", ".."} & set(bare.split("/")) or len(bare) > 512:
        raise ValueError(_NO_PREFIX)
    return bare


def _is_ipv4(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True


def _only(pattern: str, mistake: str) -> AfterValidator:
    """Let a text pass that a pattern describes wholly."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(mistake)
        return text

    return AfterValidator(check)


_NO_TWO_SLASHES = "!self.contains('//')"
Host = Annotated[Text, AfterValidator(check_host), text_schema(*HOST_RULES, longest=253)]
Export = Annotated[
    str,
    AfterValidator(_export),
    text_schema(
        matches(f"/[^{_STRANGE}]*", _NO_EXPORT),
        Rule(_NO_TWO_SLASHES, _NO_EXPORT),
        NO_DOTS,
        longest=1024,
    ),
]
Share = Annotated[
    str,
    Field(min_length=1, max_length=80),
    AfterValidator(_share),
    text_schema(
        matches(f"[^{_STRANGE_IN_SHARE}]*", _NO_SHARE),
        Rule("self == self.trim() && !(self in ['.', '..'])", _NO_SHARE),
        longest=80,
        shortest=1,
    ),
]
Directory = Annotated[
    str,
    Field(max_length=1024),
    AfterValidator(_directory),
    text_schema(
        matches(f"[^{_STRANGE}]*", _NO_DIRECTORY),
        Rule(_NO_TWO_SLASHES, _NO_DIRECTORY),
        NO_DOTS,
        longest=1024,
    ),
]
User = Annotated[
    Text,
    AfterValidator(_user),
    text_schema(matches(f"[^{_STRANGE_IN_USER}]*", _NO_USER), longest=253, shortest=1),
]
Domain = Annotated[
    str, _only(_DOMAIN, _NO_DOMAIN), text_schema(matches(_DOMAIN, _NO_DOMAIN), longest=255)
]
Endpoint = Annotated[
    str,
    AfterValidator(_endpoint),
    text_schema(*url_rules(secrets_in=_SECRETS_IN, example=_EXAMPLE), longest=1024),
]
Bucket = Annotated[
    str,
    AfterValidator(_bucket),
    text_schema(
        matches(_BUCKET, _NO_BUCKET),
        Rule("!self.contains('..') && !self.matches('^[0-9]+([.][0-9]+){3}$')", _NO_BUCKET),
        longest=63,
    ),
]
Prefix = Annotated[
    str,
    AfterValidator(_prefix),
    text_schema(matches(f"/*{_PREFIX}/*", _NO_PREFIX), NO_DOTS, longest=600),
]
Region = Annotated[
    str, _only(_REGION, _NO_REGION), text_schema(matches(_REGION, _NO_REGION), longest=64)
]
NfsOption = Annotated[
    str, AfterValidator(check_nfs_option), text_schema(*option_rules(NFS_OPTIONS), longest=160)
]
SmbOption = Annotated[
    str, AfterValidator(check_smb_option), text_schema(*option_rules(SMB_OPTIONS), longest=160)
]
