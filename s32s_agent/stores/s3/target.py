"""An S3 prefix as a target: publish whole, proven versions, and never over another writer's.

S3 shows an object when its last request succeeds, so `put` publishes, and `publish` only reports.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from urllib.parse import unquote_plus

from s32s_agent.cancellation import UNWATCHED, Heartbeat
from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    EntryError,
    IntegrityError,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.model import Copy, Entry, Kind, Location
from s32s_agent.plan import keys
from s32s_agent.plan.etags import normal
from s32s_agent.plan.proofs import Verdict, judge
from s32s_agent.stores.base import Attributes, Content, Published, Staged
from s32s_agent.stores.s3 import quirks
from s32s_agent.stores.s3.buffers import Buffers
from s32s_agent.stores.s3.client import is_not_implemented, is_refusal
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.media_types import by_suffix, content_type
from s32s_agent.stores.s3.metadata import metadata_of
from s32s_agent.stores.s3.multipart import PART_BYTES, Multipart
from s32s_agent.stores.s3.objects import ObjectHeaders, Precondition
from s32s_agent.stores.s3.prefix import S3Prefix, condition_of
from s32s_agent.stores.s3.traits import AS_AWS, Guard
from s32s_agent.stores.s3.unfinished_uploads import Uploads
from s32s_agent.stores.s3.write_requests import MANY, WriteRequests

_LARGE = 1 << 20
_LARGE_AT_ONCE = 6
"""How many buffers over `_LARGE` exist at once, over all workers: 48 MiB."""
_DIRECTORY_TYPE = "application/x-directory"
_NOT_IN_XML = re.compile("[\x00-\x1f\ufffe\uffff]")
"""What no XML document can hold, or brings to the store as something else."""
_WAIT_FOR_STORE = "wait: SeaweedFS removes an empty directory within minutes, and a later run sends this entry"


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """How objects are written."""

    uploads: Uploads
    content_types: dict[str, str] = field(default_factory=dict)
    """By suffix; the longest that fits."""
    content_encoding: dict[str, str] = field(default_factory=dict)
    """The same."""
    cache_control: str | None = None
    acl: str | None = None
    storage_class: str | None = None


class S3Target(S3Prefix):
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
        self._writes = WriteRequests(connection)
        self._options = options
        self._buffers = Buffers(_LARGE_AT_ONCE)
        self._multipart = Multipart(connection, options.uploads, self._buffers)
        self.traits = AS_AWS
        """What the store was found to do."""
        self._conditions = True
        """Until the store answers that it does not know conditional writes."""

    # --- write ---

    def put(self, copy: Copy, content: Content, heartbeat: Heartbeat = UNWATCHED) -> Staged:
        """Send the bytes of one version, and have S3 show them only when they are whole.

        Raises:
            SourceChanged: the local file changed while it was read, or the object since it was listed.
            IntegrityError: S3 has other bytes than were sent.
        """
        entry = copy.entry
        length = len(self.name_of(entry.key).key.encode())
        if length > keys.KEY_BYTES:
            raise EntryError(
                f'"{entry.key}": {length} bytes with its prefix, S3 takes {keys.KEY_BYTES}'
            )
        if entry.kind is Kind.DIRECTORY:
            etag, verified = self._put_marker(copy), "md5"
        elif entry.size <= PART_BYTES:
            large = entry.size > _LARGE
            with self._buffers.counted(heartbeat) if large else contextlib.nullcontext():
                etag, verified = self._put_whole(copy, content)
        else:
            etag, verified = self._put_parts(copy, content, heartbeat)
        self._demand_its_name(entry.key)
        return Staged(copy, verified, etag, content.stamp)

    def publish(self, staged: Sequence[Staged]) -> Iterator[Published]:
        """Report what `put` has published."""
        for each in staged:
            yield Published(each, each.stamp)

    def discard(self, staged: Staged) -> None:
        """Leave what was published; the index does not know it, so the next run compares it again."""

    def _put_marker(self, copy: Copy) -> str:
        # Without a precondition: all markers are equal, and see `quirks`.
        name, headers = self.name_of(copy.entry.key), self._headers(_DIRECTORY_TYPE)
        return normal(self._writes.put(name, b"", headers))

    def _put_whole(self, copy: Copy, content: Content) -> tuple[str, str]:
        name = self.name_of(copy.entry.key)
        data = b"".join(content.chunks())
        headers = self._headers_of(copy, content.attributes)
        expected = hashlib.md5(data, usedforsecurity=False).hexdigest()
        try:
            put = partial(self._writes.put, name, data, headers)
            etag = normal(self._with_precondition(copy, put))
        except SourceChanged as error:
            # A request that was repeated after its answer got lost meets its own object.
            self._demand_ours(copy, expected, len(data), error)
            etag = expected
        return self._proven(copy.entry, etag, expected, len(data))

    def _put_parts(
        self, copy: Copy, content: Content, heartbeat: Heartbeat
    ) -> tuple[str, str]:
        """Send a large object in parts, and complete it only when all of the file was read unchanged."""
        entry, name = copy.entry, self.name_of(copy.entry.key)
        headers = self._headers_of(copy, content.attributes)
        with self._multipart.begun(name, headers) as upload_id:
            parts = self._multipart.send(name, upload_id, content, entry.size, heartbeat)
            try:
                complete = partial(self._writes.complete_upload, name, upload_id, parts.named)
                etag = normal(self._with_precondition(copy, complete))
            except (SourceChanged, StoreUnavailable) as error:
                # An answer that got lost, or a repeated request, may hide that it was done.
                self._demand_ours(copy, parts.etag, entry.size, error)
                etag = parts.etag
        return self._proven(entry, etag, parts.etag, entry.size)

    def _headers(self, media_type: str) -> ObjectHeaders:
        options = self._options
        return ObjectHeaders(
            media_type,
            cache_control=options.cache_control,
            acl=options.acl,
            storage_class=options.storage_class,
        )

    def _headers_of(self, copy: Copy, attributes: Attributes) -> ObjectHeaders:
        key, options = copy.entry.key, self._options
        encoding = by_suffix(key, options.content_encoding)
        media_type = content_type(key, options.content_types, is_encoded=encoding is not None)
        return replace(
            self._headers(media_type),
            metadata=metadata_of(attributes),
            content_encoding=encoding,
        )

    def _demand_its_name(self, key: str) -> None:
        """Raise EntryError when the store kept an object under another name than it was sent with."""
        custom_endpoint = self._connection.custom_endpoint
        if not quirks.may_change_name(key, custom_endpoint=custom_endpoint):
            return
        whole = self._prefix + key
        page, *_ = self._connection.page(self._bucket, Prefix=whole, MaxKeys=1)
        if whole not in {unquote_plus(listed.key) for listed in page.contents}:
            raise EntryError(f'"{key}": the store does not keep a backslash in a name')

    # --- two writers ---

    def _with_precondition(
        self, copy: Copy, write: Callable[[Precondition | None], str]
    ) -> str:
        """Write on the condition that the store still has what was listed, and nothing else."""
        guard = self._guard(copy)
        if self._conditions and guard.protects:
            try:
                return write(self._precondition(copy, guard))
            except StoreUnavailable as error:
                if not is_not_implemented(error):
                    raise
            self._conditions = False
        self._compare(copy)
        return write(None)

    def _guard(self, copy: Copy) -> Guard:
        """Return what the store does with the condition on which this copy is written."""
        traits, is_new = self.traits, copy.replaces is None
        if copy.entry.size <= PART_BYTES:
            return traits.create if is_new else traits.replace
        return traits.complete_new if is_new else traits.complete_over

    def _precondition(self, copy: Copy, guard: Guard) -> Precondition:
        """Return what must hold: that the store has what was listed, or nothing."""
        listed = copy.replaces
        if listed is None:
            return Precondition()
        etag = condition_of(listed) or ""
        return Precondition(etag.strip('"') if guard is Guard.BARE else etag)

    def _compare(self, copy: Copy) -> None:
        """Compare the store with what was listed, for a store without conditional writes."""
        listed = copy.replaces.etag if copy.replaces is not None else None
        # HEAD of `rclone serve s3` may be about another Unicode form of the name, a listing is not.
        for ask in (self.current_version, self.listed_version):
            now = ask(copy.entry)
            if (now.etag if now is not None else None) == listed:
                break
        else:
            raise SourceChanged(f'"{copy.entry.key}" was modified by another writer')

    # --- proof ---

    def _demand_ours(self, copy: Copy, etag: str, size: int, error: AgentError) -> None:
        """Return when the store has what it refused; otherwise raise the refusal, or what explains it.

        SeaweedFS keeps a directory for minutes after its last object is gone, and meanwhile refuses a new object of
        that name. It would remove the directory on request, but minutes later remove the object in its place.
        """
        now = self.current_version(Entry(copy.entry.key))
        if now is not None and (now.etag, now.size) == (etag, size):
            return
        refused = isinstance(error, SourceChanged) and copy.replaces is None
        if refused and now is None and quirks.is_seaweedfs(self.server):
            message = f'"{copy.entry.key}": SeaweedFS still has a directory of that name'
            raise SourceChanged(message, remedy=_WAIT_FOR_STORE) from error
        raise error

    def _proven(self, entry: Entry, etag: str, expected: str, size: int) -> tuple[str, str]:
        """Return the object's ETag and what proves it, from the ETag that S3 answered."""
        verdict = judge(etag, expected)
        if verdict in (Verdict.MD5, Verdict.MULTIPART):
            return self._as_listed(entry, etag), verdict.value
        if verdict is Verdict.OTHER_MD5 and not self.is_encrypted(entry.key):
            raise IntegrityError(f'"{entry.key}": S3 has MD5 {etag}, but {expected} was sent')
        now = self.current_version(entry)
        if now is None or now.size != size or now.etag is None:
            raise IntegrityError(
                f'"{entry.key}": S3 does not have the {size} bytes that were sent'
            )
        if etag and now.etag != etag and self.traits.lists_etags:
            raise SourceChanged(f'"{entry.key}" was modified by another writer')
        return now.etag, "length"

    def _as_listed(self, entry: Entry, etag: str) -> str:
        """Return how the next listing names the version that was written."""
        if self.traits.lists_etags:
            return etag
        now = self.listed_version(entry)
        return (now.etag if now is not None else None) or etag

    # --- remove ---

    def delete(self, entry: Entry) -> bool:
        """Delete an object or a marker; on a versioned bucket its versions stay."""
        if _may_name_another(entry.key):
            raise EntryError(
                f'"{entry.key}": no request can name this object safely; delete it by hand'
            )
        self._writes.delete(self.name_of(entry.key))
        return True

    @property
    def deletes_at_once(self) -> int:
        """How many entries `delete_many` takes; 1 where the store deletes one at a time."""
        return MANY if self.traits.deletes_many else 1

    def delete_many(self, entries: Sequence[Entry]) -> set[str]:
        """Delete objects in one request; return the keys that the store says it has deleted."""
        names = [
            self.name_of(each.key)
            for each in entries
            if not _may_name_another(each.key) and _NOT_IN_XML.search(each.key) is None
        ]
        if not names:
            return set()
        try:
            deleted = self._writes.delete_many(names)
        except AgentError as error:
            if not isinstance(error, AccessDenied) and not is_refusal(error):
                raise
            self.traits = replace(self.traits, deletes_many=False)
            return set()
        return {key.removeprefix(self._prefix) for key in deleted}

    def remove_leftovers(
        self, _leftovers: Sequence[str] = (), _copies: Sequence[Copy] = ()
    ) -> dict[str, AgentError]:
        """Abort the multipart uploads that a killed run of this computer left; return by key what prevents it."""
        failed = self._multipart.abort_left_behind(self._bucket, self._prefix)
        return {key.removeprefix(self._prefix): error for key, error in failed.items()}

    def free_space(self) -> bool:
        """Return that there is nothing to remove."""
        return False

    def make_durable(self) -> None:
        """Do nothing: what S3 has answered for is durable."""

    def remarks(self) -> list[str]:
        """Return nothing: it keeps all that it is given."""
        return []

    def prune(self, now: datetime) -> list[str]:  # noqa: ARG002 (nothing is kept)
        """Return that nothing stays: nothing is kept."""
        return []


def _may_name_another(key: str) -> bool:
    """Return whether a request for a key may reach another object, so that deleting it would be a risk.

    A proxy or a store that normalizes paths takes empty parts and dots for another object, even in another bucket, and
    one that is written in C sees nothing behind NUL. What was listed as U+FFFD may have been any character.
    """
    parts = key.removesuffix("/").split("/")
    return not {"", ".", ".."}.isdisjoint(parts) or "\0" in key or "\ufffd" in key
