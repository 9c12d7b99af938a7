"""The media type and the content encoding of an object follow from its name, on every computer alike."""

from __future__ import annotations

import mimetypes
from pathlib import Path

import pytest

from s32s_agent.stores.s3.media_types import by_suffix, content_type

WEB = {
    ".webp": "image/webp",
    ".avif": "image/avif",
    ".jxl": "image/jxl",
    ".svg": "image/svg+xml",
    ".ico": "image/vnd.microsoft.icon",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".ttf": "font/ttf",
    ".otf": "font/otf",
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".map": "application/json",
    ".json": "application/json",
    ".jsonld": "application/ld+json",
    ".webmanifest": "application/manifest+json",
    ".md": "text/markdown",
    ".csv": "text/csv",
    ".rss": "application/rss+xml",
    ".atom": "application/atom+xml",
    ".xhtml": "application/xhtml+xml",
    ".ics": "text/calendar",
    ".vtt": "text/vtt",
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".m3u8": "application/vnd.apple.mpegurl",
    ".ts": "video/mp2t",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".jpg": "image/jpeg",
    ".pdf": "application/pdf",
}


@pytest.mark.parametrize(("suffix", "expected"), WEB.items())
def test_a_font_that_a_browser_does_not_load(suffix: str, expected: str) -> None:
    """Files of today's web have the types that browsers ask for."""
    assert content_type(f"site/file{suffix}", {}) == expected


def test_two_masters_that_write_different_types(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither Python's table nor that of the computer has a say."""
    table = tmp_path / "mime.types"
    table.write_text("text/evil webp css unheard-of\n", encoding="utf-8")
    monkeypatch.setattr(mimetypes, "knownfiles", [str(table)])
    mimetypes.init([str(table)])
    try:
        found = [content_type(f"x.{each}", {}) for each in ("webp", "css", "unheard-of")]
    finally:
        monkeypatch.undo()
        mimetypes.init()

    assert found == ["image/webp", "text/css", "application/octet-stream"]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("index.html", "text/html"),
        ("INDEX.HTML", "text/html"),
        ("a/b.d/app.css", "text/css"),
        ("x.json", "application/json"),
        ("x.tar.gz", "application/gzip"),
        ("x.css.gz", "application/gzip"),
        ("x.tgz", "application/gzip"),
        ("x.svgz", "application/gzip"),
        ("x.css.br", "application/octet-stream"),
        ("x.tar.zst", "application/zstd"),
        ("x.bz2", "application/x-bzip2"),
        ("x.tar.xz", "application/x-xz"),
        ("x.Z", "application/octet-stream"),
        ("x", "application/octet-stream"),
        ("html", "application/octet-stream"),
        (".html", "application/octet-stream"),
        ("dir.html/x", "application/octet-stream"),
        ("data:text/html,x", "application/octet-stream"),
        ("http://x.html?a=b", "application/octet-stream"),
    ],
)
def test_content_type(key: str, expected: str) -> None:
    """The suffix of the last part decides; a packed file never has the type of what is inside."""

    assert content_type(key, {}) == expected


def test_chosen_types_come_first() -> None:
    """The map's own types win over every guess, the longest suffix over the others."""
    chosen = {".gz": "a/gz", ".tar.gz": "a/tar", "special": "a/special", ".html": "a/html"}
    keys = ["x.gz", "x.tar.gz", "d/special", "x.html", "x.css"]

    assert [content_type(key, chosen) for key in keys] == [
        "a/gz",
        "a/tar",
        "a/special",
        "a/html",
        "text/css",
    ]


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("x.css.gz", "text/css"),
        ("x.html.br", "text/html"),
        ("x.svgz", "image/svg+xml"),
        ("x.tgz", "application/x-tar"),
        ("x.tar.gz", "application/x-tar"),
        ("x.gz", "application/octet-stream"),
        ("x.css", "text/css"),
    ],
)
def test_a_page_that_a_browser_shows_as_an_archive(key: str, expected: str) -> None:
    """Where a content encoding is sent, browsers undo it, and the type of what is inside counts."""
    assert content_type(key, {}, is_encoded=True) == expected


def test_the_encoding_of_a_suffix() -> None:
    """The longest suffix that fits, as for types."""
    chosen = {".gz": "gzip", ".tar.gz": "identity", ".br": "br"}

    assert [by_suffix(key, chosen) for key in ("x.gz", "x.tar.gz", "d.gz/x.br", "x")] == [
        "gzip",
        "identity",
        "br",
        None,
    ]
