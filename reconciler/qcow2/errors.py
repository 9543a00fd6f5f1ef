"""What can be wrong with a qcow2 image. Nothing else leaves this package for any bytes whatever.

Qcow2Error
├─ Qcow2Invalid      a field contradicts the format, or another field
├─ Qcow2Truncated    the file ends before something that its tables speak of
└─ Qcow2Unsupported  a lawful image of a sort that we do not read
"""


class Qcow2Error(Exception):
    """Something is wrong with an image; the message says what, in words for a person."""


class Qcow2Invalid(Qcow2Error):
    """field: the name of the field at fault, such as "header.cluster_bits"."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class Qcow2Truncated(Qcow2Error):
    pass


class Qcow2Unsupported(Qcow2Error):
    pass
