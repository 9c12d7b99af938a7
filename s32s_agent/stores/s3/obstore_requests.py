"""GET and PUT through obstore, which moves bytes at half the processor time of botocore.

It changes or refuses some keys; those are botocore's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from s32s_agent.errors import IntegrityError, StoreUnavailable
from s32s_agent.stores.s3.objects import Body, ObjectHeaders, ObjectName, Precondition
from s32s_agent.stores.s3.ranges import Range
from s32s_agent.stores.s3.translate import translate_errors

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import S3Store as ByteStore

_CHUNK = 1 << 20
_SMALL_CHUNK = 256 << 10
"""Of a range: what is written and hashed while it is in the processor's cache costs less."""
_ONE_PIECE = 4 << 20
"""Bytes up to which an object is taken in one piece: fewer hand-overs between threads."""
_OTHER_ANSWER = re.compile(
    r"non-partial response|content.range|Requested .*got", re.IGNORECASE
)
"""What obstore says when an answer is not the range that it asked for; it accepts no other."""
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f]|//|^/|/$|(?:^|/)\.{1,2}(?:/|$)")
"""Keys that obstore would change or refuse; measured with obstore 0.12."""


def can_name(key: str) -> bool:
    """Tell whether obstore takes a whole key for what it is."""
    return _UNNAMEABLE.search(key) is None


def get(store: ByteStore, name: ObjectName, condition: str | None, size: int) -> Body:
    """Request an object.

    Args:
        store: its bucket.
        name: the object.
        condition: the only version that may be sent, as the store wrote its ETag; None is any.
        size: bytes of that version.
    """
    # Never `bytes`, which takes whatever comes: a body in chunks may have no end, whatever length was named.
    piece = max(1, size) if size <= _ONE_PIECE else _CHUNK
    with translate_errors(name.label):
        result = _request(store, name.key, condition)
        stream = partial(result.stream, min_chunk_size=piece)
        return _body(result, name.label, result.range, stream)


def get_range(
    store: ByteStore, name: ObjectName, condition: str | None, wanted: Range
) -> Body:
    """Request a range of an object, as `get` the whole.

    Raises:
        IntegrityError: another range came, or none.
    """
    with _as_damage(), translate_errors(name.label):
        result = _request(store, name.key, condition, {"range": tuple(wanted)})
        stream = partial(result.stream, min_chunk_size=_SMALL_CHUNK)
        body = _body(result, name.label, result.range, stream)

    def chunks() -> Iterator[bytes]:
        with _as_damage():
            yield from body.chunks()

    return replace(body, chunks=chunks)


def describe(store: ByteStore, name: ObjectName, condition: str | None) -> Body:
    """Request everything about an object but its bytes."""
    with translate_errors(name.label):
        result = _request(store, name.key, condition, {"head": True})
        return _body(result, name.label, (0, result.meta["size"]), tuple)


def put(
    store: ByteStore,
    name: ObjectName,
    data: bytes,
    headers: ObjectHeaders,
    precondition: Precondition | None,
) -> str:
    """Write an object in one request.

    Returns:
        Its ETag as the store wrote it, "" when it wrote none.
    """
    import obstore  # noqa: PLC0415 (slow, and a run in which nothing changed does without)

    attributes = {"Content-Type": headers.content_type, **headers.metadata}
    if headers.cache_control:
        attributes["Cache-Control"] = headers.cache_control
    if headers.storage_class:
        attributes["Storage-Class"] = headers.storage_class
    mode: Any = "overwrite"
    if precondition is not None:
        mode = {"e_tag": precondition.raw_etag} if precondition.raw_etag else "create"
    with translate_errors(name.label):
        result = obstore.put(
            store, name.key, data, attributes=attributes, mode=mode, use_multipart=False
        )
    return result["e_tag"] or ""


def _request(
    store: ByteStore, key: str, condition: str | None, options: GetOptions | None = None
) -> GetResult:
    import obstore  # noqa: PLC0415 (as above)

    return obstore.get(store, key, options={**(options or {}), "if_match": condition})


def _body(
    result: GetResult, label: str, span: tuple[int, int], stream: Callable[[], Iterable[Any]]
) -> Body:
    def chunks() -> Iterator[bytes]:
        with translate_errors(label):
            yield from stream()

    meta = result.meta
    metadata = {str(name): value for name, value in result.attributes.items()}
    raw_etag, size, modified = meta["e_tag"] or "", meta["size"], meta["last_modified"]
    return Body(raw_etag, size, span, modified, metadata, chunks)


@contextlib.contextmanager
def _as_damage() -> Iterator[None]:
    """Raise an answer that is no range, or another one, as damage, which a request for the whole may avoid."""
    try:
        yield
    except StoreUnavailable as error:
        if _OTHER_ANSWER.search(str(error)):
            raise IntegrityError(str(error)) from error
        raise
