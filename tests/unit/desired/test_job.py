from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from reconciler.desired.document import Document, Identity
from reconciler.desired.job import JobSpec
from reconciler.desired.manifest import read_manifest
from reconciler.desired.retention import BucketKeeps, Retention
from reconciler.desired.run_history import RunHistory
from reconciler.desired.schedule import Schedule
from reconciler.desired.selector import Selector
from reconciler.desired.state import (
    AfterCancel,
    Compression,
    Consistency,
    Job,
    JobMode,
    PruneGuard,
    Settings,
    SrTarget,
    Timeouts,
)
from reconciler.ids import PoolName

Parse = Callable[[str], Document]

NIGHTLY = Identity("BackupJob", "default", "nightly")
UUID = "5b0f5f6e-8a54-4f0e-9d58-2a3c6f4f7e11"
FIELDS = {
    "poolRefs": "[{name: lab}]",
    "selector": "{all: true}",
    "targets": "[{remoteRef: {name: cellar}}]",
    "schedules": '[{name: night, cron: "0 2 * * *"}]',
}


def text_of(**changes: str) -> str:
    fields = {**FIELDS, **changes}
    spec = "\n".join(f"  {name}: {value}" for name, value in fields.items() if value)
    return (
        "apiVersion: backup.reconciler.io/v1alpha1\nkind: BackupJob\n"
        f"metadata: {{name: nightly}}\nspec:\n{spec}\n"
    )


def job_of(document: Document) -> Job:
    manifest = read_manifest(document)
    assert manifest.problems == ()
    assert isinstance(manifest.spec, JobSpec)
    return manifest.spec.job(NIGHTLY)


def said(document: Document) -> list[str]:
    return [f"{one.message} | {one.hint}" for one in read_manifest(document).problems]


def test_the_smallest_and_its_defaults(document: Parse) -> None:
    job = job_of(document(text_of()))
    assert job.selector == Selector(all=True)
    assert (job.full_every, job.run_on_create, job.suspend) == (0, False, False)
    assert job.guard == PruneGuard(percent_max=30, points_max=50, good_min=1)
    assert job.history == RunHistory(good=3, bad=3)
    (night,) = job.schedules
    assert night.schedule == Schedule("0 2 * * *", "UTC")
    assert night.retention.keeps_everything
    assert (night.suspend, night.deadline) == (False, timedelta(hours=1))


def test_all_of_it(document: Parse) -> None:
    job = job_of(
        document(
            text_of(
                selector=(
                    f"{{uuids: [{UUID}], names: [web-*], matchTags: [prod], powerStates: [Running],"
                    f" excludeUuids: [{UUID}], excludeNames: ['*-1'], excludeTags: [test]}}"
                ),
                mode="Incremental",
                schedules=(
                    '[{name: night, cron: "0  2 * * *", timeZone: Europe/Paris, suspend: true,'
                    f" startingDeadline: 1h30m, scheduleId: {UUID}, retention: {{last: 1,"
                    " hourly: 2, daily: 3, weekly: 4, monthly: 5, yearly: 6, within: 7d}}]"
                ),
                settings="{keyBackupEvery: 20}",
                runOnCreate="true",
                suspend="true",
                pruneGuard="{maxPercent: 10, maxPoints: 5, minGoodPoints: 2}",
                successfulRunsHistoryLimit="0",
                failedRunsHistoryLimit="9",
                deletionPolicy="Retain",
                jobId=UUID,
            )
        )
    )
    assert job.id == UUID
    assert job.selector == Selector(
        uuids=frozenset({UUID}),
        names=("web-*",),
        tags=frozenset({"prod"}),
        power_states=frozenset({"Running"}),
        exclude_uuids=frozenset({UUID}),
        exclude_names=("*-1",),
        exclude_tags=frozenset({"test"}),
    )
    (night,) = job.schedules
    assert night.id == UUID
    assert night.schedule == Schedule("0 2 * * *", "Europe/Paris")
    assert night.retention == Retention(1, 2, 3, 4, 5, 6, timedelta(days=7), "Europe/Paris")
    assert (night.suspend, night.deadline) == (True, timedelta(minutes=90))
    assert (job.full_every, job.run_on_create, job.suspend) == (20, True, True)
    assert job.guard == PruneGuard(10, 5, 2)
    assert job.history == RunHistory(good=0, bad=9)


def test_destinations_of_the_job_and_of_its_schedules(document: Parse) -> None:
    job = job_of(
        document(
            text_of(
                poolRefs="[{name: lab}, {name: edge}]",
                selector="{all: true, pools: [edge]}",
                targets=(
                    "[{remoteRef: {name: cellar}}, {name: far, remoteRef: {name: bucket}},"
                    " {srRef: {name: Local storage}},"
                    f" {{name: warm, srRef: {{uuid: {UUID}, poolRef: {{name: spare}}}}}}]"
                ),
                schedules=(
                    '[{name: day, cron: "@daily", targets: [cellar, Local storage]},'
                    ' {name: week, cron: "@weekly", targets: [far, warm]},'
                    ' {name: month, cron: "@monthly"}]'
                ),
            )
        )
    )
    assert job.pools == ("edge",)
    own, warm = SrTarget("Local storage"), SrTarget(UUID, PoolName("spare"))
    assert job.destinations == ("cellar", "bucket", own, warm)
    day, week, month = job.schedules
    assert job.destinations_of(day) == ("cellar", own)
    assert job.destinations_of(week) == ("bucket", warm)
    assert job.destinations_of(month) == job.destinations
    assert month.destinations is None


