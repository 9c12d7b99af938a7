"""Send every request to S3 that writes or deletes. A slave's run makes no object of this kind."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from s32s_agent.stores.s3 import obstore_requests
from s32s_agent.stores.s3.buffers import BufferReader
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.objects import ObjectHeaders, ObjectName, Precondition
from s32s_agent.stores.s3.translate import is_encrypted, required, translate_errors

_NAMED = ("ETag", "ChecksumCRC32")
"""What of the answer to a part must be named to complete the upload, where the store sent it."""


@dataclass(frozen=True, slots=True)
class SentPart:
    """What S3 answered to a part."""

    raw_etag: str
    is_encrypted: bool
    named: Mapping[str, Any]
    """What completing the upload must name."""


class WriteRequests:
    """A way to write to S3; thread-safe.

    Args:
        connection: how S3 is reached.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

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
        if obstore_requests.can_name(name.key):
            store = self._connection.byte_store(name.bucket)
            return obstore_requests.put(store, name, data, headers, precondition)
        with translate_errors(name.label):
            answer = self._connection.client.put_object(
                **self._writing(name, headers), **_condition(precondition), Body=data
            )
        return str(required(answer, "ETag", name.label))

    def put_small(self, name: ObjectName, data: bytes, content_type: str) -> None:
        """Write a small object, whatever is there, without the start-up that a bulk of objects needs.

        Raises:
            AgentError: as for `put`.
        """
        parameters = self._writing(name, ObjectHeaders(content_type))
        with translate_errors(name.label):
            self._connection.client.put_object(**parameters, Body=data)

    def begin_upload(self, name: ObjectName, headers: ObjectHeaders) -> str:
        """Begin a multipart upload.

        Returns:
            Its id.
        """
        parameters = self._writing(name, headers)
        if not self._connection.custom_endpoint:
            parameters["ChecksumAlgorithm"] = "CRC32"  # as botocore gives the parts
        with translate_errors(name.label):
            begun = self._connection.client.create_multipart_upload(**parameters)
        return str(required(begun, "UploadId", name.label))

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
        with translate_errors(label):
            answer = self._connection.client.upload_part(
                **self._connection.common(name.bucket),
                Key=name.key,
                UploadId=upload_id,
                PartNumber=number,
                Body=BufferReader(data),  # type: ignore[arg-type]
                **self._digest_of_body(md5),
            )
        raw_etag = str(required(answer, "ETag", label))
        named = {key: str(answer[key]) for key in _NAMED if key in answer}  # type: ignore[literal-required]
        return SentPart(raw_etag, is_encrypted(answer), {"PartNumber": number, **named})

    def complete_upload(
        self,
        name: ObjectName,
        upload_id: str,
        parts: list[Mapping[str, Any]],
        precondition: Precondition | None,
    ) -> str:
        """Have S3 show an upload as an object.

        Returns:
            Its ETag as the store wrote it.

        Raises:
            SourceChanged: the precondition does not hold, or the upload is gone.
        """
        with translate_errors(name.label):
            answer = self._connection.client.complete_multipart_upload(
                **self._connection.common(name.bucket),
                Key=name.key,
                UploadId=upload_id,
                MultipartUpload={"Parts": parts},  # type: ignore[typeddict-item]
                **_condition(precondition),
            )
        return str(required(answer, "ETag", name.label))

    def abort_upload(self, name: ObjectName, upload_id: str) -> None:
        """Abort an upload.

        Raises:
            SourceChanged: there is no such upload.
            AgentError: it may still be there.
        """
        with translate_errors(name.label):
            self._connection.client.abort_multipart_upload(
                **self._connection.common(name.bucket), Key=name.key, UploadId=upload_id
            )

    def delete(self, name: ObjectName) -> None:
        """Delete an object; one that is absent is no error."""
        with translate_errors(name.label):
            self._connection.client.delete_object(
                **self._connection.common(name.bucket), Key=name.key
            )

    def _digest_of_body(self, md5: bytes) -> dict[str, Any]:
        """Return what has the store check the bytes of a request, where botocore sends no checksum of its own.

        With it, their SHA-256 need not be in the signature too: half a second of a processor a GB.
        """
        return (
            {"ContentMD5": base64.b64encode(md5).decode()}
            if self._connection.custom_endpoint
            else {}
        )

    def _writing(self, name: ObjectName, headers: ObjectHeaders) -> dict[str, Any]:
        settings = self._connection.settings
        parameters: dict[str, Any] = {
            **self._connection.common(name.bucket),
            "Key": name.key,
            "ContentType": headers.content_type,
            "Metadata": headers.metadata,
            "CacheControl": headers.cache_control,
            "StorageClass": headers.storage_class,
            "ServerSideEncryption": settings.server_side_encryption,
            "SSEKMSKeyId": settings.kms_key_id,
        }
        return {name: value for name, value in parameters.items() if value is not None}


def _condition(precondition: Precondition | None) -> dict[str, Any]:
    if precondition is None:
        return {}
    if precondition.raw_etag:
        return {"IfMatch": precondition.raw_etag}
    return {"IfNoneMatch": "*"}
