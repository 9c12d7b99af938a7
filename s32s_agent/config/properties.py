"""The table of the properties of a mapping in a map file, each with its form and help.

To add a property, add a row here and a field to `Mapping`. Parser, JSON Schema, reference page and manual page follow
from the rows. Every writer to the bucket can write map files, so no form here trusts anything.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from s32s_agent.config.forms import (
    ANY_TEXT,
    LOCATION,
    TEXT,
    Form,
    keyed,
    list_of,
    matching,
    member_of,
    one_of,
    text_schema,
)
from s32s_agent.config.values import expected, quote
from s32s_agent.model import Extras, Role
from s32s_agent.text import has_control_characters

MAX_NAME = 200
"""Characters of a mapping's name; it is part of every log line."""


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a mapping."""

    name: str
    help: str
    """One or two sentences in Markdown."""
    form: Form[Any]
    needed_in: tuple[Role, ...] = ()
    """The roles in which it must be there."""
    field: str = ""
    """Of `Mapping`, which keeps its own default where the property is absent; "" is the property's name."""

    @property
    def needed(self) -> str:
        """Return when it must be there, for people."""
        if not self.needed_in:
            return "no"
        return "yes" if self.needed_in == tuple(Role) else f"in role {self.needed_in[0].value}"


def _name(value: object) -> str:
    name = TEXT.check(value)
    if len(name) > MAX_NAME:
        raise expected(f"at most {MAX_NAME} characters", name)
    return name


def _unicode_text(value: object) -> str:
    """Check for text that can be a part of a key; S3 takes control characters in one."""
    if not isinstance(value, str) or not value:
        raise expected("text", value)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise expected("text that is valid Unicode", value) from error
    return value


def _file(value: object) -> str:
    path = _unicode_text(value)
    if path.endswith("/"):
        raise expected("a file, not a directory", path)
    if "\0" in path or any(part in {"", ".", ".."} for part in path.split("/")):
        raise expected('a relative path without empty parts, "." and ".."', path)
    return path


_OUTSIDE = re.compile(r"\.{0,2}(?:/|$)")
"""How a pattern begins that matches no path below a directory: `/`, `./`, `../`; or it is `.` or `..`."""


def _pattern(value: object) -> str:
    """Check for a pattern that some path can match: one that matches none protects nothing."""
    pattern = _unicode_text(value)
    if pattern != pattern.strip():
        raise expected(f"{_PATTERN.words} without blanks at its ends", pattern)
    if _OUTSIDE.match(pattern):
        raise expected(
            f'{_PATTERN.words} such as {_example(pattern)}, since no path begins with "/", "./" or "../"',
            pattern,
        )
    return pattern


def _example(pattern: str) -> str:
    rest = re.sub(r"^[./]*/", "", pattern)
    return quote(rest if rest.strip("./") else "uploads/")


def _suffix(value: object) -> str:
    suffix = str(value)
    if not suffix.startswith(".") or "/" in suffix or has_control_characters(suffix):
        raise ValueError('expected a suffix such as ".html"')
    return suffix


