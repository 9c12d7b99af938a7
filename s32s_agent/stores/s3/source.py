"""An S3 prefix as a store."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from s32s_agent.errors import (
    AgentError,
    IntegrityError,
    ListingInconsistent,
    SourceChanged,
    StoreUnavailable,
)
from s32s_agent.model import Entry, Location, Problem, Stamp
from s32s_agent.plan import keys
from s32s_agent.plan.etags import (
    Digest,
    best_digest,
    candidate_part_sizes,
    is_md5,
    multipart_etag,
    normal,
    part_count,
)
from s32s_agent.stores.base import (
    NO_HINTS,
    Attributes,
    Content,
    File,
    Learned,
    RangedContent,
    Scan,
    ScanHints,
)
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.listing import Listing, Page
from s32s_agent.stores.s3.parallel_listing import Pages
from s32s_agent.stores.s3.ranges import RANGE, RANGED_FROM, Range, Slots, cut
from s32s_agent.stores.s3.sorted_listing import sorted_by_key
from s32s_agent.stores.s3.translate import is_encrypted, required, translate_errors

if TYPE_CHECKING:
    from obstore import GetOptions, GetResult
    from obstore.store import S3Store as ByteStore

_CHUNK = 1 << 20
_SEAWEEDFS = "SeaweedFS"
"""It does not list in key order, but its `StartAfter` was measured to follow its own; and it keeps directories."""
_SMALL_CHUNK = 256 << 10
"""Of a range: what is written and hashed while it is in the processor's cache costs less."""
_LATEST_NS = 1 << 62
"""About the year 2116; what a file system makes of later times differs."""
_ONE_PIECE = 4 << 20
"""Bytes up to which an object is taken in one piece: fewer hand-overs between threads."""
_OTHER_ANSWER = re.compile(
    r"non-partial response|content.range|Requested .*got", re.IGNORECASE
)
"""What obstore says when an answer is not the range that it asked for; it accepts no other."""
_UNNAMEABLE = re.compile(r"[\x00-\x1f\x7f]|//|^/|/$|(?:^|/)\.{1,2}(?:/|$)")
"""Keys that obstore would change or refuse; measured with obstore 0.12."""


def is_nameable(key: str) -> bool:
    """Tell whether obstore takes a whole key for what it is."""
    return _UNNAMEABLE.search(key) is None


