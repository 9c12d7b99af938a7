"""What an ETag proves about bytes, once their digest is known. Pure."""

from __future__ import annotations

from enum import Enum

from s32s_agent.plan.etags import is_md5, part_count


class Verdict(Enum):
    """What the digest of some bytes and the ETag of a version say about each other."""

    MD5 = "md5"
    """The bytes are the version: their MD5 is its ETag."""
    MULTIPART = "multipart"
    """The bytes are the version: the MD5 of the MD5s of their parts is its ETag."""
    OTHER_MD5 = "other md5"
    """Damage, unless encryption makes the ETag something else than an MD5."""
    OTHER_PARTS = "other parts"
    """Damage, or parts of other sizes, or an ETag that only looks like a digest."""
    UNPROVEN = "unproven"
    """Nothing can be said but by the length."""


def judge(etag: str, computed: str) -> Verdict:
    """Judge bytes by their digest.

    | ETag | digest | verdict |
    |---|---|---|
    | an MD5 | the same | `MD5` |
    | an MD5 | another MD5 | `OTHER_MD5` |
    | of parts | the same | `MULTIPART` |
    | of parts | of parts, another | `OTHER_PARTS` |
    | any | none, or of the other kind | `UNPROVEN` |
    | anything else | any | `UNPROVEN` |

    Args:
        etag: the version's, in normal form.
        computed: the digest of the bytes in the form of an ETag; "" when none was computed.
    """
    if is_md5(etag) and is_md5(computed):
        return Verdict.MD5 if etag == computed else Verdict.OTHER_MD5
    if part_count(etag) and part_count(computed):
        return Verdict.MULTIPART if etag == computed else Verdict.OTHER_PARTS
    return Verdict.UNPROVEN
