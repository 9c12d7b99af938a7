"""Keys as relative paths: the security boundary."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from s32s_agent.plan import keys

HARMLESS = (
    "",
    "a",
    "a/b.txt",
    "a/",
    "...",
    "a/...b",
    ".hidden",
    "a/.s32s",
    "a/.s32s/b",
    ".s32s-other",
    "a.s32s-tmp.b",
    "-rf",
    "a b+c%20",
    "back\\slash",
    "c:/x",
    "line\nbreak",
    "\x1b[31m",
    "e\u0301",
    "\U0001f600/\ue000",
    "..\n",
    "x" * 255,
    "é" * 127,
)
UNMAPPABLE = {
    "..": "`.` and `..` are not names of files",
    "../esc": "`.` and `..` are not names of files",
    "x/../../esc": "`.` and `..` are not names of files",
    "x/..": "`.` and `..` are not names of files",
    "../": "`.` and `..` are not names of files",
    ".": "`.` and `..` are not names of files",
    "./a": "`.` and `..` are not names of files",
    "a/./b": "`.` and `..` are not names of files",
    "/": "an empty part (`//` or a leading `/`) names no file",
    "/etc/passwd": "an empty part (`//` or a leading `/`) names no file",
    "a//b": "an empty part (`//` or a leading `/`) names no file",
    "a//": "an empty part (`//` or a leading `/`) names no file",
    "a\x00b": "a file name cannot hold NUL",
    "a/\ufffd": "the name is not valid UTF-8, so it cannot be distinguished from others",
    "\udcff": "the name is not valid UTF-8",
    "d/\ud800": "the name is not valid UTF-8",
    ".s32s": "`.s32s` and `.s32s-tmp.*` are the agent's own names",
    ".s32s/": "`.s32s` and `.s32s-tmp.*` are the agent's own names",
    ".s32s/trash/x": "`.s32s` and `.s32s-tmp.*` are the agent's own names",
    ".s32s-tmp.": "`.s32s` and `.s32s-tmp.*` are the agent's own names",
    "a/.s32s-tmp.0/b": "`.s32s` and `.s32s-tmp.*` are the agent's own names",
    "x" * 256: "a part of 256 bytes is more than the 255 of a file name",
    "é" * 128: "a part of 256 bytes is more than the 255 of a file name",
    "a/" + "x" * 256 + "/b": "a part of 256 bytes is more than the 255 of a file name",
    "x/" * 513: "1026 bytes are more than the 1024 of S3",
}


@pytest.mark.parametrize("key", HARMLESS)
def test_keys_that_a_file_can_have(key: str) -> None:
    """What a Linux file system can hold is taken as it is, strange or not."""

    assert keys.unmappable(key) is None


@pytest.mark.parametrize(("key", "reason"), UNMAPPABLE.items())
def test_no_key_escapes_or_aliases(key: str, reason: str) -> None:
    """A key that leaves the directory, or that means the same path as another, is refused with its reason."""

    assert keys.unmappable(key) == reason


def test_objections_end_where_a_name_is_no_text() -> None:
    """A name without UTF-8 has no parts whose bytes could be counted."""
    reasons = list(keys._objections("\x00\udcff//"))

    assert reasons == ["a file name cannot hold NUL", "the name is not valid UTF-8"]


def test_the_name_is_no_text() -> None:
    """Only a name whose bytes are no UTF-8 is told apart as one that stands for nothing that S3 knows."""

    assert keys.is_no_text("d/\udcff")
    assert not keys.is_no_text("d/\ufffd")


@given(st.text(st.sampled_from("a./\x00\ufffdé\n"), max_size=300))
def test_the_quick_test_never_accepts_what_the_slow_one_refuses(key: str) -> None:
    """Whatever is accepted has only parts that are names of files in the directory itself."""
    passed = keys.unmappable(key) is None
    parts = key.removesuffix("/").split("/")
    sound = all(part not in ("", ".", "..") for part in parts) or key == ""

    assert not passed or (sound and "\x00" not in key and "\ufffd" not in key)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("", []),
        ("a", []),
        ("a/", []),
        ("a/b", ["a/"]),
        ("a/b/", ["a/"]),
        ("a/b/c", ["a/", "a/b/"]),
    ],
)
def test_ancestors(key: str, expected: list[str]) -> None:
    """The directories above a key come outermost first, without the key itself."""

    assert list(keys.ancestors(key)) == expected


@pytest.mark.parametrize(
    ("key", "expected"),
    [("", ""), ("a", ""), ("a/", ""), ("a/b", "a/"), ("a/b/", "a/"), ("a/b/c", "a/b/")],
)
def test_parent(key: str, expected: str) -> None:
    """The parent of a top entry is the top."""

    assert keys.parent(key) == expected


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("tmp/*", ["tmp/", "tmp/a", "tmp/a/b"], ["tmp", "atmp/b", "tmpx"]),
        ("*.bmp", [".bmp", "a.bmp", "d/a.bmp", "a.bmp/"], ["a.bmpx", "bmp", "a.BMP"]),
        ("*__pycache__*", ["__pycache__/", "d/__pycache__/x"], ["__pycache_"]),
        ("a*b*c", ["abc", "a/b/c", "axbbc"], ["ac", "acb", "abcd"]),
        ("a*a", ["aa", "aba"], ["a"]),
        ("ab*ba", ["abba", "abxba"], ["aba"]),
        ("*", ["a", "a/", "a/b"], []),
        ("**", ["a", ""], []),
        ("d", ["d", "d/"], ["dx", "x/d"]),
        ("[a]?", ["[a]?"], ["ab", "a?"]),
        ("a\nb", ["a\nb"], ["ab"]),
    ],
)
def test_wildcards(pattern: str, matching: list[str], others: list[str]) -> None:
    """`*` stands for anything, slashes too; nothing else is special; a directory matches without its slash."""
    matches = keys.matcher([pattern])

    assert [key for key in (*matching, *others) if matches(key)] == matching


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("uploads", ["uploads", "uploads/", "uploads/x", "uploads/a/b"], ["uploads2/x", "a/uploads/x"]),
        ("uploads/", ["uploads/", "uploads/x", "uploads/a/b", "uploads/a/"], ["uploads", "uploads2/x"]),
        (".git", [".git", ".git/config", ".git/refs/heads/x"], [".gitignore", ".github/x", "a.git/x"]),
        ("a/.git/", ["a/.git/", "a/.git/config"], ["a/.git", "a/.gitx/config", ".git/config"]),
        ("*.old", ["x.old", "d/x.old/y/z", "x.old/"], ["x.older/y", "x.old2"]),
        ("*/cache/", ["a/cache/x", "a/b/cache/x/y"], ["cache/x", "a/cache", "a/cachex/y"]),
        ("a*/b", ["a/b/c", "ax/y/b/c"], ["a/bc", "ab/c"]),
    ],
)  # fmt: skip
def test_uploads_of_visitors_below_a_directory_that_a_pattern_names(
    pattern: str, matching: list[str], others: list[str]
) -> None:
    """A pattern that matches a directory, with or without a slash at its end, covers everything below it."""
    matches = keys.matcher([pattern])

    assert [key for key in (*matching, *others) if matches(key)] == matching


def of_s32server(pattern: str, key: str) -> bool:
    """Return whether S32Server ignored a path: a `*` counted at the ends of a pattern only."""
    core = pattern[pattern.startswith("*") : len(pattern) - (pattern.endswith("*"))]
    if pattern.startswith("*") and pattern.endswith("*"):
        return core in key
    if pattern.startswith("*"):
        return key.endswith(core)
    return key.startswith(core) if pattern.endswith("*") else key == pattern


def wildcard(pattern: str, text: str) -> bool:
    """Return whether a pattern matches the whole of a text, nothing below it."""
    anything = ".*".join(re.escape(part) for part in pattern.split("*"))
    return re.fullmatch(anything, text, re.DOTALL) is not None


PATTERNS = st.text(st.sampled_from("ab*/."), min_size=1, max_size=8)
KEYS = st.text(st.sampled_from("ab*/."), max_size=10)


@given(PATTERNS, KEYS)
@example("uploads", "uploads/a")
@example("*a", "aa/a")
def test_what_a_map_of_s32server_protected_is_protected(pattern: str, key: str) -> None:
    """Every path that a pattern matched before it covered directories, there or here, is still covered."""
    was_matched = of_s32server(pattern, key) or any(
        wildcard(pattern, spelling) for spelling in (key, key.removesuffix("/"))
    )

    assert keys.matcher([pattern])(key) or not was_matched


@given(PATTERNS, KEYS)
def test_a_pattern_covers_what_it_matches_and_what_is_below(pattern: str, key: str) -> None:
    """That, and nothing else."""
    directories = [key[:end] for end in range(1, len(key)) if key[end - 1] == "/"]
    spellings = [
        each for path in (*directories, key) for each in (path, path.removesuffix("/"))
    ]

    expected = any(wildcard(pattern, each) for each in spellings)
    assert keys.matcher([pattern])(key) == expected


def test_no_pattern_ignores_nothing() -> None:
    """Without patterns nothing matches, and one of several is enough."""

    assert not keys.matcher([])("")
    assert keys.matcher(["a", "b"])("b")


def test_a_hostile_pattern_does_not_hang_the_agent() -> None:
    """A pattern from a bucket ends soon, on which a matcher that backtracks would work for a century."""
    started = time.process_time()
    matched = [
        keys.matcher([each])("a" * 1000) for each in ("*a" * 400 + "*b", "*" + "a" * 500 + "/")
    ]

    assert matched == [False, False]
    assert time.process_time() - started < 1
