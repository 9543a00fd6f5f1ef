"""What the simulated pool refuses: XAPI failures, a code and its parameters, all strings.

A failure is part of the simulated world, never a fault of the lab itself: those are ordinary
Python exceptions and reach a client as `INTERNAL_ERROR`.
"""


class Failure(Exception):
    """A XAPI failure as it goes over the wire: `code` and its `params`."""

    def __init__(self, code: str, *params: str) -> None:
        super().__init__(code, *params)
        self.code = code
        self.params = params

    @property
    def description(self) -> list[str]:
        """The `ErrorDescription` of the wire: the code, then its parameters."""
        return [self.code, *self.params]


class LabError(Exception):
    """The lab itself cannot do what its owner asked (bad image, directory in use, no such VM)."""


def handle_invalid(class_name: str, ref: str) -> Failure:
    return Failure("HANDLE_INVALID", class_name, ref)


def backend_failure(number: int, text: str, detail: str = "") -> Failure:
    """A storage manager error as XAPI forwards it: `SR_BACKEND_FAILURE_<n>`."""
    shown = f"{text} [opterr={detail}]" if detail else text
    return Failure(f"SR_BACKEND_FAILURE_{number}", "", shown, "")


def device_error() -> Failure:
    """What any trouble of a VHD transfer turns into."""
    return Failure("VDI_IO_ERROR", "Device I/O errors")