class S3Source:
    """A prefix of a bucket.

    Args:
        connection: how S3 is reached; it outlives the store.
        location: the prefix.
    """

    def __init__(self, connection: Connection, location: Location) -> None:
        self._connection = connection
        self._bucket = location.bucket
        self._prefix = f"{location.prefix}/" if location.prefix else ""
        self._region = ""
        self._bytes: ByteStore | None = None
        self._opening = threading.Lock()
        self._is_seaweedfs = False
        self.slots = Slots()
        """Bound the ranges of all objects."""
        self.in_ranges = True
        """Cleared when a range gave something wrong: large objects are then asked for as a whole."""
        self._computed: dict[tuple[str, str | None], str] = {}
        """What came of multipart objects whose bytes do not give their ETags."""
        self._opaque_parts = False
        """One of them came twice alike, and none was ever proven: the ETags here prove nothing."""
        self._proving_parts = False
        """The parts of one of them gave its ETag."""
        self._judging = threading.Lock()

    def close(self) -> None:
        """Release nothing: the connection belongs to the pass."""

    @property
    def may_be_unordered(self) -> bool:
        """Whether disorder is a habit of the store rather than a sign of trouble."""
        return self._connection.custom_endpoint or self._bucket.endswith("--x-s3")

    def scan(self, hints: ScanHints = NO_HINTS) -> Scan:
        """List the prefix, flat and to its end, under every rule of completeness."""
        return Scan(self._scan(hints))

    def _scan(self, hints: ScanHints) -> Generator[Entry | Problem, None, Learned]:
        listing = Listing(
            self._bucket, self._prefix, strictly_ordered=not self.may_be_unordered
        )
        fetch = functools.partial(self._page, hints)
        pages = Pages(fetch, listing, hints.boundaries, self._connection.answered)
        entries = pages.entries()
        yield from sorted_by_key(entries) if hints.unordered else entries
        if hints.unordered and not self._is_seaweedfs:
            return Learned(boundaries=())
        return Learned(boundaries=pages.new_boundaries())

    def _page(self, hints: ScanHints, where: dict[str, str]) -> Page:
        fetched = self._connection.page(self._bucket, Prefix=self._prefix, **where)
        self._region = fetched.region or self._region
        self._is_seaweedfs = fetched.server.startswith(_SEAWEEDFS)
        if "StartAfter" in where and hints.unordered and not self._is_seaweedfs:
            raise ListingInconsistent(
                "StartAfter may leave out keys of a listing that is not in key order"
            )
        return fetched.page

    @contextlib.contextmanager
    def open(self, entry: Entry) -> Iterator[Content]:
        """Ask for the version that was listed, and accept no other."""
        digest_sizes = self.part_sizes(entry)
        digest = best_digest(entry.size, entry.etag or "", digest_sizes)
        nameable = is_nameable(self._prefix + entry.key)
        if self.in_ranges and entry.size >= RANGED_FROM and nameable and digest is not None:
            yield _RangedDownload(self, entry, self._look_at(entry), digest)
            return
        body = self._open_with_obstore(entry) if nameable else self._open_with_boto3(entry)
        yield _Download(self, entry, body, digest)

    def _condition(self, entry: Entry) -> str | None:
        etag = entry.etag or ""
        if etag.startswith("modified "):
            return None
        return entry.raw_etag or f'"{etag}"'

    def _byte_store(self) -> ByteStore:
        with self._opening:
            if self._bytes is None:
                self._bytes = self._connection.byte_store(self._bucket, self._region)
            return self._bytes

    def _open_with_obstore(self, entry: Entry) -> _Body:
        with translate_errors(f'"{entry.key}"'):
            result = self._get(entry, {})
            start, end = result.range
            if (start, end) != (0, result.meta["size"]):
                raise IntegrityError(
                    f'"{entry.key}": asked for all of it, got bytes {start} to {end}'
                )

        def chunks() -> Iterator[bytes]:
            # Never `bytes`, which takes whatever comes: a body in chunks may go on for ever, whatever length was named.
            piece = max(1, entry.size) if entry.size <= _ONE_PIECE else _CHUNK
            yield from result.stream(min_chunk_size=piece)

        return _body_of(result, chunks)

    def _look_at(self, entry: Entry) -> _Body:
        """Ask for everything but the bytes; they come in ranges."""

        def chunks() -> Iterator[bytes]:
            for each in cut(0, entry.size):
                yield from self.range_of(entry, each)

        with translate_errors(f'"{entry.key}"'):
            return _body_of(self._get(entry, {"head": True}), chunks)

    def range_of(self, entry: Entry, wanted: Range) -> Iterator[bytes]:
        """Ask for a range of the version that was listed, and accept nothing else.

        Raises:
            SourceChanged: it is a range of another version.
            IntegrityError: it is another range, or no range at all.
        """
        try:
            with translate_errors(f'"{entry.key}"'):
                result = self._get(entry, {"range": tuple(wanted)})
                body = _body_of(result, lambda: result.stream(min_chunk_size=_SMALL_CHUNK))
                _check(entry, body)
                if result.range != tuple(wanted):
                    raise IntegrityError(f'"{entry.key}": got another range than {wanted}')
                yield from body.chunks()
        except StoreUnavailable as error:
            if _OTHER_ANSWER.search(str(error)):
                raise IntegrityError(str(error)) from error
            raise

    def _get(self, entry: Entry, options: GetOptions) -> GetResult:
        import obstore  # noqa: PLC0415

        options["if_match"] = self._condition(entry)
        return obstore.get(self._byte_store(), self._prefix + entry.key, options=options)

    def _open_with_boto3(self, entry: Entry) -> _Body:
        parameters = self._connection.common(self._bucket)
        if condition := self._condition(entry):
            parameters["IfMatch"] = condition
        with translate_errors(f'"{entry.key}"'):
            answer = self._connection.client.get_object(
                **parameters, Key=self._prefix + entry.key
            )
        body = answer["Body"]

        def chunks() -> Iterator[bytes]:
            # Drained to its end, since only then does botocore check what it can.
            with contextlib.closing(body):
                while chunk := body.read(_CHUNK):
                    yield chunk

        return _Body(
            answer.get("ETag", ""),
            required(answer, "ContentLength", f'"{entry.key}"'),
            required(answer, "LastModified", f'"{entry.key}"'),
            answer.get("Metadata", {}),
            chunks,
        )

    def part_sizes(self, entry: Entry) -> tuple[int, ...]:
        """List the sizes that the object's parts may have, the likeliest first; () for one that has no parts."""
        parts = part_count(entry.etag or "")
        if not parts:
            return ()
        candidates = candidate_part_sizes(entry.size, parts)
        with contextlib.suppress(AgentError):
            head = self._head(entry.key, PartNumber=1)
            if head.get("PartsCount") == parts and head["ContentLength"] > 0:
                return tuple(dict.fromkeys((head["ContentLength"], *candidates)))
        return candidates

    def accepts(self, entry: Entry, computed: str) -> bool:
        """Tell whether to believe the bytes of a multipart object that do not give its ETag.

        The ETag may be no digest, or the guess at the size of the parts be wrong: then the bytes that come again are
        the same, and the store is not asked for every object twice. Bytes that were damaged on the way differ.
        """
        if self._opaque_parts or self.is_encrypted(entry.key):
            return True
        version = entry.key, entry.etag
        with self._judging:
            same = self._computed.pop(version, "") == computed
            if same:
                self.in_ranges = True  # it was not they that went wrong
                self._opaque_parts = not self._proving_parts
            else:
                self._computed[version] = computed
        return same

    def note_proven_parts(self) -> None:
        """Note that an object's parts gave its ETag: here such ETags prove something, and a mismatch means damage."""
        with self._judging:
            self._proving_parts, self._opaque_parts = True, False

    def is_encrypted(self, key: str) -> bool:
        """Tell whether the object's encryption makes its ETag something else than an MD5."""
        return is_encrypted(self._head(key))

    def current_version(self, entry: Entry) -> Entry | None:
        """Return the version that is there now."""
        try:
            head = self._head(entry.key)
        except SourceChanged:
            return None
        raw = head.get("ETag", "")
        etag = normal(raw)
        if not etag:
            return None
        raw_etag = "" if raw == f'"{etag}"' else raw
        return entry._replace(size=head["ContentLength"], etag=etag, raw_etag=raw_etag)

    def confirm_absent(self, key: str) -> bool:
        """Ask for the key itself; what no key can be is absent."""
        if keys.is_no_text(key) or len((self._prefix + key).encode()) > keys.KEY_BYTES:
            return True
        try:
            self._head(key)
        except SourceChanged:
            return True
        return False

    def _head(self, key: str, **parameters: Any) -> dict[str, Any]:
        with translate_errors(f'"{key}"'):
            common = self._connection.common(self._bucket)
            answer = self._connection.client.head_object(
                **common, Key=self._prefix + key, **parameters
            )
        required(answer, "ContentLength", f'"{key}"')
        return dict(answer)


