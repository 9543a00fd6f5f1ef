"""What can be wrong with a VHD. Nothing else leaves this package for any bytes whatever.

VhdError
├─ VhdInvalid      a field contradicts the format, or another field
├─ VhdTruncated    fewer bytes than the structure has
└─ VhdUnsupported  a lawful VHD of a sort that we neither write nor read
"""


class VhdError(Exception):
    """Something is wrong with a VHD; the message says what, in words for a person."""


class VhdInvalid(VhdError):
    """field: the name of the field at fault, such as "footer.checksum"."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class VhdTruncated(VhdError):
    pass


class VhdUnsupported(VhdError):
    pass
