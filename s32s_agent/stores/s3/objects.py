"""What requests to S3 name and what their answers say, as values that no library gives its form to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from s32s_agent.stores.s3.listing import Page


class ObjectName(NamedTuple):
    """An object, for requests and for messages."""

    bucket: str
    key: str
    """The whole key, prefix included."""
    label: str
    """Begins every message about the object."""
    version_id: str = ""
    """Of one version, in a versioned bucket; "" is the current one."""

    @property
    def query(self) -> tuple[tuple[str, str], ...]:
        """The parameters of a request that reads this version."""
        return (("versionId", self.version_id),) if self.version_id else ()


class ListedPage(NamedTuple):
    """A page of a listing."""

    page: Page
    server: str
    """What the server calls itself."""


class Head(NamedTuple):
    """What HEAD answers about an object."""

    raw_etag: str
    """As the store wrote it, "" when it wrote none."""
    size: int
    """Bytes; of one part where a part was asked for."""
    is_encrypted: bool
    """Encryption makes the ETag something else than an MD5."""
    part_count: int
    """0 when the answer does not say."""
    version_id: str = ""
    """"" where the bucket keeps no versions, or the answer does not say."""


@dataclass(frozen=True, slots=True)
class Body:
    """What GET answers: a version of an object, or a range of it."""

    raw_etag: str
    size: int
    """Bytes of the whole object."""
    span: tuple[int, int]
    """The bytes that the chunks are, from the first up to, not with, the last."""
    modified: datetime
    metadata: dict[str, str]
    """What was stored beside the bytes; names in any case."""
    chunks: Callable[[], Iterator[bytes]]
    """Reads the bytes in order, once; raises errors of the agent only."""
    close: Callable[[], None] = lambda: None
    """Ends the request, whether its bytes were read or not."""


@dataclass(frozen=True, slots=True)
class ObjectHeaders:
    """What is written beside the bytes of an object."""

    content_type: str
    metadata: dict[str, str] = field(default_factory=dict)
    content_encoding: str | None = None
    cache_control: str | None = None
    acl: str | None = None
    storage_class: str | None = None


class Precondition(NamedTuple):
    """What must hold for a write to take effect, so that two writers cannot overwrite each other."""

    raw_etag: str = ""
    """The version that is replaced, as the store wrote its ETag; "" when there must be no object."""
