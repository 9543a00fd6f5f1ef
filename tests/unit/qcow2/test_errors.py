"""The tree of errors."""

import pytest

from reconciler.qcow2.errors import Qcow2Error, Qcow2Invalid, Qcow2Truncated, Qcow2Unsupported


@pytest.mark.parametrize("kind", [Qcow2Truncated, Qcow2Unsupported])
def test_everything_is_a_qcow2_error(kind: type[Qcow2Error]) -> None:
    assert issubclass(kind, Qcow2Error)


def test_an_invalid_field_is_named() -> None:
    error = Qcow2Invalid("30 is not within 9 to 21", "header.cluster_bits")
    assert isinstance(error, Qcow2Error)
    assert error.field == "header.cluster_bits"
    assert str(error) == "header.cluster_bits: 30 is not within 9 to 21"
