"""A step that finds the world other than its action was planned on, and does not go on."""

from reconciler.plan.reasons import Reason


class Refused(Exception):
    """Nothing was done, or nothing more. reason: why, as a code; the message says it in words."""

    def __init__(self, reason: Reason, why: str) -> None:
        super().__init__(why)
        self.reason = reason