@dataclass(frozen=True, slots=True)
class _Body:
    """An answer to GET, whichever library gave it."""

    raw_etag: str
    size: int
    modified: datetime
    metadata: dict[str, str]
    chunks: Callable[[], Iterator[bytes]]


def _body_of(result: GetResult, chunks: Callable[[], Iterator[bytes]]) -> _Body:
    meta = result.meta
    metadata = {str(name): value for name, value in result.attributes.items()}
    return _Body(meta["e_tag"] or "", meta["size"], meta["last_modified"], metadata, chunks)


def _check(entry: Entry, body: _Body) -> None:
    """See to it that an answer is one of the version that was listed."""
    etag = normal(body.raw_etag)
    if etag and etag != entry.etag and not (entry.etag or "").startswith("modified "):
        raise SourceChanged(f'"{entry.key}": got version {etag}, expected {entry.etag}')
    if body.size != entry.size:
        raise IntegrityError(f'"{entry.key}": got {body.size} bytes, expected {entry.size}')


class _Download:
    """The bytes of an object, checked while they pass."""

    stamp: Stamp | None = None

    def __init__(
        self, store: S3Source, entry: Entry, body: _Body, digest: Digest | None
    ) -> None:
        _check(entry, body)
        self._store = store
        self._entry = entry
        self._body = body
        self._digest = digest
        self.attributes = _attributes(body)
        self.verified = ""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, then judge them."""
        count = 0
        with translate_errors(f'"{self._entry.key}"'):
            for chunk in self._body.chunks():
                if self._digest is not None:
                    self._digest.update(chunk)
                count += len(chunk)
                if count > self._entry.size:
                    break
                yield chunk
        if count != self._entry.size:
            raise IntegrityError(
                f'"{self._entry.key}": got {count} bytes, expected {self._entry.size}'
            )
        self.verified = self._judge(self._digest.etag() if self._digest else "")

    def _judge(self, computed: str) -> str:
        """Say what proved the bytes; an MD5 that differs is only believed where nothing but an MD5 can be meant."""
        etag = self._entry.etag or ""
        if not computed:
            return "length"
        if computed == etag:
            if is_md5(etag):
                return "md5"
            self._store.note_proven_parts()
            return "multipart"
        if is_md5(etag) and not self._store.is_encrypted(self._entry.key):
            raise IntegrityError(f'"{self._entry.key}": got MD5 {computed}, expected {etag}')
        if part_count(etag) and not self._store.accepts(self._entry, computed):
            raise IntegrityError(
                f'"{self._entry.key}": got digest {computed}, expected {etag}'
            )
        return "length"


class _RangedDownload(_Download, RangedContent):
    """The bytes of a large object, in ranges side by side."""

    def __init__(self, store: S3Source, entry: Entry, body: _Body, digest: Digest) -> None:
        super().__init__(store, entry, body, digest)
        self._whole = digest

    def fill(self, file: File, kept: int) -> None:
        """Hash what is kept, fetch and hash the rest; then judge the whole."""
        if kept and self._store.is_encrypted(self._entry.key):
            kept = 0  # no ETag will prove it
        part_size = self._whole.part_size
        try:
            if part_size and part_size <= RANGE:
                computed = self._hash_apart(file, kept // part_size * part_size, part_size)
            else:
                computed = self._hash_behind(file, kept)
            self.verified = self._judge(computed)
            if kept and self.verified == "length":
                raise IntegrityError(
                    f'"{self._entry.key}": with what was kept of it, it is not what its ETag says'
                )
        except IntegrityError:
            self._store.in_ranges = self._store.in_ranges and kept > 0
            raise

    def _hash_apart(self, file: File, kept: int, part_size: int) -> str:
        """Have parts hashed by the threads that fetch them, in ranges of whole parts."""
        digests: dict[int, Digest] = {}

        def read(wanted: Range) -> Iterator[bytes]:
            digest = digests[wanted.start] = Digest(part_size)
            for chunk in self._store.range_of(self._entry, wanted):
                digest.update(chunk)
                yield chunk

        if kept:
            digests[0] = Digest(part_size)
            self._hash(digests[0], file, Range(0, kept))
        ranges = cut(kept, self._entry.size, RANGE // part_size * part_size)
        with contextlib.closing(self._store.slots.fetch(ranges, read, file)) as fetched:
            for _ in fetched:
                pass
        in_order = (digests[start] for start in sorted(digests))
        return multipart_etag([part for digest in in_order for part in digest.parts()])

    def _hash_behind(self, file: File, kept: int) -> str:
        """Read the file again, in order, behind the ranges."""
        read = functools.partial(self._store.range_of, self._entry)
        ranges = cut(kept, self._entry.size)
        with contextlib.closing(self._store.slots.fetch(ranges, read, file)) as fetched:
            for each in itertools.chain([Range(0, kept)], fetched):
                self._hash(self._whole, file, each)
        return self._whole.etag()

    def _hash(self, digest: Digest, file: File, wanted: Range) -> None:
        for position in range(wanted.start, wanted.end, _SMALL_CHUNK):
            size = min(_SMALL_CHUNK, wanted.end - position)
            chunk = file.read(size, position)
            if len(chunk) != size:
                raise IntegrityError(f'"{self._entry.key}": bytes are gone from its file')
            digest.update(chunk)


def _attributes(body: _Body) -> Attributes:
    """Read what rclone and this agent write beside an object: `mtime` in seconds, `mode` in octal."""
    metadata = {name.lower(): value for name, value in body.metadata.items()}
    mtime_ns = int(body.modified.timestamp()) * 1_000_000_000
    if found := re.fullmatch(r"(-?)(\d{1,11})(?:\.(\d{1,9})\d*)?", metadata.get("mtime", "")):
        mtime_ns = int(found[2]) * 1_000_000_000 + int((found[3] or "").ljust(9, "0"))
        mtime_ns = -mtime_ns if found[1] else mtime_ns
    if abs(mtime_ns) > _LATEST_NS:
        mtime_ns = int(body.modified.timestamp()) * 1_000_000_000
    mode = None
    if re.fullmatch(r"0?[0-7]{3,6}", metadata.get("mode", "")):
        mode = int(metadata["mode"], 8) & 0o777
    return Attributes(mtime_ns, mode)
