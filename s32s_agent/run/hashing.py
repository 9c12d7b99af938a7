"""TODO."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from s32s_agent.errors import (
    EntryError,
)
from s32s_agent.model import (
    Check,
    Stamp,
)
from s32s_agent.plan.etags import Digest, is_md5
from s32s_agent.run.context import Means
from s32s_agent.stores.base import Content
from s32s_agent.workers import in_parallel


def alike(
    checks: Iterable[Check],
    read: Callable[[Check], AbstractContextManager[Content]],
    reference: Callable[[Check], tuple[str, tuple[int, ...]]],
    means: Means,
) -> dict[str, Stamp]:
    """Hash local files and give the stamps of those that hold the bytes of the version in S3 already.

    Args:
        checks: what is to be compared.
        read: opens the local file.
        reference: the version's ETag, and the sizes that its parts may have, the likeliest first.
        means: what it is done with.
    """

    def compare(check: Check) -> Stamp | None:
        etag, part_sizes = reference(check)
        if not is_md5(etag) and not part_sizes:
            return None
        digests = [Digest()] if is_md5(etag) else [Digest(part) for part in part_sizes]
        with read(check) as content:
            for chunk in content.chunks():
                means.cancel_token.check()
                for digest in digests:
                    digest.update(chunk)
                means.progress(0, len(chunk))
            same = any(digest.etag() == etag for digest in digests)
            means.progress(1, 0)
            return content.stamp if same else None

    found: dict[str, Stamp] = {}
    results = in_parallel(compare, checks, means.workers, means.cancel_token, means.draw)
    with contextlib.closing(results):
        for check, result in results:
            if isinstance(result, Stamp):
                found[check.entry.key] = result
            elif isinstance(result, Exception) and not isinstance(result, EntryError):
                raise result
    means.cancel_token.check()
    return found
