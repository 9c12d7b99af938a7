"""An S3 prefix as a target: publish whole, proven versions, and never over somebody else's.

Small objects go through obstore in one request. Large ones are cut into parts by boto3, since only its
CompleteMultipartUpload takes the condition that keeps two writers apart. S3 shows an object when its last request
succeeds, so `put` publishes, and `publish` only reports.
"""

from __future__ import annotations

import contextlib
import hashlib
import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any
from urllib.parse import unquote_plus

from s32s_agent.cancellation import CancelToken
from s32s_agent.errors import (
    AgentError,
    EntryError,
    IntegrityError,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.model import Copy, Entry, Kind, Location
from s32s_agent.plan import keys
from s32s_agent.plan.etags import is_md5, normal, part_count
from s32s_agent.stores.base import Attributes, Content, Published, Staged
from s32s_agent.stores.s3.buffers import BufferReader, Buffers, in_parts
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.source import S3Source, is_nameable
from s32s_agent.stores.s3.translate import is_encrypted, required, translate_errors
from s32s_agent.stores.s3.unfinished_uploads import Upload, Uploads
from s32s_agent.workers import in_parallel

_MIB = 1 << 20
PART_BYTES = 8 * _MIB
"""Bytes of a part, and of the largest object that goes in one piece; what aws and boto3 use."""
MAX_PARTS = 10_000
_LARGE = _MIB
_LARGE_AT_ONCE = 6
"""How many buffers over `_LARGE` exist at once, over all workers: 48 MiB."""
_PART_WORKERS = 4
"""Parts of one object at once."""
_NAMED = ("ETag", "ChecksumCRC32")
_NOT_IMPLEMENTED = 501
_WAIT_FOR_STORE = "nothing, where it is empty: SeaweedFS removes it within minutes, and a later pass sends this entry"
_DEFAULT_TYPE = "application/octet-stream"
_PACKED_TYPES = {
    "gzip": "application/gzip",
    "bzip2": "application/x-bzip2",
    "xz": "application/x-xz",
}
_TYPES = mimetypes.MimeTypes()
"""Python's own table, whatever /etc/mime.types of this machine says."""
_TYPES.add_type(
    "text/javascript", ".js"
)  # Python 3.11 has the type that RFC 9239 made obsolete


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """How objects are written."""

    uploads: Uploads
    content_types: dict[str, str] = field(default_factory=dict)
    """By suffix; the longest that fits."""
    cache_control: str | None = None
    storage_class: str | None = None
    server_side_encryption: str | None = None
    kms_key_id: str | None = None


@dataclass(slots=True)
class _Part:
    """A part on its way; whoever sends it gives its buffer back."""

    number: int
    data: bytearray


@dataclass(frozen=True, slots=True)
class _SentPart:
    """What S3 answered to a part."""

    number: int
    digest: bytes
    """MD5 of what was sent."""
    answer: dict[str, str]
    """What completing the upload must name."""


def part_size_for(size: int) -> int:
    """Give the size of an object's parts: whole MiB, and at most 10,000 of them."""
    smallest = -(-size // MAX_PARTS)
    return max(PART_BYTES, -(-smallest // _MIB) * _MIB)


def content_type(key: str, chosen: dict[str, str]) -> str:
    """Guess an object's media type from its name.

    Args:
        key: the object's.
        chosen: types by suffix that come before every guess.
    """
    suffixes = sorted((suffix for suffix in chosen if key.endswith(suffix)), key=len)
    if suffixes:
        return chosen[suffixes[-1]]
    guessed, packing = _TYPES.guess_type(key.rpartition("/")[2])
    if packing:
        return _PACKED_TYPES.get(packing, _DEFAULT_TYPE)
    return guessed or _DEFAULT_TYPE


class S3Target(S3Source):
    """A prefix of a bucket that is written.

    Args:
        connection: how S3 is reached; it outlives the store.
        location: the prefix.
        options: how objects are written.
    """

    publishes_on_put = True

    def __init__(
        self, connection: Connection, location: Location, options: UploadOptions
    ) -> None:
        super().__init__(connection, location)
        self._options = options
        self._large = Buffers(_LARGE_AT_ONCE)
        self._conditions = True
        """Until the store says that it does not know conditional writes."""

    # --- write ---

    def put(self, copy: Copy, content: Content) -> Staged:
        """Send the bytes of one version, and have S3 show them only when they are whole.

        Raises:
            SourceChanged: the local file changed while it was read, or the object since it was listed.
            IntegrityError: S3 holds something else than what was sent.
        """
        entry = copy.entry
        length = len((self._prefix + entry.key).encode())
        if length > keys.KEY_BYTES:
            raise EntryError(
                f'"{entry.key}": {length} bytes with its prefix, S3 takes {keys.KEY_BYTES}'
            )
        if entry.kind is Kind.DIRECTORY:
            etag, verified = self._put_marker(copy), "md5"
        elif entry.size <= PART_BYTES:
            with self._large.counted() if entry.size > _LARGE else contextlib.nullcontext():
                etag, verified = self._put_whole(copy, content)
        else:
            etag, verified = self._put_parts(copy, content)
        self._see_its_name(entry.key)
        return Staged(copy, verified, etag, content.stamp)

    def _see_its_name(self, key: str) -> None:
        """See that the store kept a name with a backslash: SeaweedFS makes a slash of it."""
        if "\\" not in key or not self._connection.custom_endpoint:
            return
        whole = self._prefix + key
        page, *_ = self._connection.page(self._bucket, Prefix=whole, MaxKeys=1)
        if whole not in {unquote_plus(listed.key) for listed in page.contents}:
            raise EntryError(f'"{key}": the store does not keep a backslash in a name')

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        """Report what `put` has published."""
        for each in staged:
            yield Published(each, each.stamp)

    def discard(self, staged: Staged) -> None:
        """Leave what was published; the index does not know it, so the next pass looks at it again."""

    def _put_marker(self, copy: Copy) -> str:
        # Without a condition: all markers are alike, and SeaweedFS takes a directory with something in it for one.
        with translate_errors(f'"{copy.entry.key}"'):
            answer = self._connection.client.put_object(
                **self._writing(copy, {}, "application/x-directory"), Body=b""
            )
        return normal(required(answer, "ETag", f'"{copy.entry.key}"'))

    def _put_whole(self, copy: Copy, content: Content) -> tuple[str, str]:
        data = b"".join(content.chunks())
        metadata = _metadata(content.attributes)
        kind = content_type(copy.entry.key, self._options.content_types)
        expected = hashlib.md5(data, usedforsecurity=False).hexdigest()
        try:
            etag = self._send(copy, data, metadata, kind)
        except SourceChanged as error:
            # A request that was repeated after its answer got lost meets its own object.
            self._demand_ours(copy, expected, len(data), error)
            etag = expected
        return self._judged(copy.entry, etag, expected, len(data))

    def _send(self, copy: Copy, data: bytes, metadata: dict[str, str], kind: str) -> str:
        """Write an object in one request; give its ETag in normal form."""
        key = self._prefix + copy.entry.key
        send = self._send_with_obstore if is_nameable(key) else self._send_with_boto3
        try:
            raw = send(copy, data, metadata, kind)
        except StoreUnavailable as error:
            if not self._conditions or not _is_not_implemented(error):
                raise
            self._conditions = False
            self._compare(copy)
            raw = send(copy, data, metadata, kind)
        return normal(raw)

    def _send_with_obstore(
        self, copy: Copy, data: bytes, metadata: dict[str, str], kind: str
    ) -> str:
        import obstore  # noqa: PLC0415

        attributes = {"Content-Type": kind, **metadata}
        if self._options.cache_control:
            attributes["Cache-Control"] = self._options.cache_control
        if self._options.storage_class:
            attributes["Storage-Class"] = self._options.storage_class
        mode: Any = "overwrite"
        if self._conditions:
            replaced = self._replaced(copy)
            mode = {"e_tag": replaced} if replaced else "create"
        key = self._prefix + copy.entry.key
        with translate_errors(f'"{copy.entry.key}"'):
            result = obstore.put(
                self._byte_store(),
                key,
                data,
                attributes=attributes,
                mode=mode,
                use_multipart=False,
            )
        return result["e_tag"] or ""

    def _send_with_boto3(
        self, copy: Copy, data: bytes, metadata: dict[str, str], kind: str
    ) -> str:
        with translate_errors(f'"{copy.entry.key}"'):
            answer = self._connection.client.put_object(
                **self._writing(copy, metadata, kind), **self._condition_for(copy), Body=data
            )
        return str(required(answer, "ETag", f'"{copy.entry.key}"'))

    def _put_parts(self, copy: Copy, content: Content) -> tuple[str, str]:
        """Send a large object in parts, and complete it only when all of the file was read unchanged."""
        entry = copy.entry
        kind = content_type(entry.key, self._options.content_types)
        client = self._connection.client
        parameters = self._writing(copy, _metadata(content.attributes), kind)
        if not self._connection.custom_endpoint:
            parameters["ChecksumAlgorithm"] = "CRC32"  # as botocore gives the parts
        with translate_errors(f'"{entry.key}"'):
            begun = client.create_multipart_upload(**parameters)
        key, upload_id = (
            self._prefix + entry.key,
            required(begun, "UploadId", f'"{entry.key}"'),
        )
        upload = Upload(self._connection.endpoint, self._bucket, key, upload_id)
        try:
            note = self._options.uploads.begin(upload)
        except BaseException:
            with contextlib.suppress(AgentError):
                self._abort(upload)
            raise
        try:
            parts, expected = self._send_parts(upload, content, part_size_for(entry.size))
            etag = self._complete(copy, upload, parts, expected)
        except BaseException:
            with contextlib.suppress(AgentError):  # then the note has the next pass try it
                self._abort(upload)
                self._options.uploads.end(note)
            raise
        self._options.uploads.end(note)
        return self._judged(entry, etag, expected, entry.size)

    def _send_parts(
        self, upload: Upload, content: Content, size: int
    ) -> tuple[list[dict[str, Any]], str]:
        """Send the parts side by side; give what completes the upload, and the ETag to expect."""
        parts = (
            _Part(number, data)
            for number, data in enumerate(in_parts(content.chunks(), size, self._large), 1)
        )
        sent: list[_SentPart] = []
        cancel_token = CancelToken(self._connection.cancel_token)
        results = in_parallel(
            partial(self._send_part, upload), parts, _PART_WORKERS, cancel_token
        )
        with contextlib.closing(results):
            for _, result in results:
                if isinstance(result, Exception):
                    raise result
                sent.append(result)
        sent.sort(key=lambda each: each.number)
        digests = b"".join(each.digest for each in sent)
        whole = hashlib.md5(digests, usedforsecurity=False).hexdigest()
        named = [{"PartNumber": each.number, **each.answer} for each in sent]
        return named, f"{whole}-{len(sent)}"

    def _send_part(self, upload: Upload, part: _Part) -> _SentPart:
        try:
            digest = hashlib.md5(part.data, usedforsecurity=False).digest()
            with translate_errors(f'"{upload.key}", part {part.number}'):
                answer = self._connection.client.upload_part(
                    **self._connection.common(self._bucket),
                    Key=upload.key,
                    UploadId=upload.upload_id,
                    PartNumber=part.number,
                    Body=BufferReader(part.data),  # type: ignore[arg-type]
                    **self._connection.digest_of_body(digest),
                )
            _check_part(upload.key, part.number, digest, answer)
        finally:
            self._large.give_back(part.data)
        # Where botocore sent a checksum, completing must name it again.
        named = {name: str(answer[name]) for name in _NAMED if name in answer}  # type: ignore[literal-required]
        return _SentPart(part.number, digest, named)

    def _complete(
        self, copy: Copy, upload: Upload, parts: list[dict[str, Any]], expected: str
    ) -> str:
        entry = copy.entry
        parameters = {
            **self._connection.common(self._bucket),
            "Key": upload.key,
            "UploadId": upload.upload_id,
            "MultipartUpload": {"Parts": parts},
        }
        try:
            try:
                with translate_errors(f'"{entry.key}"'):
                    condition = self._condition_for(copy)
                    answer = self._connection.client.complete_multipart_upload(
                        **parameters, **condition
                    )
            except StoreUnavailable as error:
                if not self._conditions or not _is_not_implemented(error):
                    raise
                self._conditions = False
                self._compare(copy)
                with translate_errors(f'"{entry.key}"'):
                    answer = self._connection.client.complete_multipart_upload(**parameters)
        except (SourceChanged, StoreUnavailable) as error:
            # An answer that got lost, or a repeated request, may hide that it was done.
            self._demand_ours(copy, expected, entry.size, error)
            return expected
        return normal(required(answer, "ETag", f'"{copy.entry.key}"'))

    def _abort(self, upload: Upload) -> None:
        """Abort an upload, which may be gone already.

        Raises:
            AgentError: it may still be there.
        """
        with (
            contextlib.suppress(SourceChanged),
            translate_errors(f'"{upload.key}", an upload that was not completed'),
        ):
            self._connection.client.abort_multipart_upload(
                **self._connection.common(upload.bucket),
                Key=upload.key,
                UploadId=upload.upload_id,
            )

    def _writing(self, copy: Copy, metadata: dict[str, str], kind: str) -> dict[str, Any]:
        options = self._options
        parameters: dict[str, Any] = {
            **self._connection.common(self._bucket),
            "Key": self._prefix + copy.entry.key,
            "ContentType": kind,
            "Metadata": metadata,
            "CacheControl": options.cache_control,
            "StorageClass": options.storage_class,
            "ServerSideEncryption": options.server_side_encryption,
            "SSEKMSKeyId": options.kms_key_id,
        }
        return {name: value for name, value in parameters.items() if value is not None}

    # --- two writers ---

    def _replaced(self, copy: Copy) -> str:
        """Give the ETag of the listed object that is to be replaced, as the store wrote it; "" when there was none."""
        return (self._condition(copy.replaces) or "") if copy.replaces is not None else ""

    def _condition_for(self, copy: Copy) -> dict[str, Any]:
        if not self._conditions:
            return {}
        replaced = self._replaced(copy)
        return {"IfMatch": replaced} if replaced else {"IfNoneMatch": "*"}

    def _compare(self, copy: Copy) -> None:
        """Do by hand what a store without conditional writes cannot: see that nobody wrote meanwhile."""
        now = self.current_version(copy.entry)
        listed = copy.replaces.etag if copy.replaces is not None else None
        if (now.etag if now is not None else None) != listed:
            raise SourceChanged(f'"{copy.entry.key}" was written by somebody else meanwhile')

    # --- proof ---

    def _demand_ours(self, copy: Copy, etag: str, size: int, error: AgentError) -> None:
        """See that the store holds what it refused; otherwise raise the refusal, or what explains it.

        SeaweedFS keeps a directory for minutes after its last object is gone, and meanwhile refuses a new object of
        that name. It would give the directory up when asked, but minutes later remove the object in its place.
        """
        now = self.current_version(Entry(copy.entry.key))
        if now is not None and (now.etag, now.size) == (etag, size):
            return
        refused = isinstance(error, SourceChanged) and copy.replaces is None
        if refused and now is None and self._is_seaweedfs:
            message = f'"{copy.entry.key}": SeaweedFS still has a directory of that name'
            raise SourceChanged(message, remedy=_WAIT_FOR_STORE) from error
        raise error

    def _judged(self, entry: Entry, etag: str, expected: str, size: int) -> tuple[str, str]:
        """Say what proves the object, from the ETag that S3 answered."""
        if etag == expected:
            return etag, "multipart" if part_count(etag) else "md5"
        if is_md5(etag) and is_md5(expected) and not self.is_encrypted(entry.key):
            raise IntegrityError(f'"{entry.key}": S3 has MD5 {etag}, but {expected} was sent')
        now = self.current_version(entry)
        if now is None or now.size != size or now.etag is None:
            raise IntegrityError(
                f'"{entry.key}": S3 does not have the {size} bytes that were sent'
            )
        if etag and now.etag != etag:
            raise SourceChanged(f'"{entry.key}" was written by somebody else meanwhile')
        return now.etag, "length"

    # --- remove ---

    def delete(self, entry: Entry) -> bool:
        """Delete an object or a marker; on a versioned bucket its versions stay."""
        if _may_name_another(entry.key):
            raise EntryError(
                f'"{entry.key}": no request can name this object safely; delete it by hand'
            )
        with translate_errors(f'"{entry.key}"'):
            self._connection.client.delete_object(
                **self._connection.common(self._bucket), Key=self._prefix + entry.key
            )
        return True

    def remove_leftovers(
        self, _leftovers: Sequence[str] = (), _copies: Sequence[Copy] = ()
    ) -> dict[str, AgentError]:
        """Abort the multipart uploads that a killed run of this computer left; return by key what prevents it."""
        hindered: dict[str, AgentError] = {}
        places = self._connection.endpoint, self._bucket, self._prefix
        for note, upload in self._options.uploads.left_behind(*places):
            try:
                self._connection.waited_for(f'"{upload.key}"', partial(self._abort, upload))
            except AgentError as error:
                hindered[upload.key.removeprefix(self._prefix)] = error
                if isinstance(error, StoreUnavailable):
                    break  # the next ones would wait as long: a later pass tries again
            else:
                self._options.uploads.end(note)
        return hindered

    def free_space(self) -> bool:
        """Return that there is nothing to remove."""
        return False

    def make_durable(self) -> None:
        """Do nothing: what S3 has answered for is durable."""

    def prune(self, now: datetime) -> None:
        """Do nothing: nothing is kept."""


def _may_name_another(key: str) -> bool:
    """Tell whether a request for a key may be one for another, so that deleting it would be a risk.

    A proxy or a store that tidies paths takes empty parts and dots for another object, even in another bucket, and one
    that is written in C sees nothing behind NUL. What was listed as U+FFFD may have been any character.
    """
    parts = key.removesuffix("/").split("/")
    return not {"", ".", ".."}.isdisjoint(parts) or "\0" in key or "\ufffd" in key


def _metadata(attributes: Attributes) -> dict[str, str]:
    """Write what a slave, and rclone, restore: `mtime` in seconds, `mode` in octal."""
    metadata = {}
    if attributes.mtime_ns is not None:
        seconds, rest = divmod(abs(attributes.mtime_ns), 1_000_000_000)
        sign = "-" if attributes.mtime_ns < 0 else ""
        metadata["mtime"] = sign + (f"{seconds}.{rest:09d}" if rest else str(seconds))
    if attributes.mode is not None:
        metadata["mode"] = f"{attributes.mode:04o}"
    return metadata


def _check_part(key: str, number: int, digest: bytes, answer: Mapping[str, Any]) -> None:
    """Hold the store to the bytes of a part, where its ETag can be their MD5."""
    etag, expected = normal(required(answer, "ETag", f'"{key}", part {number}')), digest.hex()
    if is_md5(etag) and etag != expected and not is_encrypted(answer):
        raise IntegrityError(
            f'"{key}", part {number}: S3 has MD5 {etag}, but {expected} was sent'
        )


def _is_not_implemented(error: AgentError) -> bool:
    """Tell whether a store does not know the condition: 501, as B2 answers.

    The message holds the key, which may read `501` too, so only what the store itself said counts.
    """
    response: dict[str, Any] = getattr(error.__cause__, "response", {})
    if response:
        return bool(response["ResponseMetadata"].get("HTTPStatusCode") == _NOT_IMPLEMENTED)
    return re.search(r"status code: 501\b", str(error.__cause__)) is not None
