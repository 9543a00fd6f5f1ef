"""The kinds of things that can be listed and described, and the words for them."""

from enum import StrEnum

from reconciler.cli.exits import Usage


class Kind(StrEnum):
    POOLS = "pools"
    REMOTES = "remotes"
    JOBS = "jobs"
    VMS = "vms"
    POINTS = "points"
    RUNS = "runs"
    RESTORES = "restores"


def kind_of(word: str) -> Kind:
    """Read a kind, one or many: "job" and "jobs". Raises Usage."""
    lowered = word.lower()
    for kind in Kind:
        if lowered in (kind.value, kind.value.removesuffix("s")):
            return kind
    raise Usage(f"there is no kind {word!r}", hint=f"kinds: {', '.join(Kind)}")


def kinds_starting(incomplete: str) -> list[str]:
    """Complete a kind, for shells."""
    return [kind.value for kind in Kind if kind.value.startswith(incomplete)]
