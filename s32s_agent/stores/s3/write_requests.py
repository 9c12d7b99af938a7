"""Write and delete in S3. A slave's run makes no object of this kind."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape, unescape
from typing import NamedTuple

from s32s_agent.errors import SourceChanged
from s32s_agent.stores.s3.answers import TornAnswer
from s32s_agent.stores.s3.client import Call
from s32s_agent.stores.s3.connection import Connection, is_encrypted
from s32s_agent.stores.s3.objects import ObjectHeaders, ObjectName, Precondition
from s32s_agent.stores.s3.transport import HttpAnswer

_UPLOAD_ID = re.compile(r"<UploadId>([^<]{1,4096})</UploadId>")
_ETAG = re.compile(r"<ETag>([^<]{1,1024})</ETag>")
_DELETED = re.compile(r"<Deleted>(?:(?!</Deleted>).)*?<Key>([^<]{1,4096})</Key>", re.DOTALL)
MANY = 1000
"""Objects that one request deletes at most."""
_NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


class NamedPart(NamedTuple):
    """What completing an upload names of a part."""

    number: int
    raw_etag: str
    """As the store wrote it."""


@dataclass(frozen=True, slots=True)
class SentPart:
    """What S3 answered to a part."""

    named: NamedPart
    is_encrypted: bool


class WriteRequests:
    """A way to write to S3; thread-safe.

    Every body carries its MD5, which the store checks: a bucket with a default retention demands a digest, and the
    SHA-256 of the body need not be in the signature too.

    Args:
        connection: how S3 is reached.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._settings = connection.settings
        self._call = connection.client.call

    def put(
        self,
        name: ObjectName,
        data: bytes,
        headers: ObjectHeaders,
        precondition: Precondition | None = None,
    ) -> str:
        """Write an object in one request.

        Returns:
            Its ETag as the store wrote it, "" when it wrote none.

        Raises:
            SourceChanged: the precondition does not hold.
            AccessDenied: the store refused.
            StoreUnavailable: it did not take the object.
        """
        given = {
            **self._headers(headers),
            **_condition(precondition),
            **_md5_header(hashlib.md5(data, usedforsecurity=False).digest()),
        }
        call = Call("PUT", name.bucket, name.label, name.key, headers=given, body=data)
        return self._call(call).headers.get("etag", "")

    def begin_upload(self, name: ObjectName, headers: ObjectHeaders) -> str:
        """Begin a multipart upload.

        Returns:
            Its id.
        """
        given, query = self._headers(headers), (("uploads", ""),)
        answer = self._call(Call("POST", name.bucket, name.label, name.key, query, given))
        found = _UPLOAD_ID.search(_text(answer))
        if found is None:
            raise TornAnswer(f"{name.label}: the answer lacks its UploadId")
        return unescape(found[1])

    def put_part(
        self, name: ObjectName, upload_id: str, number: int, data: bytearray, md5: bytes
    ) -> SentPart:
        """Send a part of an upload.

        Args:
            name: the object.
            upload_id: of the upload.
            number: the part's, from 1 on.
            data: its bytes.
            md5: their digest.
        """
        label = f"{name.label}, part {number}"
        query = (("partNumber", str(number)), ("uploadId", upload_id))
        call = Call("PUT", name.bucket, label, name.key, query, _md5_header(md5), data)
        headers = self._call(call).headers
        if not headers.get("etag"):
            raise TornAnswer(f"{label}: the answer lacks its ETag")
        return SentPart(NamedPart(number, headers["etag"]), is_encrypted(headers))

    def complete_upload(
        self,
        name: ObjectName,
        upload_id: str,
        parts: Sequence[NamedPart],
        precondition: Precondition | None,
    ) -> str:
        """Complete an upload, so that S3 shows the object.

        Returns:
            Its ETag as the store wrote it, "" when it wrote none.

        Raises:
            SourceChanged: the precondition does not hold, or the upload is gone.
        """
        listed = "".join(
            f"<Part><PartNumber>{each.number}</PartNumber><ETag>{escape(each.raw_etag, quote=False)}</ETag></Part>"
            for each in parts
        )
        root = "CompleteMultipartUpload"
        body = f'<{root} xmlns="{_NAMESPACE}">{listed}</{root}>'.encode()
        headers = {"Content-Type": "application/xml", **_condition(precondition)}
        query = (("uploadId", upload_id),)
        call = Call("POST", name.bucket, name.label, name.key, query, headers, body)
        found = _ETAG.search(_text(self._call(call)))
        return unescape(found[1]) if found else ""

    def abort_upload(self, name: ObjectName, upload_id: str) -> None:
        """Abort an upload, also when the run has been stopped.

        Raises:
            SourceChanged: there is no such upload.
            AgentError: it may still be there.
        """
        query = (("uploadId", upload_id),)
        connection = self._connection
        is_stopped = connection.cancel_token.cancelled
        client = connection.client.for_a_stopped_run() if is_stopped else connection.client
        client.call(Call("DELETE", name.bucket, name.label, name.key, query))

    def delete(self, name: ObjectName) -> None:
        """Delete an object; one that is absent is no error."""
        with contextlib.suppress(SourceChanged):
            self._call(Call("DELETE", name.bucket, name.label, name.key))

    def delete_many(self, names: Sequence[ObjectName]) -> set[str]:
        """Delete up to `MANY` objects of one bucket in one request.

        The digest is a Content-MD5, which every store takes; Swift refuses any other.

        Returns:
            The keys that the store says it has deleted; of the others nothing is known.

        Raises:
            AgentError: the store did not take the request.
        """
        objects = "".join(f"<Object><Key>{escape(each.key)}</Key></Object>" for each in names)
        body = f'<Delete xmlns="{_NAMESPACE}">{objects}</Delete>'.encode()
        md5 = hashlib.md5(body, usedforsecurity=False).digest()
        headers = {"Content-Type": "application/xml", **_md5_header(md5)}
        first = names[0]
        label = f"{len(names)} deletes, the first of them {first.label}"
        call = Call("POST", first.bucket, label, "", (("delete", ""),), headers, body)
        found = _DELETED.findall(_text(self._call(call)))
        return {unescape(key) for key in found} & {each.key for each in names}

    def _headers(self, headers: ObjectHeaders) -> dict[str, str]:
        settings = self._settings
        given = {
            "Content-Type": headers.content_type,
            "Content-Encoding": headers.content_encoding,
            "Cache-Control": headers.cache_control,
            "x-amz-acl": headers.acl,
            "x-amz-storage-class": headers.storage_class,
            "x-amz-server-side-encryption": settings.server_side_encryption,
            "x-amz-server-side-encryption-aws-kms-key-id": settings.kms_key_id,
            **{f"x-amz-meta-{name}": value for name, value in headers.metadata.items()},
        }
        return {name: value for name, value in given.items() if value is not None}


def _md5_header(md5: bytes) -> dict[str, str]:
    return {"Content-MD5": base64.b64encode(md5).decode()}


def _text(answer: HttpAnswer) -> str:
    return answer.body.decode(errors="replace")


def _condition(precondition: Precondition | None) -> dict[str, str]:
    if precondition is None:
        return {}
    if precondition.raw_etag:
        return {"If-Match": precondition.raw_etag}
    return {"If-None-Match": "*"}