def test_destinations_are_of_the_namespace_of_their_job(document: Parse) -> None:
    targets = "[{remoteRef: {name: cellar}}, {srRef: {name: x, poolRef: {name: spare}}}]"
    spec = read_manifest(document(text_of(targets=targets))).spec
    assert isinstance(spec, JobSpec)
    job = spec.job(replace(NIGHTLY, namespace="erp"))
    assert job.destinations == ("erp/cellar", SrTarget("x", PoolName("erp/spare")))


def test_settings(document: Parse) -> None:
    defaults = job_of(document(text_of()))
    assert (defaults.mode, defaults.settings) == (JobMode.INCREMENTAL, Settings())
    job = job_of(
        document(
            text_of(
                mode="Full",
                selector="{all: true, excludeDisks: ['*-scratch']}",
                settings=(
                    "{consistency: Offline, compression: Zstd, afterCancel: Keep, maxRate: 200Mi,"
                    " timeouts: {perVM: 6h, run: 12h, stall: 90s},"
                    " slowDestination: {action: Detach, after: 2m},"
                    " concurrency: {vms: 2, disksPerVM: 3}}"
                ),
                retention="{last: 1, daily: 7, bucketKeeps: Oldest}",
            )
        )
    )
    assert job.mode is JobMode.FULL
    assert job.settings == Settings(
        consistency=Consistency.OFFLINE,
        compression=Compression.ZSTD,
        timeouts=Timeouts(timedelta(hours=6), timedelta(hours=12), timedelta(seconds=90)),
        after_cancel=AfterCancel.KEEP,
        detach=timedelta(minutes=2),
        exclude_disks=("*-scratch",),
        vms_max=2,
        disks_max=3,
        rate_bytes_per_s=200 * 1024**2,
    )
    assert job.schedules[0].retention == Retention(last=1, daily=7, bucket_keeps=BucketKeeps.OLDEST)


