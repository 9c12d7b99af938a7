"""Make the JSON Schema of the documents of snapshots, for programs that write or read them.

It covers form. Digests, order, and what one document says of another are in `docs/reference/snapshots.md`.
"""

from __future__ import annotations

from s32s_agent.config.forms import Schema
from s32s_agent.snapshots import chunks, fields, manifest, names

_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": fields.MAX_NUMBER}
_TEXT: Schema = {"type": "string", "maxLength": fields.MAX_TEXT}
_KEY: Schema = {"type": "string", "minLength": 1, "maxLength": fields.KEY_BYTES}
_SHA256: Schema = {"type": "string", "pattern": f"^{fields.SHA256.pattern}$"}
_ID: Schema = {"type": "string", "pattern": f"^{names.SNAPSHOT_ID.pattern}$"}
_TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$"}
_VERSION: Schema = {"const": fields.VERSION}


def of_snapshots() -> Schema:
    """Return one schema, with a definition for each kind of document; unknown fields are allowed."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "s32s-agent snapshots",
        "anyOf": [{"$ref": f"#/$defs/{name}"} for name in ("channel", "snapshot", "entry")],
        "$defs": {
            "channel": _object(
                "channels/NAME.json",
                {
                    "schema_version": _VERSION,
                    "sequence": _COUNT,
                    "snapshot": _ID,
                    "sha256": _SHA256,
                    "objects": _COUNT,
                    "bytes": _COUNT,
                    "created": _TIME,
                },
                {"by": _TEXT, "previous": {"anyOf": [{"const": ""}, _ID]}},
            ),
            "snapshot": _object(
                "snapshots/ID.json",
                {
                    "schema_version": _VERSION,
                    "id": _ID,
                    "mapping": _TEXT,
                    "s3": _TEXT,
                    "created": _TIME,
                    "objects": _COUNT,
                    "bytes": _COUNT,
                    "chunks": _chunks(),
                },
                {"by": _TEXT},
            ),
            "entry": _object(
                "one line of chunks/SHA256.jsonl.gz",
                {"key": _KEY, "size": _COUNT, "etag": _TEXT},
                {"raw_etag": _TEXT, "version_id": _TEXT},
            ),
        },
    }


def _chunks() -> Schema:
    count = {**_COUNT, "minimum": 1, "maximum": chunks.MAX_ENTRIES}
    size = {**_COUNT, "minimum": 1, "maximum": chunks.MAX_STORED}
    needed = {"sha256": _SHA256, "first": _KEY, "count": count, "size": size}
    items = _object("one chunk", needed, {})
    return {"type": "array", "maxItems": manifest.MAX_CHUNKS, "items": items}


def _object(title: str, needed: dict[str, Schema], others: dict[str, Schema]) -> Schema:
    return {
        "title": title,
        "type": "object",
        "properties": {**needed, **others},
        "required": list(needed),
    }
