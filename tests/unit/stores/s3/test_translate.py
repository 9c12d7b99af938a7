"""What the errors of the libraries mean."""

from __future__ import annotations

import pytest

from s32s_agent.errors import StoreUnavailable
from s32s_agent.stores.s3.translate import is_not_implemented


class _FromBoto(Exception):
    def __init__(self, status: int) -> None:
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (_FromBoto(501), True),
        (_FromBoto(503), False),
        (ValueError("non-2xx status code: 501 Not Implemented: "), True),
        (ValueError("PUT http://s3/b/501%20NotImplemented ... status code: 503 Slow"), False),
        (None, False),
    ],
)
def test_only_the_store_can_end_conditional_writes(
    cause: Exception | None,
    expected: bool,  # noqa: FBT001
) -> None:
    """A key that reads `501 NotImplemented` must not end the conditions that keep two writers apart."""
    error = StoreUnavailable('"501 NotImplemented": SlowDown')
    error.__cause__ = cause

    assert is_not_implemented(error) == expected
