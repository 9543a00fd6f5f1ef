"""Every reason code there is: one closed enum, shown the same in plans, records and errors.

docs/operations.md lists each with what to do; a test keeps the two equal.
"""

from enum import StrEnum


class Reason(StrEnum):
    # why something is done
    SCHEDULED = "Scheduled"  # a slot is due
    CATCH_UP = "CatchUp"  # slots were missed; this one run answers them all
    REQUESTED = "Requested"  # somebody asked for it
    POINT_MISSING = "PointMissing"  # a snapshot is there, its restore point is not
    RETENTION_EXCEEDED = "RetentionExceeded"  # no keep rule wants the point any more
    POINT_PRUNED = "PointPruned"  # a file's point is gone, but newer points stand on the file
    MERGE_INTERRUPTED = "MergeInterrupted"  # a begun merge must be finished
    SHUT_DOWN_FOR_SNAPSHOT = "ShutDownForSnapshot"  # by us, and not started again yet
    SNAPSHOT_SUPERSEDED = "SnapshotSuperseded"  # no chain needs the snapshot as its base
    SNAPSHOT_ORPHANED = "SnapshotOrphaned"  # a snapshot was made and never marked, or half removed
    PARTIAL_UPLOAD = "PartialUpload"  # an upload was interrupted
    REPLICA_INTERRUPTED = "ReplicaInterrupted"  # a replication did not end
    RESTORE_INTERRUPTED = "RestoreInterrupted"  # a restore did not end: what it made goes
    FILE_UNREFERENCED = "FileUnreferenced"  # no point and no other file needs the file
    PROOF_DUE = "ProofDue"  # no point of the VM was read whole for a while, or ever

    # why a disk is exported whole
    FIRST_BACKUP = "FirstBackup"
    DISK_ADDED = "DiskAdded"
    REFERENCE_SNAPSHOT_LOST = "ReferenceSnapshotLost"
    CHAIN_BROKEN = "ChainBroken"
    KEY_INTERVAL_REACHED = "KeyIntervalReached"
    DISK_SHRUNK = "DiskShrunk"
    DISK_GROWN = "DiskGrown"  # in block layout, where Xen Orchestra cannot merge such chains
    LAYOUT_CHANGED = "LayoutChanged"  # the remote's disks were files, and are blocks now, or so
    DELTA_FAILED = "DeltaFailed"  # the pool could not read it, several times
    REPLICA_CHANGED = "ReplicaChanged"  # somebody started or changed the replica

    # why a disk is exported as a delta, or not again
    BASE_PRESENT = "BasePresent"
    ALREADY_EXPORTED = "AlreadyExported"  # its file is there, from a try that ended early

    # why something wanted is not done now
    WAITING_FOR_SLOT = "WaitingForSlot"
    WAITING_FOR_LIMIT = "WaitingForLimit"
    WAITING_FOR_BACKOFF = "WaitingForBackoff"
    WAITING_FOR_OBSERVATION = "WaitingForObservation"  # done a moment ago, not seen yet
    ALREADY_RUNNING = "AlreadyRunning"
    SUSPENDED = "Suspended"
    POOL_UNREACHABLE = "PoolUnreachable"
    REMOTE_UNAVAILABLE = "RemoteUnavailable"
    REMOTE_READ_ONLY = "RemoteReadOnly"
    FOREIGN_WRITER = "ForeignWriter"
    VM_BUSY = "VmBusy"
    NO_DISKS = "NoDisks"
    NO_VMS_MATCHED = "NoVMsMatched"
    INVALID_SPEC = "InvalidSpec"
    MASS_DELETION_BLOCKED = "MassDeletionBlocked"
    LAST_GOOD_POINT = "LastGoodPoint"
    UNREADABLE_METADATA = "UnreadableMetadata"
    JOB_UNKNOWN = "JobUnknown"  # no manifest knows the job any more: all it made stays
    RUN_CANCELLED = "RunCancelled"  # somebody cancelled the run; the next slot is owed as ever
    WRONG_REMOTE = "WrongRemote"  # not the share that was there before, or not mounted
    SR_UNKNOWN = "SrUnknown"  # no SR, or more than one, is called so
    POINT_UNKNOWN = "PointUnknown"  # no VM, or no point of it, is as the restore says
    RESTORE_CHANGED = "RestoreChanged"  # it was begun as another one than it says now
    RESTORE_UNKNOWN = "RestoreUnknown"  # a half-made VM of a restore that no manifest describes
    NETWORK_UNKNOWN = "NetworkUnknown"  # no network, or more than one, is called so
    CLOCK_BEHIND = "ClockBehind"  # points lie in the future, so the clock cannot be trusted

    # why a try failed (executor/verdict.py decides)
    CANCELLED = "Cancelled"
    INTERRUPTED = "Interrupted"
    WORKER_FAILED = "WorkerFailed"  # no Job could be made for it
    NOT_LEADING = "NotLeading"  # another operator has taken over
    TIMED_OUT = "TimedOut"
    STALLED = "Stalled"  # no byte moved for too long
    SLOW_DESTINATION = "SlowDestination"  # it held up the others of its run, and was detached
    WRONG_KEY = "WrongKey"  # the remote is encrypted with another key
    GUEST_STAYS_UP = "GuestStaysUp"  # it does not shut down, and is not forced to
    STREAM_BROKEN = "StreamBroken"
    INSUFFICIENT_SPACE = "InsufficientSpace"
    REMOTE_ERROR = "RemoteError"
    XAPI_ERROR = "XapiError"
    CREDENTIALS_INVALID = "CredentialsInvalid"
    BAD_DISK = "BadDisk"
    PROOF_FAILED = "ProofFailed"  # a restore point is not what was written; it is noted
    WORLD_CHANGED = "WorldChanged"  # what the action was planned on is no longer so
    INTERNAL_ERROR = "InternalError"

    # how a job or a restore stands (status/conditions.py, status/restores.py)
    IN_SYNC = "InSync"  # nothing is wrong, whether or not work is under way
    RESTORED = "Restored"  # a restore was done, once and for all
    BACKUP_OVERDUE = "BackupOverdue"  # a slot is older than its deadline, and not answered


def reason_of(code: str, otherwise: Reason) -> Reason:
    """Find the reason of a code that came as text, such as `Unknown.reason`."""
    try:
        return Reason(code)
    except ValueError:
        return otherwise
