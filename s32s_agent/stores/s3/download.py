"""Fetch the bytes of an object and prove them: whole, or in ranges written in parallel to a file."""

from __future__ import annotations

import contextlib
import functools
import itertools
import threading
from collections.abc import Generator, Iterator

from s32s_agent.cancellation import UNWATCHED, Heartbeat
from s32s_agent.errors import EntryUnreadable, IntegrityError, SourceChanged
from s32s_agent.model import Entry, Stamp
from s32s_agent.plan.etags import Digest, best_digest, is_by_time, multipart_etag, normal
from s32s_agent.plan.proofs import Verdict, judge
from s32s_agent.stores.base import File, RangedContent
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.metadata import attributes_of, is_link
from s32s_agent.stores.s3.objects import Body
from s32s_agent.stores.s3.prefix import S3Prefix, condition_of
from s32s_agent.stores.s3.ranges import RANGE, RANGED_FROM, Range, Read, Slots, cut

_HASHED = 256 << 10
"""Bytes that are read again and hashed at once: they stay in the processor's cache."""
_LINK = "the object stands for a symbolic link, and its bytes are a path"
_NO_LINKS = "exclude it with `ignore`, or have the program that wrote it follow links"


class Downloads:
    """Opens the objects of one prefix, and remembers what they have shown of the store; thread-safe.

    Args:
        connection: how S3 is reached.
        prefix: what the objects are.
    """

    def __init__(self, connection: Connection, prefix: S3Prefix) -> None:
        self._connection = connection
        self._prefix = prefix
        self.slots = Slots()
        """Bound the ranges of all objects."""
        self._in_ranges = True
        """Cleared when a range was wrong: large objects are then requested as a whole."""
        self._computed: dict[tuple[str, str | None], str] = {}
        """The digests of multipart objects whose bytes do not give their ETags."""
        self._opaque_parts = False
        """One of them came twice alike, and none was ever proven: the ETags here prove nothing."""
        self._proving_parts = False
        """The parts of one of them gave its ETag."""
        self._judging = threading.Lock()

    def open(self, entry: Entry, heartbeat: Heartbeat = UNWATCHED) -> _Download:
        """Request the version of an entry, and no other; the caller closes it.

        Raises:
            SourceChanged: the store has another version, or none.
            IntegrityError: the answer is not all of it.
            EntryUnreadable: the object stands for a symbolic link.
        """
        digest = best_digest(entry.size, entry.etag or "", self._prefix.part_sizes(entry))
        name, condition = self._prefix.version_of(entry), condition_of(entry)
        ranged = self._in_ranges and entry.size >= RANGED_FROM
        if ranged and digest is not None:
            described = self._connection.describe(name, condition)
            return _RangedDownload(self, entry, described, digest, heartbeat)
        body = self._connection.get(name, condition, entry.size)
        try:
            start, end = body.span
            if (start, end) != (0, body.size):
                raise IntegrityError(
                    f'"{entry.key}": asked for all of it, got bytes {start} to {end}'
                )
            return _Download(self, entry, body, digest)
        except BaseException:
            body.close()
            raise

    def range_of(self, entry: Entry, wanted: Range) -> Iterator[bytes]:
        """Yield the bytes of a range of the version that was listed, and accept nothing else.

        Raises:
            SourceChanged: the answer is a range of another version.
            IntegrityError: it is another range, or no range at all.
        """
        name, condition = self._prefix.version_of(entry), condition_of(entry)
        body = self._connection.get_range(name, condition, wanted)
        with contextlib.closing(body):
            _check(entry, body)
            if body.span != tuple(wanted):
                raise IntegrityError(f'"{entry.key}": got another range than {wanted}')
            yield from body.chunks()

    def is_encrypted(self, entry: Entry) -> bool:
        """Ask whether encryption makes an entry's ETag something else than an MD5."""
        return self._prefix.is_encrypted(entry.key)

    def accepts(self, entry: Entry, computed: str) -> bool:
        """Return whether to believe the bytes of a multipart object that do not give its ETag.

        The ETag may be no digest, or the guess at the size of the parts be wrong: then the bytes that come again are
        the same, and the store is not asked for every object twice. Bytes that were damaged on the way differ.
        """
        if self._opaque_parts or self.is_encrypted(entry):
            return True
        version = entry.key, entry.etag
        with self._judging:
            same = self._computed.pop(version, "") == computed
            if same:
                self._in_ranges = True  # they were not what was wrong
                self._opaque_parts = not self._proving_parts
            else:
                self._computed[version] = computed
        return same

    def note_proven_parts(self) -> None:
        """Note that an object's parts gave its ETag: here such ETags prove something, and a mismatch means damage."""
        with self._judging:
            self._proving_parts, self._opaque_parts = True, False

    def note_wrong_range(self) -> None:
        """Note that bytes in ranges were not what the ETag says, though nothing else can be the cause."""
        self._in_ranges = False