def test_every_timeout_can_be_switched_off(document: Parse) -> None:
    settings = "{timeouts: {perVM: Never, run: Never, stall: Never}}"
    assert job_of(document(text_of(settings=settings))).settings.timeouts == Timeouts(stall=None)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"mode": "Replica"}, 'not "Replica" | to replicate, give targets with srRef'),
        ({"mode": "delta"}, "it is called Incremental here"),
        ({"mode": "incremental"}, 'did you mean "Incremental"?'),
        ({"deletionPolicy": "Delete"}, 'must be "Retain", not "Delete"'),
        ({"selector": "{}"}, "chooses no VM | give names, matchTags or uuids, or write all: true"),
        ({"selector": "{excludeTags: [x]}"}, "chooses no VM"),
        ({"selector": "{all: false}"}, "chooses no VM"),
        ({"selector": "{all: true, matchTags: [x]}"}, "keep one or the other"),
        ({"selector": "{tags: [x]}"}, 'it is called "matchTags" here'),
        ({"selector": "{matchTags: []}"}, "chooses no VM"),
        ({"selector": "{matchTags: prod}"}, "must be a list"),
        ({"selector": '{names: [""]}'}, "spec.selector.names[0] is empty"),
        ({"selector": "{powerStates: [running]}"}, 'did you mean "Running"?'),
        ({"selector": "{uuids: [x]}"}, "must be a uuid in lower case"),
        ({"selector": f"{{uuids: [{UUID.upper()}]}}"}, "must be a uuid in lower case"),
        ({"schedules": "[]"}, "spec.schedules is empty"),
        ({"schedules": ""}, "spec.schedules is missing"),
        ({"targets": "[{}]"}, "spec.targets[0] must have exactly one of remoteRef and srRef"),
        (
            {"targets": "[{remoteRef: {name: x}, srRef: {name: y}}]"},
            "spec.targets[0] must have exactly one of remoteRef and srRef",
        ),
        ({"targets": "[{srRef: {}}]"}, "must have exactly one of uuid and name"),
        ({"targets": "[{srRef: {uuid: x}}]"}, "must be a uuid in lower case"),
        ({"targets": "[{srRef: {nameLabel: x}}]"}, 'it is called "name" here'),
        ({"targets": "[{remoteRef: cellar}]"}, "spec.targets[0].remoteRef must be a mapping"),
        ({"targets": "[{remoteRef: {name: x, namespace: y}}]"}, "within the namespace"),
        ({"targets": "[{remoteRef: {name: x}, retention: {last: 1}}]"}, "belongs to a schedule"),
        ({"schedules": '[{name: N, cron: "@daily"}]'}, "spec.schedules[0].name must be a name"),
        ({"schedules": '[{name: n, cron: "@dayly"}]'}, '"@dayly" is not known'),
        ({"schedules": "[{name: n, cron: 5}]"}, "spec.schedules[0].cron must be text, not 5"),
        ({"schedules": '[{name: n, cron: "@daily", timezone: UTC}]'}, '"timeZone" here'),
        (
            {"schedules": '[{name: n, cron: "@daily", startingDeadline: 30}]'},
            "with its unit, not 30",
        ),
        ({"schedules": '[{name: n, cron: "@daily", startingDeadline: 1y}]'}, "is not a duration"),
        ({"schedules": '[{name: n, cron: "@daily", startingDeadline: 0s}]'}, "longer than nothing"),
        ({"schedules": '[{name: n, cron: "@daily", scheduleId: x}]'}, "must be a uuid"),
        ({"retention": "{}"}, "leave retention out to keep everything"),
        ({"retention": "{keepLast: 7}"}, 'it is called "last" here'),
        ({"retention": "{dayly: 7}"}, 'did you mean "daily"?'),
        ({"retention": "{last: 0}"}, "must be at least 1, not 0 | leave the field out"),
        ({"retention": "{last: -1}"}, "must be at least 1, not -1"),
        ({"retention": "{last: 1e3}"}, "must be a whole number"),
        ({"retention": '{last: "7"}'}, 'must be a whole number, not "7"'),
        ({"retention": "{last: 7, daily: }"}, "spec.retention.daily has no value"),
        ({"retention": "{last: true}"}, "must be a whole number, not true"),
        ({"retention": "{last: 99999999999999999999}"}, "must be a whole number"),
        ({"retention": "{within: 0d}"}, "longer than nothing"),
        ({"suspend": "yes"}, 'must be true or false, not "yes"'),
        ({"suspend": "1"}, "must be true or false, not 1"),
        ({"pruneGuard": "{maxPercent: 0}"}, "must be at least 1"),
        ({"pruneGuard": "{maxPercent: 101}"}, "must be at most 100"),
        ({"successfulRunsHistoryLimit": "-1"}, "must be at least 0"),
        ({"failedJobsHistoryLimit": "1"}, "failedRunsHistoryLimit"),
        ({"settings": "{keyBackupEvery: -1}"}, "must be at least 0"),
        ({"settings": "{maxRate: 100}"}, "must be bytes per second with their unit, not 100"),
        ({"settings": "{maxRate: 100Mbit}"}, "must be bytes per second with their unit"),
        ({"settings": "{maxRate: 1Ki}"}, "must be at least 64Ki"),
        ({"settings": "{compression: zstd}"}, 'did you mean "Zstd"?'),
        ({"settings": "{timeouts: {vmTimeout: 1h}}"}, 'it is called "perVM" here'),
        ({"settings": "{timeouts: {perVM: 2h, run: 1h}}"}, "a run holds all its VMs"),
        ({"settings": "{timeouts: {stall: 0s}}"}, 'must be a duration, or Never, not "0s"'),
        ({"settings": "{timeouts: {stall: never}}"}, "for example 30m, 12h or Never"),
        ({"settings": "{timeouts: {stall: }}"}, "spec.settings.timeouts.stall has no value"),
        ({"settings": "{slowDestination: {action: Detach}}"}, "no limit | "),
        ({"settings": "{slowDestination: {after: 2m}}"}, "no action: Detach"),
        ({"settings": "{concurrency: {vms: -1}}"}, "must be at least 0"),
        ({"settings": "{retries: 3}"}, "not supported yet | what fails is tried again"),
        ({"selector": "{all: true, excludeDisks: [{name: x}]}"}, "must be the name of a disk"),
        ({"schedules": '[{name: n, cron: "@daily", targets: []}]'}, "targets is empty"),
        ({"retention": "{bucketKeeps: Oldest}"}, "has no rule"),
        ({"retention": "{last: 1, bucketKeeps: Oldest}"}, "is for hourly, daily"),
        ({"retention": "{daily: 7, bucketKeeps: Oldest}"}, "last: 1 keeps it"),
        ({"retention": "{last: 1, daily: 7, bucketKeeps: oldest}"}, 'did you mean "Oldest"?'),
        ({"verification": "[]"}, "spec.verification must be a mapping"),
        ({"verification": "{}"}, "spec.verification.maxAge is missing"),
        ({"verification": "{maxAge: 0d}"}, "must be longer than nothing"),
        ({"verification": "{maxAge: 30d, level: Boot}"}, "not supported yet | points are read"),
        ({"verification": "{every: 30d}"}, "maxAge"),
        ({"jobId": "../../etc"}, "must be a uuid"),
    ],
)
def test_mistakes(document: Parse, changes: dict[str, str], problem: str) -> None:
    assert any(problem in one for one in said(document(text_of(**changes))))
