"""Send a large object in parts, and leave no unfinished upload behind."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import NamedTuple

from s32s_agent.cancellation import UNWATCHED, CancelToken, Heartbeat
from s32s_agent.errors import AgentError, IntegrityError, SourceChanged, StoreUnavailable
from s32s_agent.plan.etags import multipart_etag, normal
from s32s_agent.plan.proofs import Verdict, judge
from s32s_agent.stores.base import Content
from s32s_agent.stores.s3.buffers import Buffers, in_parts
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.objects import ObjectHeaders, ObjectName
from s32s_agent.stores.s3.unfinished_uploads import Upload, Uploads
from s32s_agent.stores.s3.write_requests import NamedPart, WriteRequests
from s32s_agent.workers import in_order

_MIB = 1 << 20
PART_BYTES = 8 * _MIB
"""Bytes of a part, and of the largest object that is sent in one piece; what aws and boto3 use."""
MAX_PARTS = 10_000
_PARTS_AHEAD = 4
"""Parts of one object at once."""


def part_size_for(size: int) -> int:
    """Return the size of an object's parts: whole MiB, and at most 10,000 of them."""
    smallest = -(-size // MAX_PARTS)
    return max(PART_BYTES, -(-smallest // _MIB) * _MIB)


class _Part(NamedTuple):
    """A part that is about to be sent; whoever sends it returns its buffer."""

    number: int
    data: bytearray


class _Sent(NamedTuple):
    """A part that the store has."""

    md5: bytes
    named: NamedPart


class SentParts(NamedTuple):
    """All parts of an object."""

    named: list[NamedPart]
    """What completes the upload."""
    etag: str
    """What the object's ETag must be, in normal form, where the store computes it as S3 does."""


class Multipart:
    """Sends objects in parts; thread-safe.

    Args:
        connection: how S3 is reached.
        uploads: notes of the uploads that are under way, which outlive a killed run.
        buffers: hold the parts, of all objects together.
    """

    def __init__(self, connection: Connection, uploads: Uploads, buffers: Buffers) -> None:
        self._connection = connection
        self._writes = WriteRequests(connection)
        self._uploads = uploads
        self._buffers = buffers

    @contextlib.contextmanager
    def begun(self, name: ObjectName, headers: ObjectHeaders) -> Iterator[str]:
        """Begin an upload and yield its id; after an exception it is aborted.

        Raises:
            DirectoryError: it cannot be noted.
        """
        upload_id = self._writes.begin_upload(name, headers)
        upload = Upload(self._connection.endpoint, name.bucket, name.key, upload_id)
        try:
            note = self._uploads.begin(upload)
        except BaseException:
            with contextlib.suppress(AgentError):
                self._abort(upload)
            raise
        try:
            yield upload_id
        except BaseException:
            with contextlib.suppress(AgentError):  # then the note has the next run try it
                self._abort(upload)
                self._uploads.end(note)
            raise
        self._uploads.end(note)

    def send(
        self,
        name: ObjectName,
        upload_id: str,
        content: Content,
        size: int,
        heartbeat: Heartbeat = UNWATCHED,
    ) -> SentParts:
        """Send the bytes of an object in parts, some of them in parallel.

        Args:
            name: the object.
            upload_id: of the upload.
            content: its bytes.
            size: how many.
            heartbeat: of the worker that sends the object.

        Raises:
            IntegrityError: the store has other bytes than were sent.
            AgentError: the content or the store failed.
            Cancelled: the run was cancelled before all parts were sent.
        """
        cancel_token = CancelToken(self._connection.cancel_token)

        def send(part: _Part) -> _Sent:
            with heartbeat.helped(), self._returned(part):
                cancel_token.check()
                return self._send_part(name, upload_id, part)

        chunks, part_size = content.chunks(), part_size_for(size)
        with contextlib.closing(in_parts(chunks, part_size, self._buffers, heartbeat)) as data:
            parts = (_Part(number, each) for number, each in enumerate(data, 1))
            sent = list(in_order(send, parts, _PARTS_AHEAD, cancel_token))
        return SentParts(
            [each.named for each in sent], multipart_etag([each.md5 for each in sent])
        )

    @contextlib.contextmanager
    def _returned(self, part: _Part) -> Iterator[None]:
        try:
            yield
        finally:
            self._buffers.give_back(part.data)

    def _send_part(self, name: ObjectName, upload_id: str, part: _Part) -> _Sent:
        md5 = hashlib.md5(part.data, usedforsecurity=False).digest()
        sent = self._writes.put_part(name, upload_id, part.number, part.data, md5)
        etag, expected = normal(sent.named.raw_etag), md5.hex()
        if judge(etag, expected) is Verdict.OTHER_MD5 and not sent.is_encrypted:
            raise IntegrityError(
                f"{name.label}, part {part.number}: S3 has MD5 {etag}, but {expected} was sent"
            )
        return _Sent(md5, sent.named)

    def abort_left_behind(self, bucket: str, prefix: str) -> dict[str, AgentError]:
        """Abort the uploads below a prefix that a killed run of this computer left.

        Returns:
            By whole key, why one could not be aborted.
        """
        failed: dict[str, AgentError] = {}
        endpoint = self._connection.endpoint
        for note, upload in self._uploads.left_behind(endpoint, bucket, prefix):
            try:
                self._abort(upload)
            except AgentError as error:
                failed[upload.key] = error
                if isinstance(error, StoreUnavailable):
                    break  # the next ones would wait as long: a later run tries again
            else:
                self._uploads.end(note)
        return failed

    def _abort(self, upload: Upload) -> None:
        """Abort an upload; one that no longer exists is aborted already.

        Raises:
            AgentError: it may still be there.
        """
        label = f'"{upload.key}", an upload that was not completed'
        with contextlib.suppress(SourceChanged):
            self._writes.abort_upload(
                ObjectName(upload.bucket, upload.key, label), upload.upload_id
            )
