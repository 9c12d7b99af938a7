"""What an ETag proves about bytes."""

from __future__ import annotations

import pytest

from s32s_agent.plan.proofs import Verdict, judge

ONE, OTHER = "0" * 32, "1" * 32


@pytest.mark.parametrize(
    ("etag", "computed", "expected"),
    [
        (ONE, ONE, Verdict.MD5),
        (ONE, OTHER, Verdict.OTHER_MD5),
        (f"{ONE}-2", f"{ONE}-2", Verdict.MULTIPART),
        (f"{ONE}-2", f"{OTHER}-2", Verdict.OTHER_PARTS),
        (f"{ONE}-2", f"{ONE}-3", Verdict.OTHER_PARTS),
        (ONE, "", Verdict.UNPROVEN),
        (f"{ONE}-2", "", Verdict.UNPROVEN),
        (ONE, f"{ONE}-2", Verdict.UNPROVEN),
        (f"{ONE}-2", ONE, Verdict.UNPROVEN),
        ("opaque", ONE, Verdict.UNPROVEN),
        ("opaque", "opaque", Verdict.UNPROVEN),
        ("", "", Verdict.UNPROVEN),
        ("modified 2026", ONE, Verdict.UNPROVEN),
    ],
)
def test_only_a_digest_that_agrees_is_a_proof(
    etag: str, computed: str, expected: Verdict
) -> None:
    """Equal digests of one kind prove, other digests of one kind contradict, and all else says nothing."""
    assert judge(etag, computed) is expected
