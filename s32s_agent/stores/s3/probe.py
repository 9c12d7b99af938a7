"""Find out what a store does with the requests that stores disagree about, by trying them on objects of its own.

The objects are below `.s32s/probe-*/` of the prefix, a name that no slave mirrors; they are removed at the end, and no
other object is written, read or removed. It takes some forty requests.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from enum import Enum

from s32s_agent.errors import AgentError, SourceChanged
from s32s_agent.model import Location
from s32s_agent.plan.keys import PROBES
from s32s_agent.stores.s3.client import Call, is_refusal
from s32s_agent.stores.s3.connection import Connection
from s32s_agent.stores.s3.listing import decoded_keys
from s32s_agent.stores.s3.objects import ListedPage, ObjectHeaders, ObjectName, Precondition
from s32s_agent.stores.s3.observation import WRONG_ETAG, answers_not_modified, read_guard
from s32s_agent.stores.s3.traits import Checksum, Guard, StoreTraits
from s32s_agent.stores.s3.write_requests import WriteRequests

_TYPE = "application/octet-stream"
_DIRECTORY_TYPE = "application/x-directory"
_BODY = b"s32s-agent"
_BODY_CRC64NVME = "wJTrgQboJb0="
_WRONG_CRC64NVME = "AAAAAAAAAAA="
_WRONG_MD5 = base64.b64encode(bytes(16)).decode()
_CHECKSUM = "x-amz-checksum-crc64nvme"
_ORDERED = ("order-a", "order/a")
"""In the order of their bytes; stores that list by directory turn them round."""
_ODD = "back\\slash"
_NAMES = (
    "small",
    "large",
    "parts",
    "digest",
    *_ORDERED,
    "order/",
    "directory/",
    "directory",
    _ODD,
    "back/slash",
)
"""All objects that may be there, whatever a store made of their names; JuiceFS keeps `order/` for `order/a`."""
_SMALLEST_PART = 5 << 20

_Write = Callable[[Precondition | None], str]


class _Tried(Enum):
    """What became of a request."""

    DONE = "done"
    CHANGED = "changed"
    """The store says that the condition does not hold."""
    REFUSED = "refused"
    """The store does not take such a request."""


def probe(
    connection: Connection, location: Location, *, with_parts: bool = False
) -> StoreTraits:
    """Try a store with objects of its own below a prefix, and remove them.

    Args:
        connection: how the store is reached.
        location: a prefix that the agent may write.
        with_parts: also try an object of two parts, the first of them of 5 MiB, the smallest that S3 takes.

    Raises:
        AgentError: the store did not let it be found out.
    """
    trial = _Trial(connection, location, with_parts=with_parts)
    try:
        return trial.traits()
    finally:
        trial.clean_up()


class _Trial:
    """One probe of one store."""

    def __init__(
        self, connection: Connection, location: Location, *, with_parts: bool
    ) -> None:
        self._with_parts = with_parts
        self._connection = connection
        self._call = connection.client.call
        self._writes = WriteRequests(connection)
        self._bucket = location.bucket
        above = f"{location.prefix}/" if location.prefix else ""
        self._top = f"{above}{PROBES}{secrets.token_hex(8)}/"

    def traits(self) -> StoreTraits:
        """Return what was found."""
        create, replace = self._guards("small", self._put_small)
        complete_new, complete_over = self._guards("large", self._put_large)
        keeps_directories = self._keeps_directories()
        keeps_names = self._keeps_names()
        for name in _ORDERED:
            self._put(name)
        listed = self._page()
        ordered = [key for key in self._keys(listed) if key in _ORDERED]
        return StoreTraits(
            server=listed.server,
            create=create,
            replace=replace,
            complete_new=complete_new,
            complete_over=complete_over,
            read=read_guard(self._connection, self._name("small")),
            lists_etags=all(each.etag for each in listed.page.contents if each.size != "0"),
            answers_not_modified=answers_not_modified(self._connection, self._name("small")),
            checks_md5=self._refuses({"Content-MD5": _WRONG_MD5}),
            crc64nvme=self._crc64nvme(),
            keeps_directories=keeps_directories,
            names_part_sizes=self._names_part_sizes() if self._with_parts else True,
            in_key_order=ordered == list(_ORDERED),
            starts_after=self._starts_after(),
            continues=self._continues(),
            keeps_names=keeps_names,
            versioned=self._connection.is_versioned(self._bucket, unknown=False),
            deletes_many=self._deletes_many(),
        )

    def clean_up(self) -> None:
        """Remove every object by its own name; what cannot be removed is an extra for the next run.

        No listing says what is removed: a store that ignores the prefix would name objects of other people.
        """
        for each in _NAMES:
            with contextlib.suppress(AgentError):
                self._writes.delete(self._name(each))

    # --- conditions ---

    def _guards(self, name: str, write: Callable[[str], _Write]) -> tuple[Guard, Guard]:
        """Return what becomes of a condition that there is no object, and of one that names a version."""
        write_it = write(name)
        created = self._created(write_it)
        if created is Guard.REFUSED:
            write_it(None)
        return created, self._replaced(write_it, name)

    def _created(self, write: _Write) -> Guard:
        if _tried(write, "") is not _Tried.DONE:
            return Guard.REFUSED
        return _guard_of(_tried(write, ""))

    def _replaced(self, write: _Write, name: str) -> Guard:
        wrong = _guard_of(_tried(write, WRONG_ETAG))
        if wrong is not Guard.HELD:
            return wrong
        etag = self._connection.head(self._name(name)).raw_etag
        if etag and _tried(write, etag) is _Tried.DONE:
            return Guard.HELD
        bare = etag.strip('"')
        if bare != etag and _tried(write, bare) is _Tried.DONE:
            return Guard.BARE
        return Guard.REFUSED

    def _put_small(self, name: str) -> _Write:
        headers, body = ObjectHeaders(_TYPE), secrets.token_bytes(8)
        return lambda condition: self._writes.put(self._name(name), body, headers, condition)

    def _put_large(self, name: str) -> _Write:
        """Return how an object is written in one part, which the last one may be of any size."""
        data = bytearray(secrets.token_bytes(8))
        return lambda condition: self._put_parts(name, [data], condition)

    def _put_parts(
        self, name: str, parts: Sequence[bytearray], condition: Precondition | None
    ) -> str:
        whole = self._name(name)
        upload = self._writes.begin_upload(whole, ObjectHeaders(_TYPE))
        try:
            named = []
            for number, data in enumerate(parts, 1):
                md5 = hashlib.md5(data, usedforsecurity=False).digest()
                named.append(self._writes.put_part(whole, upload, number, data, md5).named)
            return self._writes.complete_upload(whole, upload, named, condition)
        except BaseException:
            with contextlib.suppress(AgentError):
                self._writes.abort_upload(whole, upload)
            raise

    # --- bytes and names ---

    def _refuses(self, headers: dict[str, str]) -> bool:
        """Return whether a body is refused that does not have the digest that is sent with it."""
        call = self._request("PUT", "digest", headers, _BODY)
        return _outcome(lambda: self._call(call)) is not _Tried.DONE

    def _crc64nvme(self) -> Checksum:
        checks = self._refuses({_CHECKSUM: _WRONG_CRC64NVME})
        if self._refuses({_CHECKSUM: _BODY_CRC64NVME}):
            return Checksum.DROPPED
        asked = self._request("HEAD", "digest", {"x-amz-checksum-mode": "ENABLED"})
        if self._call(asked).headers.get(_CHECKSUM) != _BODY_CRC64NVME:
            return Checksum.DROPPED
        return Checksum.CHECKED if checks else Checksum.KEPT

    def _keeps_directories(self) -> bool:
        name = self._name("directory/")
        headers = ObjectHeaders(_DIRECTORY_TYPE)
        if _outcome(lambda: self._writes.put(name, b"", headers)) is not _Tried.DONE:
            return False
        return "directory/" in self._keys(self._page())

    def _keeps_names(self) -> bool:
        """Return whether a backslash stays; a store that refuses it changes nothing."""
        if _outcome(lambda: self._put(_ODD)) is not _Tried.DONE:
            return True
        return _ODD in self._keys(self._page())

    def _names_part_sizes(self) -> bool:
        self._put_parts("parts", [bytearray(_SMALLEST_PART), bytearray(b"2")], None)
        first = self._connection.head(self._name("parts"), part_number=1)
        return (first.size, first.part_count) == (_SMALLEST_PART, 2)

    # --- listings and deletes ---

    def _starts_after(self) -> bool:
        keys = self._keys(self._page())
        if not keys:
            return False
        first, *rest = keys
        return self._keys(self._page(StartAfter=self._top + first)) == rest

    def _continues(self) -> bool:
        try:
            keys = list(self._page_by_page())
        except AgentError:
            return False
        return sorted(keys) == sorted(self._keys(self._page()))

    def _page_by_page(self) -> Iterator[str]:
        where: dict[str, str] = {}
        for _ in range(20):
            listed = self._page(MaxKeys=3, **where)
            yield from self._keys(listed)
            token = listed.page.fields.get("NextContinuationToken", "")
            if not token:
                return
            where = {"ContinuationToken": token}

    def _deletes_many(self) -> bool:
        names = [self._name(each) for each in _ORDERED]
        deleted: set[str] = set()

        def delete() -> None:
            deleted.update(self._writes.delete_many(names))

        if _outcome(delete) is not _Tried.DONE:
            return False
        left = set(self._keys(self._page()))
        return deleted == {name.key for name in names} and left.isdisjoint(_ORDERED)

    # --- requests ---

    def _name(self, name: str) -> ObjectName:
        return ObjectName(self._bucket, self._top + name, f'"{self._top}{name}"')

    def _put(self, name: str) -> str:
        return self._writes.put(self._name(name), _BODY, ObjectHeaders(_TYPE))

    def _request(
        self, method: str, name: str, headers: dict[str, str], body: bytes = b""
    ) -> Call:
        whole = self._name(name)
        return Call(
            method, whole.bucket, whole.label, whole.key,
            headers=headers, body=body, is_trial=True,
        )  # fmt: skip

    def _page(self, **where: str | int) -> ListedPage:
        return self._connection.page(self._bucket, Prefix=self._top, **where)

    def _keys(self, listed: ListedPage) -> list[str]:
        return [key.removeprefix(self._top) for key in decoded_keys(listed.page)]


def _tried(write: _Write, etag: str) -> _Tried:
    return _outcome(lambda: write(Precondition(etag)))


def _outcome(request: Callable[[], object]) -> _Tried:
    """Make a request and return what became of it.

    Raises:
        AgentError: it failed for a cause that has nothing to do with what was asked.
    """
    try:
        request()
    except SourceChanged:
        return _Tried.CHANGED
    except AgentError as error:
        if not is_refusal(error):
            raise
        return _Tried.REFUSED
    return _Tried.DONE


def _guard_of(tried: _Tried) -> Guard:
    """Return what a store does with a condition that does not hold."""
    return {
        _Tried.DONE: Guard.IGNORED,
        _Tried.CHANGED: Guard.HELD,
        _Tried.REFUSED: Guard.REFUSED,
    }[tried]
