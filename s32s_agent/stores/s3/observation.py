"""Observe what a store does with requests that only read, on an object that is there."""

from __future__ import annotations

from collections.abc import Mapping

from s32s_agent.errors import SourceChanged
from s32s_agent.stores.s3.answers import NotModified
from s32s_agent.stores.s3.client import Call
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.objects import ObjectName
from s32s_agent.stores.s3.traits import Guard, StoreTraits

WRONG_ETAG = f'"{"0" * 32}"'
"""Of no object: nothing has this MD5, as far as anybody knows."""


def observe(connection: Connection, name: ObjectName, *, lists_etags: bool) -> StoreTraits:
    """Return what can be found out by reading; the other traits are those of AWS.

    Args:
        connection: how the store is reached.
        name: an object that is not empty.
        lists_etags: what its listing has shown.

    Raises:
        AgentError: the object cannot be read.
    """
    return StoreTraits(
        server=connection.client.call(_first_byte(name, {})).headers.get("server", ""),
        read=read_guard(connection, name),
        lists_etags=lists_etags,
        answers_not_modified=answers_not_modified(connection, name),
    )


def read_guard(connection: Connection, name: ObjectName) -> Guard:
    """Return what becomes of `If-Match` on GET."""
    if _is_read(connection, name, WRONG_ETAG):
        return Guard.IGNORED
    etag = connection.head(name).raw_etag
    return Guard.HELD if etag and _is_read(connection, name, etag) else Guard.REFUSED


def _is_read(connection: Connection, name: ObjectName, etag: str) -> bool:
    try:
        connection.client.call(_first_byte(name, {"If-Match": etag}))
    except SourceChanged:
        return False
    return True


def answers_not_modified(connection: Connection, name: ObjectName) -> bool:
    """Return whether GET of the known version is 304."""
    etag = connection.head(name).raw_etag
    if not etag:
        return False
    headers = {"If-None-Match": etag}
    call = Call("GET", name.bucket, name.label, name.key, headers=headers)
    try:
        with connection.client.stream(call):
            return False  # all of it comes: it may be large, and is not read
    except NotModified:
        return True


def _first_byte(name: ObjectName, headers: Mapping[str, str]) -> Call:
    ranged = {**headers, "Range": "bytes=0-0"}
    return Call("GET", name.bucket, name.label, name.key, headers=ranged)