_NAME = Form("a name", _name, {**TEXT.schema, "maxLength": MAX_NAME})
_FILE = Form("a relative path", _file, text_schema(r"(?!(?:[\s\S]*/)?\.{0,2}(?:/|$))[^\x00]+"))
_PATTERN = Form("a pattern", _pattern, text_schema(r"(?!\.{0,2}(?:/|$))\S(?:[\s\S]*\S)?"))
_TOKEN = r"[A-Za-z0-9!#$&^_.+-]{1,127}"  # noqa: S105 - of a header
_MEDIA_TYPE = matching(
    rf"{_TOKEN}/{_TOKEN}(?:; ?{_TOKEN}=(?:{_TOKEN}|\"[ !#-~]{{0,127}}\")){{0,4}}",
    "a media type such as `text/html`",
)
_SUFFIX = Form("a suffix such as `.html`", _suffix, text_schema(r"\.[^/]*"))
_HEADER = matching(r"[!-~](?:[ -~]{0,254}[!-~])?", "printable ASCII text")
_TYPES = keyed(
    _MEDIA_TYPE, "a mapping of suffixes to media types", key=_SUFFIX, word="property"
)
_CONTENT_TYPES = Form(
    _TYPES.markdown,
    lambda value: {} if value is None else _TYPES.check(value),
    {**_TYPES.schema, "type": ["object", "null"]},
)
_ENCODING = matching(
    r"(?!aws-chunked)[a-z0-9-]{1,32}(?:, ?(?!aws-chunked)[a-z0-9-]{1,32}){0,3}",
    "a content coding such as `gzip`",
)
_ENCODINGS = keyed(
    _ENCODING, "a mapping of suffixes to content codings", key=_SUFFIX, word="property"
)
_ACL = one_of(
    *("private", "public-read", "public-read-write", "authenticated-read"),
    *("aws-exec-read", "bucket-owner-read", "bucket-owner-full-control"),
)
_LIST_OF_FILES = list_of(_FILE, "a list of relative paths")
_FILES = Form(
    _LIST_OF_FILES.markdown,
    lambda value: frozenset(_LIST_OF_FILES.check(value)),
    _LIST_OF_FILES.schema,
)
DIRECTORY = Form("a local directory", ANY_TEXT.check, ANY_TEXT.schema)
"""The parser of maps checks the one of this computer's role; the other one may be anything."""

PROPERTIES = (
    Property("name", "Unique over all map files.", _NAME, needed_in=tuple(Role)),
    Property("description", "For people; the agent ignores it.", ANY_TEXT),
    Property(
        "s3",
        "The prefix in S3. `s3://` may precede it; a slash at its end changes nothing.",
        LOCATION,
        needed_in=tuple(Role),
        field="location",
    ),
    Property(
        "master",
        "The local directory on the master. `c:/path/dir` and `c:\\path\\dir` are the same.",
        DIRECTORY,
        needed_in=(Role.MASTER,),
        field="directory",
    ),
    Property(
        "slave",
        "The local directory on the slaves. The agent creates it if its parent exists.",
        DIRECTORY,
        needed_in=(Role.SLAVE,),
        field="directory",
    ),
    Property(
        "files",
        "Only these relative paths are mirrored. When one of them is not at the source, the mapping fails before"
        " anything changes.",
        _FILES,
    ),
    Property(
        "ignore",
        "Patterns over the whole relative path, in which `*` stands for any characters, `/` too: `*.bmp`,"
        " `*__pycache__*`. A pattern that matches a directory covers everything below it, with or without a slash at"
        " its end: `uploads`, `.git/`. In YAML, quotes around a pattern that begins with `*` are needed.",
        list_of(_PATTERN, "a list of patterns", empty_ok=True),
    ),
    Property(
        "extras",
        "What happens at the target to files that the source does not have. The default is `delete`; with `files` it"
        " is `keep`.",
        member_of(Extras),
    ),
    Property(
        "content_types",
        'Role master: the media type of each suffix, as in `{".wasm": "application/wasm"}`. Other suffixes have the'
        " media types that IANA and web servers know them by.",
        _CONTENT_TYPES,
    ),
    Property(
        "content_encoding",
        "Role master: the header `Content-Encoding` of each suffix, for files that are compressed already, as in"
        ' `{".gz": "gzip"}`. The media type is then that of what is inside.',
        _ENCODINGS,
    ),
    Property(
        "cache_control", "Role master: the header `Cache-Control` of the objects.", _HEADER
    ),
    Property(
        "acl",
        "Role master: the canned ACL of the objects. Without it they have none of their own, which buckets without ACLs"
        " demand.",
        _ACL,
    ),
    Property("storage_class", "Role master: the storage class of the objects.", _HEADER),
    Property(
        "snapshots",
        "A prefix for the snapshots of this mapping, apart from every mapping, the maps and the reports. A master"
        " publishes there, and a slave follows what is published instead of listing `s3`.",
        LOCATION,
    ),
)
