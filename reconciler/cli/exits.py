"""How a command ends: the exit codes, and the failure that carries one to the top.

The one table of exit codes. A Failure is an expected end that a person should read: what
happened, on which object, why, and what to do about it; it shows no traceback.
"""

from enum import IntEnum

from reconciler.cli.escape import escape
from reconciler.plan.reasons import Reason


class ExitCode(IntEnum):
    """What a program may rely on; any code that is not here means failure."""

    OK = 0
    ERROR = 1
    CHANGES = 2  # of `plan` alone
    PARTIAL = 3  # some VMs or remotes done, some not
    REMOTE_UNAVAILABLE = 10
    LOCKED = 11  # by another reconciler or a foreign writer
    CREDENTIALS = 12
    BLOCKED = 13  # by a guard: a person's approval is needed
    POOL_UNREACHABLE = 14
    USAGE = 64
    TIMED_OUT = 124
    INTERRUPTED = 130


class Failure(Exception):
    """The command cannot go on. what: one sentence. subject: on which object; hint: what to do."""

    def __init__(
        self, what: str, *, subject: str = "", hint: str = "", code: ExitCode = ExitCode.ERROR
    ) -> None:
        super().__init__(what)
        self.what = what
        self.subject = subject
        self.hint = hint
        self.code = code

    def __str__(self) -> str:
        subject, what, hint = escape(self.subject), escape(self.what), escape(self.hint)
        sentence = f"{subject}: {what}" if subject else what
        return f"{sentence}\n  hint: {hint}" if hint else sentence


class Usage(Failure):
    """Words on the command line that make no sense together."""

    def __init__(self, what: str, *, hint: str = "") -> None:
        super().__init__(what, hint=hint, code=ExitCode.USAGE)


_CODES = {
    Reason.POOL_UNREACHABLE: ExitCode.POOL_UNREACHABLE,
    Reason.REMOTE_UNAVAILABLE: ExitCode.REMOTE_UNAVAILABLE,
    Reason.FOREIGN_WRITER: ExitCode.LOCKED,
    Reason.CREDENTIALS_INVALID: ExitCode.CREDENTIALS,
    Reason.MASS_DELETION_BLOCKED: ExitCode.BLOCKED,
    Reason.CANCELLED: ExitCode.INTERRUPTED,
    Reason.INTERRUPTED: ExitCode.INTERRUPTED,
}


def code_of(reason: str) -> ExitCode:
    """Which exit code a reason code ends in, where it is the only reason of a failure."""
    try:
        return _CODES.get(Reason(reason), ExitCode.ERROR)
    except ValueError:
        return ExitCode.ERROR


def leaves_of(error: BaseException) -> list[BaseException]:
    """Take the exceptions out of the groups that task groups wrap them in."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in leaves_of(inner)]
    return [error]
