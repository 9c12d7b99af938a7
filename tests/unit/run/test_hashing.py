"""Local files are hashed, and only proof adopts them."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

import pytest
from support.contents import Bytes, md5
from support.mapping_rig import (
    STAMP,
    MappingRig,
)

from s32s_agent.errors import (
    Cancelled,
    SourceChanged,
)
from s32s_agent.model import (
    Check,
    Entry,
    Stamp,
    Why,
)
from s32s_agent.run.hashing import equal_by_hash
from s32s_agent.stores.base import Content

# --- hashing ---


def check_of(key: str, data: bytes, etag: str) -> Check:
    there = Entry(key, len(data), etag)
    return Check(there, Entry(key, len(data)), Why.ETAG)


@contextlib.contextmanager
def reading(content: Bytes) -> Iterator[Content]:
    yield content


def equal_of(
    rig: MappingRig,
    check: Check,
    content: Bytes | Callable[[], AbstractContextManager[Content]],
    part_sizes: tuple[int, ...] = (),
) -> dict[str, Stamp]:
    return equal_by_hash(
        [check],
        lambda _: reading(content) if isinstance(content, Bytes) else content(),
        lambda each: (each.entry.etag or "", part_sizes),
        rig.workers,
        rig.context.meter,
    )


def parts_etag(*parts: bytes) -> str:
    digests = b"".join(bytes.fromhex(md5(part)) for part in parts)
    return f"{md5(digests)}-{len(parts)}"


def test_equal_bytes_are_adopted_by_their_md5(rig: MappingRig) -> None:
    """A file that has the object's MD5 already is not sent, and its stamp is the one of the reading."""
    content = Bytes((b"da", b"ta"), stamp=STAMP)

    assert equal_of(rig, check_of("a", b"data", md5(b"data")), content) == {"a": STAMP}
    assert rig.progress == [(0, 2), (0, 2), (1, 0)]


def test_equal_bytes_are_adopted_by_their_parts(rig: MappingRig) -> None:
    """A multipart ETag is computed with every part size that it may have, in one reading."""
    content = Bytes((b"da", b"ta"), stamp=STAMP)
    check = check_of("a", b"data", parts_etag(b"dat", b"a"))

    assert equal_of(rig, check, content, (2, 3)) == {"a": STAMP}
    assert equal_of(rig, check, content, (2,)) == {}


@pytest.mark.parametrize(
    ("etag", "sizes"), [(md5(b"other"), ()), ("opaque", ()), (f"{md5(b'')}-3", ())]
)
def test_bytes_without_proof_are_not_adopted(
    rig: MappingRig, etag: str, sizes: tuple[int, ...]
) -> None:
    """Another digest is no match, and an opaque ETag proves nothing, so it is not even read for."""
    assert (
        equal_of(rig, check_of("a", b"data", etag), Bytes((b"data",), stamp=STAMP), sizes)
        == {}
    )


def test_a_file_whose_edit_could_hide_is_not_adopted(rig: MappingRig) -> None:
    """Equal bytes without a stamp cannot be remembered, so they count as different."""
    content = Bytes((b"data",), stamp=None)

    assert equal_of(rig, check_of("a", b"data", md5(b"data")), content) == {}


def test_a_file_that_changed_meanwhile_is_not_adopted(rig: MappingRig) -> None:
    """What cannot be read as one version is copied."""

    def changed() -> AbstractContextManager[Content]:
        raise SourceChanged("gone")

    assert equal_of(rig, check_of("a", b"data", md5(b"data")), changed) == {}


def test_a_disk_that_cannot_be_read_ends_the_mapping(rig: MappingRig) -> None:
    """An error of the disk is not a difference."""

    def broken() -> AbstractContextManager[Content]:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.raises(OSError, match="Input/output"):
        equal_of(rig, check_of("a", b"data", md5(b"data")), broken)


def test_hashing_can_be_stopped(rig: MappingRig) -> None:
    """A reading that is not to its end is no proof of anything."""
    content = Bytes((b"da", b"ta"), stamp=STAMP, between=rig.cancel_token.cancel)

    with pytest.raises(Cancelled):
        equal_of(rig, check_of("a", b"data", md5(b"data")), content)
