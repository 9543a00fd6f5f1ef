"""What can happen on the way to a pool. Nothing else leaves this package.

XapiError
├─ Unreachable          nobody took the call: it was surely not carried out
│  └─ Booting           a host answered, and said that it is not ready yet
├─ Untrusted            the certificate is not the one that is wanted; nothing was sent
├─ CredentialsInvalid   the login was refused
├─ NotPermitted         we may not change anything any more: somebody else leads; nothing was sent
├─ SessionLost          the session ended; the call was not carried out
├─ OutcomeUnknown       the call was sent and its answer never came: read the world before repeating
├─ BadAnswer            what came back is no answer of XAPI's, or is larger than it may be
├─ BadRecord            a record has a field that cannot be what it says it is
├─ XapiFailure          the pool said no: a code and its parameters
│  └─ HostIsSlave       this host is not the master; it named the one that is
└─ StreamBroken         a disk stream ended otherwise than well
   ├─ StreamTruncated   it ended early
   ├─ StreamStalled     no byte for too long
   └─ StreamRefused     an HTTP status, or an error in the body where the disk should be

No message ever holds a password or a session reference: whoever raises with text from the wire
passes it through `redact` first.
"""

import re
from collections.abc import Sequence

_REFERENCE_MAX = 2000
"""Characters of text from the wire that go into a message."""

_SESSION_IN_TEXT = re.compile(
    r"(session[_ ]?(?:id|ref)?\W{1,4})OpaqueRef:[0-9A-Za-z-]+", re.IGNORECASE
)


def redact(text: str, secrets: Sequence[str] = ()) -> str:
    """Take secrets, and whatever names itself a session, out of text from the wire; clip it."""
    for secret in secrets:
        if secret:
            text = text.replace(secret, "***")
    text = _SESSION_IN_TEXT.sub(r"\1***", text)
    return text if len(text) <= _REFERENCE_MAX else f"{text[:_REFERENCE_MAX]}…"


class XapiError(Exception):
    """Everything this package raises."""


class Unreachable(XapiError):
    pass


class Booting(Unreachable):
    pass


class Untrusted(XapiError):
    pass


class CredentialsInvalid(XapiError):
    pass


class NotPermitted(XapiError):
    """what: the call or transfer that was not begun, or not gone on with."""

    def __init__(self, what: str) -> None:
        super().__init__(f"{what}: another operator leads; nothing is changed on this pool")


class SessionLost(XapiError):
    pass


class OutcomeUnknown(XapiError):
    """call: the method's name. Its effects may or may not be there."""

    def __init__(self, call: str, why: str) -> None:
        super().__init__(f"{call}: {why}; it may or may not have been carried out")
        self.call = call
        self.why = why


class BadAnswer(XapiError):
    pass


class BadRecord(XapiError):
    """An object whose record makes no sense. Only that object is affected."""

    def __init__(self, class_name: str, ref: str, why: str) -> None:
        super().__init__(f"{class_name} {ref[:60]}: {why}")
        self.class_name = class_name
        self.ref = ref
        self.why = why


class XapiFailure(XapiError):
    """The pool's own error. code: `VDI_IN_USE` and the like. params: strings, as sent, redacted."""

    def __init__(self, code: str, params: Sequence[str] = (), call: str = "") -> None:
        detail = ", ".join(part for part in params if part)
        where = f"{call}: " if call else ""
        super().__init__(f"{where}{code}{f' ({detail})' if detail else ''}")
        self.code = code
        self.params = tuple(params)
        self.call = call


class HostIsSlave(XapiFailure):
    """master: the address that the host named; not yet believed."""

    @property
    def master(self) -> str:
        return self.params[0] if self.params else ""


GONE = frozenset({"HANDLE_INVALID", "UUID_INVALID", "OBJECT_NOLONGER_EXISTS"})
"""Codes that say an object named in the call is not there any more."""

METHOD_MISSING = frozenset({"MESSAGE_METHOD_UNKNOWN", "MESSAGE_REMOVED"})
"""Codes of a pool that is older or newer than the call."""


class StreamBroken(XapiError):
    """failure: what the pool says about it, where it does."""

    failure: XapiFailure | None = None

    def because(self, failure: XapiFailure | None) -> "StreamBroken":
        """Add what the pool says; return the error itself."""
        self.failure = failure
        return self

    def __str__(self) -> str:
        own = super().__str__()
        return own if self.failure is None else f"{own} ({self.failure})"


class StreamTruncated(StreamBroken):
    """wanted, got: bytes of the read that met the end."""

    def __init__(self, wanted: int, got: int) -> None:
        super().__init__(f"the stream ended early: {got} of the next {wanted} bytes came")
        self.wanted = wanted
        self.got = got


class StreamStalled(StreamBroken):
    pass


class StreamRefused(StreamBroken):
    """status: of the HTTP answer; 200 when the error stood in the body. text: what it said."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text or 'no explanation'}")
        self.status = status
        self.text = text