def _check(entry: Entry, body: Body) -> None:
    """Make sure that an answer is one of the version that was listed."""
    etag = normal(body.raw_etag)
    if etag and etag != entry.etag and not is_by_time(entry.etag or ""):
        raise SourceChanged(f'"{entry.key}": got version {etag}, expected {entry.etag}')
    if body.size != entry.size:
        raise IntegrityError(f'"{entry.key}": got {body.size} bytes, expected {entry.size}')


class _Download:
    """The bytes of an object, checked while they are read."""

    stamp: Stamp | None = None

    def __init__(
        self, downloads: Downloads, entry: Entry, body: Body, digest: Digest | None
    ) -> None:
        _check(entry, body)
        if is_link(entry.key, body.metadata):
            raise EntryUnreadable(f'"{entry.key}": {_LINK}', remedy=_NO_LINKS)
        self._downloads = downloads
        self._entry = entry
        self._body = body
        self._digest = digest
        self.attributes = attributes_of(body.metadata, body.modified)
        self.verified = ""

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes, then judge them."""
        count = 0
        for chunk in self._stream():
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

    def close(self) -> None:
        """End the request, whether its bytes were read or not."""
        self._body.close()

    def _stream(self) -> Iterator[bytes]:
        return self._body.chunks()

    def _judge(self, computed: str) -> str:
        """Return what proved the bytes.

        Raises:
            IntegrityError: they are not what the ETag says, and nothing but damage can be the cause.
        """
        etag, label = self._entry.etag or "", f'"{self._entry.key}"'
        verdict = judge(etag, computed)
        if verdict is Verdict.OTHER_MD5 and not self._downloads.is_encrypted(self._entry):
            raise IntegrityError(f"{label}: got MD5 {computed}, expected {etag}")
        if verdict is Verdict.OTHER_PARTS and not self._downloads.accepts(
            self._entry, computed
        ):
            raise IntegrityError(f"{label}: got digest {computed}, expected {etag}")
        if verdict is Verdict.MULTIPART:
            self._downloads.note_proven_parts()
        return verdict.value if verdict in (Verdict.MD5, Verdict.MULTIPART) else "length"


class _RangedDownload(_Download, RangedContent):
    """The bytes of a large object, in ranges fetched in parallel."""

    def __init__(
        self,
        downloads: Downloads,
        entry: Entry,
        described: Body,
        digest: Digest,
        heartbeat: Heartbeat,
    ) -> None:
        super().__init__(downloads, entry, described, digest)
        self._whole = digest
        self._heartbeat = heartbeat

    def _stream(self) -> Iterator[bytes]:
        for each in cut(0, self._entry.size):
            yield from self._downloads.range_of(self._entry, each)

    def fill(self, file: File, kept: int) -> None:
        """Hash what is kept, fetch and hash the rest; then judge the whole."""
        if kept and self._downloads.is_encrypted(self._entry):
            kept = 0  # no ETag will prove it
        part_size = self._whole.part_size
        try:
            if part_size and part_size <= RANGE:
                computed = self._hash_parts(file, kept // part_size * part_size, part_size)
            else:
                computed = self._hash_in_order(file, kept)
            self.verified = self._judge(computed)
            if kept and self.verified == "length":
                raise IntegrityError(
                    f'"{self._entry.key}": with what was kept of it, it is not what its ETag says'
                )
        except IntegrityError:
            if not kept:
                self._downloads.note_wrong_range()
            raise

    def _hash_parts(self, file: File, kept: int, part_size: int) -> str:
        """Hash parts in the threads that fetch them, in ranges of whole parts."""
        digests: dict[int, Digest] = {}

        def read(wanted: Range) -> Iterator[bytes]:
            digest = digests[wanted.start] = Digest(part_size)
            for chunk in self._downloads.range_of(self._entry, wanted):
                digest.update(chunk)
                yield chunk

        if kept:
            digests[0] = Digest(part_size)
            self._hash(digests[0], file, Range(0, kept))
        ranges = cut(kept, self._entry.size, RANGE // part_size * part_size)
        with self._fetched(ranges, read, file) as fetched:
            for _ in fetched:
                pass
        in_order = (digests[start] for start in sorted(digests))
        return multipart_etag([part for digest in in_order for part in digest.parts()])

    def _hash_in_order(self, file: File, kept: int) -> str:
        """Read the file again, in order, as far as the ranges have come."""
        read = functools.partial(self._downloads.range_of, self._entry)
        ranges = cut(kept, self._entry.size)
        with self._fetched(ranges, read, file) as fetched:
            for each in itertools.chain([Range(0, kept)], fetched):
                self._hash(self._whole, file, each)
        return self._whole.etag()

    def _fetched(
        self, ranges: Iterator[Range], read: Read, file: File
    ) -> contextlib.closing[Generator[Range, None, None]]:
        slots = self._downloads.slots
        return contextlib.closing(slots.fetch(ranges, read, file, self._heartbeat))

    def _hash(self, digest: Digest, file: File, wanted: Range) -> None:
        for position in range(wanted.start, wanted.end, _HASHED):
            size = min(_HASHED, wanted.end - position)
            chunk = file.read(size, position)
            if len(chunk) != size:
                raise IntegrityError(
                    f'"{self._entry.key}": its temporary file lost bytes while it was written'
                )
            digest.update(chunk)
