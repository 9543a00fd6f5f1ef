"""What a server checks of a job, in CEL: as far as it can, what validators and job_checks say."""

from reconciler.desired.rules import Rule, matches

# A server knows how much a rule costs as long as lists and texts come straight from the object.
_CALLED = (  # whether a schedule means target x by a name
    "(has(x.name) ? x.name == name : has(x.remoteRef) ? x.remoteRef.name == name :"
    " has(x.srRef.name) ? x.srRef.name == name : x.srRef.uuid == name)"
)
_OF_TARGETS = "!has(self.targets) || self.targets.all(x, {})"


def any_of(*lists: str) -> str:
    """Say that any of these lists has something in it."""
    return "(" + " || ".join(f"(has(self.{one}) && size(self.{one}) > 0)" for one in lists) + ")"


def _setting(name: str, nothing: str) -> str:
    """Say that a setting is not given, or as if it were not."""
    return f"!has(self.settings.{name}) || self.settings.{name} == {nothing}"


JOB_RULES = (
    Rule(
        f"self.mode == 'Snapshot' || {any_of('targets')}",
        "spec.targets is missing or empty; name at least one, or for snapshots alone write"
        " mode: Snapshot",
    ),
    Rule(
        f"self.mode != 'Snapshot' || !{any_of('targets')}",
        "has no place in mode Snapshot: nothing leaves the pool; remove it, or choose mode"
        " Incremental or Full",
        ".targets",
    ),
    Rule(
        f"self.mode == 'Full' || {_setting('compression', repr('None'))}",
        "is for mode Full; remove it, or choose mode Full",
        ".settings.compression",
    ),
    Rule(
        f"self.mode == 'Incremental' || {_setting('keyBackupEvery', '0')}",
        "is for mode Incremental; remove it, or choose mode Incremental",
        ".settings.keyBackupEvery",
    ),
    Rule(
        "self.mode == 'Snapshot' || self.settings.consistency != 'Memory'",
        "memory stays on the pool: no restore point of this mode has it; choose mode Snapshot, or"
        " consistency: Offline",
        ".settings.consistency",
    ),
    Rule(
        "!has(self.selector.pools) ||"
        " self.selector.pools.all(name, self.poolRefs.exists(pool, pool.name == name))",
        "names a pool that is not in spec.poolRefs; add it there",
        ".selector.pools",
    ),
    Rule(
        _OF_TARGETS.format(
            "!has(x.name) || self.targets.exists_one(y, has(y.name) && y.name == x.name)"
        ),
        "lists two targets under one name; give each its own",
        ".targets",
    ),
    Rule(
        _OF_TARGETS.format(
            "!has(x.remoteRef) || self.targets.exists_one(y, has(y.remoteRef) &&"
            " y.remoteRef.name == x.remoteRef.name)"
        ),
        "lists a remote twice; one target is enough: schedules may name it as often as they like",
        ".targets",
    ),
    Rule(
        "self.schedules.all(one, !has(one.targets) || one.targets.all(name,"
        f" has(self.targets) && self.targets.exists(x, {_CALLED})))",
        "has a schedule whose targets are not all in spec.targets; a target is called by its name,"
        " or as its remote or SR",
        ".schedules",
    ),
    Rule(
        "size(self.poolRefs) == 1 || "
        + _OF_TARGETS.format("!has(x.srRef) || !has(x.srRef.uuid) || has(x.srRef.poolRef)"),
        "names an SR by uuid, which is of one pool, and the job has several; add its poolRef, or"
        " give the name that it has in each",
        ".targets",
    ),
)

# ── when ──────────────────────────────────────────────────────────────────────────────────────────

_STEP = "(/[0-9]+)?"
_FIELDS = (
    ("minute", "0 to 59", "[0-5]?[0-9]"),
    ("hour", "0 to 23", "[01]?[0-9]|2[0-3]"),
    ("day of the month", "1 to 31, or L", "0?[1-9]|[12][0-9]|3[01]|[Ll][Ww]?"),
    ("month", "1 to 12, or JAN to DEC", "0?[1-9]|1[0-2]|[A-Za-z]{3}"),
    ("day of the week", "0 to 7, or SUN to SAT", "[0-7]([Ll]|#[1-5])?|[A-Za-z]{3}([Ll]|#[1-5])?"),
)


def _cron_rules() -> tuple[Rule, ...]:
    five = matches(
        r"\s*(@[A-Za-z]+|\S+(\s+\S+){4})\s*",
        "must have five fields; for example 0 2 * * * (02:00 every day), or @daily",
    )
    rules = [five]
    for position, (name, allowed, one) in enumerate(_FIELDS):
        item = rf"(\*|({one})(-({one}))?){_STEP}"
        right = matches(
            rf"\s*(@\S*|(\S+\s+){{{position}}}{item}(,{item})*(\s.*)?)",
            f"has no {name} that is right; {allowed}, with * , - and /",
        )
        rules.append(Rule(f"!{five.expression} || {right.expression}", right.message))
    return tuple(rules)


CRON_RULES = _cron_rules()
ZONE_RULES = (
    matches(
        "[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*",
        "must be an IANA time zone; for example Europe/Paris",
    ),
    Rule(
        # The function fails for a zone that is not known.
        "timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0",
        "must be an IANA time zone; for example Europe/Paris",
    ),
)
