"""When again: how long an action that failed waits before its next try.

The first failure may be a hiccup; after some, waiting costs little and hammering costs a lot
(a remote that is full stays full, a wrong password locks an account). So waits double from half
a minute to an hour, and are spread by up to a quarter each way: thousands of actions that failed
together do not come back together. The spread is drawn from the id, so it is the same each time.
"""

import hashlib
from datetime import datetime, timedelta

from reconciler.ids import ActionId

FIRST = timedelta(seconds=30)
LONGEST = timedelta(hours=1)
_SPREAD = 0.25
_DOUBLINGS_MAX = 16  # beyond, the longest wait is long reached: powers stay small


def not_before(action: ActionId, failures: int, ended_at: datetime) -> datetime:
    """Return the earliest instant of the next try. failures: in a row, this one included."""
    assert failures > 0, "only a failure backs off"
    doubled = FIRST * (1 << min(failures - 1, _DOUBLINGS_MAX))
    digest = hashlib.blake2b(f"{action} {failures}".encode(), digest_size=4).digest()
    share = int.from_bytes(digest, "big") / 2**32  # 0 to 1
    return ended_at + min(doubled, LONGEST) * (1 - _SPREAD + 2 * _SPREAD * share)
