"""What an API server may answer instead of what was asked for.

KubeError ├── Unreachable no answer: refused, timed out, cut off, or not to be trusted ├──
LoginRefused 401: it does not know us, even with fresh credentials ├── Forbidden 403: it knows us,
and our role does not allow this ├── Missing 404: no such object, or no such kind ├── Conflict 409:
it exists already, or is another than was thought ├── Rejected 400, 413, 422: the schema, a rule or
a webhook does not accept it ├── Expired 410: a list or a watch must begin anew ├── Busy 429 and
5xx: not now; retry_after_s says when, if it was said └── BadAnswer what came was no answer of an
API server
"""

from collections.abc import Mapping


class KubeError(Exception):
    """status: HTTP's, 0 without an answer. The text says what was asked for, and what came."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class Unreachable(KubeError):
    pass


class NotPermitted(KubeError):
    pass


class LoginRefused(KubeError):
    pass


class Forbidden(KubeError):
    pass


class Missing(KubeError):
    pass


class Conflict(KubeError):
    pass


class Rejected(KubeError):
    pass


class Expired(KubeError):
    pass


class BadAnswer(KubeError):
    pass


class Busy(KubeError):
    """retry_after_s: what the server asks to wait; None if it does not say."""

    def __init__(self, message: str, *, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message, status=status)
        self.retry_after_s = retry_after_s


_BY_STATUS: Mapping[int, type[KubeError]] = {
    400: Rejected,
    401: LoginRefused,
    403: Forbidden,
    404: Missing,
    409: Conflict,
    410: Expired,
    413: Rejected,
    422: Rejected,
}


def error_of(status: int, message: str, retry_after: str | None = None) -> KubeError:
    """Give an answer other than success its error. retry_after: the header, if sent."""
    if status == 429 or status >= 500:
        digits = retry_after is not None and retry_after.isascii() and retry_after.isdigit()
        wait_s = float(retry_after) if retry_after is not None and digits else None
        return Busy(message, status=status, retry_after_s=wait_s)
    return _BY_STATUS.get(status, BadAnswer)(message, status=status)
