"""The tree of errors."""

import pytest

from reconciler.vhd.errors import VhdError, VhdInvalid, VhdTruncated, VhdUnsupported


@pytest.mark.parametrize("kind", [VhdTruncated, VhdUnsupported])
def test_everything_is_a_vhd_error(kind: type[VhdError]) -> None:
    assert issubclass(kind, VhdError)


def test_an_invalid_field_is_named() -> None:
    error = VhdInvalid("does not match the content", "footer.checksum")
    assert isinstance(error, VhdError)
    assert error.field == "footer.checksum"
    assert str(error) == "footer.checksum: does not match the content"
