"""What is known of stores without asking them."""

from __future__ import annotations

import pytest

from s32s_agent.stores.s3 import quirks


@pytest.mark.parametrize(
    ("server", "unordered", "expected"),
    [
        ("AmazonS3", False, True),
        ("", False, True),
        ("MinIO", True, False),
        ("", True, False),
        ("SeaweedFS 30GB 4.48", True, True),
        ("SeaweedFS 30GB 4.48", False, True),
    ],
)
def test_pages_in_parallel_that_would_leave_out_keys(
    server: str,
    unordered: bool,  # noqa: FBT001
    expected: bool,  # noqa: FBT001
) -> None:
    """`StartAfter` is used where a store lists by key, or is known to apply it to its own order."""
    assert quirks.may_start_after(server, unordered=unordered) == expected


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["a+b"], True),
        (["a%20b", "c+d"], False),
        (["a+b", "c%2Bd"], True),
        (["a%20b", "c%2bd"], True),
        (["dir%20ectory/a+b"], True),
        ([], True),
    ],
)
def test_what_a_plus_means(keys: list[str], expected: bool) -> None:  # noqa: FBT001
    """A page that writes blanks as `%20` in last parts leaves `+` as it is, unless it escapes `+` too."""
    assert quirks.plus_is_blank(keys) == expected


def test_disorder_is_a_habit_of_some() -> None:
    """Of stores outside AWS, and of directory buckets; in AWS otherwise it is trouble."""
    assert quirks.may_list_unordered("b", custom_endpoint=True)
    assert quirks.may_list_unordered("b--use1-az4--x-s3", custom_endpoint=False)
    assert not quirks.may_list_unordered("b", custom_endpoint=False)
