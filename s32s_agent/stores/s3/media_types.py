"""Choose an object's media type and content encoding from its name. Pure, but for one file of this package.

`media_types.txt` is the table of mime-db, which follows IANA. It is a part of the agent, and neither Python's table nor
`/etc/mime.types` is read, so that every master of one version chooses the same, whatever computer it runs on.
"""

from __future__ import annotations

import functools
import importlib.resources
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")
_TABLE = "media_types.txt"
_DEFAULT = "application/octet-stream"
_PACKED = {
    "gz": ("application/gzip", ""),
    "tgz": ("application/gzip", "tar"),
    "svgz": ("application/gzip", "svg"),
    "bz2": ("application/x-bzip2", ""),
    "tbz2": ("application/x-bzip2", "tar"),
    "xz": ("application/x-xz", ""),
    "txz": ("application/x-xz", "tar"),
    "zst": ("application/zstd", ""),
    "br": (_DEFAULT, ""),
    "z": (_DEFAULT, ""),
}
"""By suffix, the type of a packed file, and the suffix of what is inside where another one stands for both."""


def by_suffix(key: str, chosen: Mapping[str, T]) -> T | None:
    """Return what a map chooses for a key, by the longest suffix that fits; None when none does."""
    suffixes = [suffix for suffix in chosen if key.endswith(suffix)]
    return chosen[max(suffixes, key=len)] if suffixes else None


def content_type(key: str, chosen: Mapping[str, str], *, is_encoded: bool = False) -> str:
    """Return an object's media type, from its name.

    Args:
        key: the object's.
        chosen: types by suffix, which take precedence.
        is_encoded: the object has a content encoding. Browsers undo it, so that the type of what is inside counts.
    """
    given = by_suffix(key, chosen)
    if given is not None:
        return given
    stem, suffix = _split(key.rpartition("/")[2].lower())
    if suffix in _PACKED:
        packed, inner = _PACKED[suffix]
        if not is_encoded:
            return packed
        suffix = inner or _split(stem)[1]
    return _table().get(suffix, _DEFAULT)


def _split(name: str) -> tuple[str, str]:
    """Split a name at its last dot; a name that begins with its only dot has no suffix."""
    stem, _, suffix = name.rpartition(".")
    return (stem, suffix) if stem else (name, "")


@functools.cache
def _table() -> dict[str, str]:
    """Return the media types by suffix, in lower case and without its dot."""
    text = importlib.resources.files(__package__).joinpath(_TABLE).read_text(encoding="utf-8")
    lines = (line.split() for line in text.splitlines() if not line.startswith("#"))
    return {suffix: media_type for media_type, *suffixes in lines for suffix in suffixes}
