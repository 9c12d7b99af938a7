"""Which type of several a suffix gets in the table of media types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools.media_types import TABLE, table_of

DATABASE: dict[str, dict[str, Any]] = {
    "application/javascript": {"source": "apache", "extensions": ["js"]},
    "text/javascript": {"source": "iana", "extensions": ["js", "mjs"]},
    "application/mp4": {"source": "iana", "extensions": ["mp4", "mp4s"]},
    "video/mp4": {"source": "iana", "extensions": ["mp4"]},
    "application/octet-stream": {"source": "iana", "extensions": ["bin", "deb"]},
    "application/x-debian-package": {"extensions": ["deb"]},
    "image/x-icon": {"source": "apache", "extensions": ["ico"]},
    "image/vnd.microsoft.icon": {"source": "iana", "extensions": ["ico", "odd suffix"]},
    "application/none": {"source": "iana"},
}


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_a_registered_and_specific_type_comes_first() -> None:
    assert lines(table_of(DATABASE, "1.2.3")) == [
        "application/mp4 mp4s",
        "application/octet-stream bin",
        "application/x-debian-package deb",
        "image/vnd.microsoft.icon ico",
        "text/javascript js mjs",
        "video/mp4 mp4",
    ]


def test_the_table_says_where_it_is_from_and_its_licence() -> None:
    text = table_of(DATABASE, "1.2.3")

    assert "mime-db 1.2.3" in text
    assert "MIT License" in text


def test_the_table_in_the_package_is_one_that_the_tool_wrote() -> None:
    """Every suffix has one type, and all of it is in the form that the agent reads."""
    text = Path(TABLE).read_text(encoding="utf-8")
    suffixes = [suffix for line in lines(text) for suffix in line.split()[1:]]

    assert len(suffixes) == len(set(suffixes)) > 1000
    assert lines(text) == sorted(lines(text))
