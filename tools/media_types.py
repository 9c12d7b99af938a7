"""Write the table of media types by suffix from a copy of mime-db, the table that IANA, Apache and nginx feed.

    npm pack mime-db && tar -xzf mime-db-*.tgz
    python -m tools.media_types package/db.json package/package.json

The table is a part of the agent, so that no two masters of one version differ, whatever is installed beside them.
"""

from __future__ import annotations

import json
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "s32s_agent" / "stores" / "s3" / "media_types.txt"
_UNKNOWN = "application/octet-stream"
_SUFFIX = re.compile("[a-z0-9_+-]+")
_SOURCES = ("nginx", "apache", None, "iana")
"""From the least reliable one on; None is what the keepers of mime-db have added by themselves."""
_HEADER = """\
# Media types by suffix. Written by `python -m tools.media_types` from mime-db {version}.
#
# mime-db: copyright (c) 2014 Jonathan Ong, copyright (c) 2015-2022 Douglas Christopher Wilson. The MIT License:
# Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
# documentation files (the 'Software'), to deal in the Software without restriction, including without limitation the
# rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
# persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice
# and this permission notice shall be included in all copies or substantial portions of the Software. THE SOFTWARE IS
# PROVIDED 'AS IS', WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
# MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR COPYRIGHT
# HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
# ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def table_of(database: Mapping[str, Mapping[str, Any]], version: str) -> str:
    """Return the text of the table: a media type and its suffixes a line."""
    suffixes: dict[str, list[str]] = defaultdict(list)
    for suffix, media_type in sorted(_by_suffix(database).items()):
        suffixes[media_type].append(suffix)
    lines = [f"{media_type} {' '.join(names)}\n" for media_type, names in suffixes.items()]
    return _HEADER.format(version=version) + "".join(sorted(lines))


def _by_suffix(database: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    best: dict[str, str] = {}
    for media_type, about in database.items():
        for suffix in filter(_SUFFIX.fullmatch, about.get("extensions", ())):
            known = best.setdefault(suffix, media_type)
            best[suffix] = max(known, media_type, key=lambda each: _rank(each, database))
    return best


def _rank(media_type: str, database: Mapping[str, Mapping[str, Any]]) -> tuple[object, ...]:
    """Rank the types of one suffix: registered names before private ones, then by source, specific kind and length."""
    kind, _, name = media_type.partition("/")
    facet = 0 if name.startswith("x-") else 1 if name.startswith("vnd.") else 2
    kinds = ("application", "font", "audio", "video")
    return (
        media_type != _UNKNOWN,
        facet,
        _SOURCES.index(database[media_type].get("source")),
        kinds.index(kind) if kind in kinds else -1,
        -len(media_type),
        media_type,
    )


def main(arguments: list[str]) -> None:
    """Write the table."""
    database, package = (
        json.loads(Path(each).read_text(encoding="utf-8")) for each in arguments
    )
    TABLE.write_text(table_of(database, package["version"]), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
