"""What the hooks have not heard of yet: kept whole, added up, and never mixed up between mappings."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from s32s_agent.errors import DirectoryError
from s32s_agent.state.pending import Change, Pending, local_path


@pytest.fixture
def pending(tmp_path: Path) -> Pending:
    return Pending(tmp_path / "pending")


def test_nothing_is_pending_at_first(pending: Pending) -> None:
    """Without a directory there is nothing, and none is made by asking."""
    assert (pending.changes(), pending.paths("site")) == ((), ())
    assert not pending._directory.exists()


@pytest.mark.parametrize("name", ["site", "a/b", "x" * 200, "\u65e5\u672c", ".."])
def test_what_is_kept_is_found(pending: Pending, name: str) -> None:
    """Any name of a mapping and any bytes of a path come back, each path once."""
    paths = (b"/srv/a", b"/srv/new\nline", b"/srv/\xff", b"/srv/a")
    pending.keep(name, paths)

    assert pending.paths(name) == paths[:3]
    assert Pending(pending._directory).changes() == (Change(name, paths[:3]),)


def test_mappings_are_apart(pending: Pending) -> None:
    """Each has its own; they come by name, and removing one leaves the other."""
    pending.keep("b", [b"/1"])
    pending.keep("a", [b"/2"])
    pending.keep("c", [b"/3"])
    pending.keep("c", [])

    assert [change.mapping for change in pending.changes()] == ["a", "b"]


def test_no_other_user_may_read_it(pending: Pending) -> None:
    """The names of files may be secrets."""
    pending.keep("a", [b"/2"])
    with pending.shown([b"/1", b"/2"]) as file:
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (file.parent, file)]

        assert file.read_bytes() == b"/1\0/2\0"
        assert modes == [0o700, 0o600]
    assert not file.exists()


def test_a_half_written_file_is_never_read(pending: Pending, tmp_path: Path) -> None:
    """A run that was killed while it wrote leaves what was pending before, and nothing else counts."""
    pending.keep("a", [b"/1"])
    (tmp_path / "pending" / ".s32s-tmp.x").write_bytes(b"a\0/half")
    (tmp_path / "pending" / "paths").write_bytes(b"/old\0")

    assert pending.changes() == (Change("a", (b"/1",)),)


def test_what_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    """Without a place to remember, the caller learns it before anything changes."""
    (tmp_path / "file").touch()
    pending = Pending(tmp_path / "file" / "pending")

    with pytest.raises(DirectoryError, match="cannot be written"):
        pending.keep("a", [b"/1"])


def test_what_cannot_be_read_is_an_error(pending: Pending, tmp_path: Path) -> None:
    """An unreadable file is no reason to forget."""
    pending.keep("a", [b"/1"])
    (file,) = (tmp_path / "pending").iterdir()
    file.unlink()
    file.mkdir()

    for ask in (pending.changes, lambda: pending.paths("a")):
        with pytest.raises(DirectoryError, match="cannot be read"):
            ask()


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("a/b", b"/srv/x/a/b"),
        ("dir/", b"/srv/x/dir"),
        ("\udcff", b"/srv/x/\xff"),
        # What no file can be called must not look like two paths.
        ("a\0/etc/passwd", b"/srv/x/"),
    ],
)
def test_the_path_of_a_key(key: str, path: bytes) -> None:
    """A path is what the file system has, in its bytes."""
    assert local_path("/srv/x", key) == path
    assert local_path("/srv/x/", key) == path
    assert os.fsdecode(path).startswith("/srv/x")
