"""Hash local files that may hold the bytes of a version in S3 already, so that they need no transfer.

Decides nothing about the mapping: the plan does, from what is returned here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager

from s32s_agent.cancellation import Heartbeat
from s32s_agent.errors import EntryError
from s32s_agent.model import Check, Stamp
from s32s_agent.plan.etags import Digest, is_md5
from s32s_agent.run.metering import Meter
from s32s_agent.stores.base import Content
from s32s_agent.workers import in_parallel


def equal_by_hash(
    checks: Iterable[Check],
    open_local: Callable[[Check], AbstractContextManager[Content]],
    version_in_s3: Callable[[Check], tuple[str, tuple[int, ...]]],
    workers: int,
    meter: Meter,
) -> dict[str, Stamp]:
    """Hash local files and return the stamps of those that hold the bytes of the version in S3, by key.

    Args:
        checks: what is compared.
        open_local: opens the local file.
        version_in_s3: returns the version's ETag, and the sizes that its parts may have, the likeliest first.
        workers: how many files are hashed at the same time.
        meter: counts, and may cancel.

    Raises:
        Cancelled: the run was cancelled.
        AgentError: the store failed; a file that cannot be read is not equal.
    """

    def compare(check: Check, heartbeat: Heartbeat) -> Stamp | None:
        etag, part_sizes = version_in_s3(check)
        if not is_md5(etag) and not part_sizes:
            return None
        digests = [Digest()] if is_md5(etag) else [Digest(part) for part in part_sizes]
        with open_local(check) as content:
            for chunk in content.chunks():
                heartbeat.beat()
                meter.cancel_token.check()
                for digest in digests:
                    digest.update(chunk)
                meter.progress(0, len(chunk))
            is_equal = any(digest.etag() == etag for digest in digests)
            meter.count_entry()
            return content.stamp if is_equal else None

    equal: dict[str, Stamp] = {}
    results = in_parallel(compare, checks, workers, meter.cancel_token, meter.refresh)
    with contextlib.closing(results):
        for check, result in results:
            if isinstance(result, Stamp):
                equal[check.entry.key] = result
            elif isinstance(result, Exception) and not isinstance(result, EntryError):
                raise result
    return equal
