"""The index: whatever becomes of its file, no run decides wrongly because of it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from support.disks import or_skip, small_tmpfs

from s32s_agent.errors import DirectoryError
from s32s_agent.model import IndexRow, Stamp
from s32s_agent.state.index import KEPT_DAYS, Index

STAMP = Stamp(5, 1_700_000_000_123_456_789, 1_700_000_000_987_654_321, 42)
ROWS = [IndexRow("a", "e1", STAMP), IndexRow("b/c", "e2", STAMP._replace(inode=43))]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "index.db"


@contextmanager
def opened(path: Path, *, read_only: bool = False) -> Iterator[Index]:
    with closing(Index(path, read_only=read_only)) as index:
        yield index


def fill(path: Path, rows: list[IndexRow] = ROWS, identity: str = "m") -> None:
    with opened(path) as index:
        index.of_mapping(identity).remember(rows)


def rows_of(path: Path, identity: str = "m", *, read_only: bool = False) -> list[IndexRow]:
    with opened(path, read_only=read_only) as index:
        return list(index.of_mapping(identity).rows())


def test_it_remembers_over_passes(path: Path) -> None:
    """What one run remembers, with every nanosecond, the next one reads."""
    fill(path)

    assert rows_of(path) == ROWS
    assert path.stat().st_mode & 0o777 == 0o600


def test_remembering_again_replaces(path: Path) -> None:
    """A key has one row, the last."""
    fill(path)
    newer = IndexRow("a", "e9", STAMP._replace(size=9))
    fill(path, [newer])

    assert rows_of(path) == [newer, ROWS[1]]


def test_forgetting(path: Path) -> None:
    """Forgotten keys are not there any more, and unknown keys are no error."""
    fill(path)
    with opened(path) as index:
        index.of_mapping("m").forget(["a", "unknown"])

    assert rows_of(path) == ROWS[1:]


def test_rows_come_in_the_order_of_code_points(path: Path) -> None:
    """The rows pair up with a walk: astral characters follow U+E000, as UTF-8 sorts and UTF-16 does not."""
    names = [
        "a-b",
        "a/b",
        "a.b",
        "a0",
        "A",
        "é",
        "\U00010000",
        "\ue000",
        "\uffff",
        "z",
        " ",
        "\x01",
    ]
    fill(path, [IndexRow(name, "e", STAMP) for name in names])

    assert [row.key for row in rows_of(path)] == sorted(names)


def test_a_mapping_that_moved_knows_nothing_of_its_old_place(path: Path) -> None:
    """Rows belong to one endpoint, prefix and directory: another identity begins with none."""
    fill(path, identity="https://s3\nbucket/p\n/srv/a")
    fill(path, ROWS[:1], identity="https://s3\nbucket/p\n/srv/b")
    with opened(path) as index:
        index.of_mapping("https://s3\nbucket/p\n/srv/b").forget(["a"])

    assert rows_of(path, "https://s3\nbucket/p\n/srv/a") == ROWS
    assert rows_of(path, "https://s3\nbucket/p\n/srv/b") == []
    assert rows_of(path, "https://s3\nbucket/q\n/srv/a") == []


def test_a_lost_index_is_replaced_by_a_new_one(path: Path) -> None:
    """A missing file is an empty index, and nothing is wrong with it."""
    with opened(path) as index:
        assert list(index.of_mapping("m").rows()) == []
        assert index.damaged == ""


def test_an_empty_file_becomes_an_index(path: Path) -> None:
    """A file that was only created, as a crash leaves it, is an empty index."""
    path.touch()
    fill(path)

    assert rows_of(path) == ROWS


def garbage(path: Path) -> None:
    path.write_bytes(b"no database at all" * 1000)


def torn(path: Path) -> None:
    fill(path, [IndexRow(f"k{number}", "e", STAMP) for number in range(5000)])
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def flipped(path: Path) -> None:
    fill(path, [IndexRow(f"k{number}", "e", STAMP) for number in range(5000)])
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        stream.write(os.urandom(20_000))


def of_somebody_else(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE entry (mapping, key)")
        connection.commit()


def of_another_version(path: Path) -> None:
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 5")


Damage = Callable[[Path], None]
DAMAGE: list[Damage] = [garbage, torn, flipped, of_somebody_else, of_another_version]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_costs_time_and_never_a_file(damage: Damage, path: Path) -> None:
    """A file that is no index of this version is renamed and reported, and a new index begins."""
    damage(path)
    before = path.read_bytes()
    with opened(path) as index:
        assert index.damaged
        assert list(index.of_mapping("m").rows()) == []
        index.of_mapping("m").remember(ROWS)

    assert rows_of(path) == ROWS
    assert Path(f"{path}.damaged").read_bytes()[4096:] == before[4096:]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_dry_run_repairs_nothing(damage: Damage, path: Path) -> None:
    """Read only, a damaged index is an empty one, and its file stays as it is."""
    damage(path)
    before, names = path.read_bytes(), set(path.parent.iterdir())
    with opened(path, read_only=True) as index:
        assert index.damaged
        assert list(index.of_mapping("m").rows()) == []

    assert path.read_bytes() == before
    assert set(path.parent.iterdir()) == names


def test_a_dry_run_writes_nothing(path: Path) -> None:
    """Read only, the index answers, and does not keep what it is given."""
    fill(path)
    before = path.read_bytes()
    with opened(path, read_only=True) as index:
        part, other = index.of_mapping("m"), index.of_mapping("unknown")
        part.remember([IndexRow("new", "e", STAMP)])
        part.forget(["a"])
        part.note_unordered()
        other.remember(ROWS)

        assert list(part.rows()) == ROWS
        assert list(other.rows()) == []
        assert not part.unordered
        assert not other.unordered
        assert index.damaged == ""

    assert path.read_bytes() == before


def test_a_dry_run_without_an_index_makes_none(path: Path) -> None:
    """Read only, a missing file is an empty index and stays missing."""
    with opened(path, read_only=True) as index:
        assert list(index.of_mapping("m").rows()) == []
        assert index.damaged == ""

    assert not path.exists()


def test_a_store_without_order_is_remembered(path: Path) -> None:
    """That a store lists without order is known to the next run, for that mapping alone."""
    with opened(path) as index:
        assert not index.of_mapping("m").unordered
        index.of_mapping("m").note_unordered()

    with opened(path) as index:
        assert index.of_mapping("m").unordered
        assert not index.of_mapping("n").unordered


def test_boundaries_and_mounts_are_remembered_unless_they_are_damaged(path: Path) -> None:
    """Each mapping has its own; a damaged value counts as none, and is no error."""
    with opened(path) as index:
        assert (index.of_mapping("m").boundaries, index.of_mapping("m").mounts) == ((), ())
        index.of_mapping("m").note_boundaries(["a", "é/"])
        index.of_mapping("m").note_mounts(["disk/"])
        index.of_mapping("n").note_boundaries(["b"])

    with opened(path) as index:
        part = index.of_mapping("m")
        assert (part.boundaries, part.mounts) == (("a", "é/"), ("disk/",))

    for damage in ("[", "[" * 99_999, '["a", 1]', '[""]', '{"a": 1}', b"[\xff]", 7):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE mapping SET seams = ?1, mounts = ?1", [damage])
            connection.commit()
        with opened(path) as index:
            part = index.of_mapping("m")
            assert (part.boundaries, part.mounts) == ((), ()), damage


def test_all_rows_or_none(path: Path) -> None:
    """A batch that fails half way leaves nothing of itself."""

    def failing() -> Iterator[IndexRow]:
        yield ROWS[0]
        yield IndexRow("b", None, STAMP)  # type: ignore[arg-type]

    with opened(path) as index:
        part = index.of_mapping("m")
        with pytest.raises(DirectoryError, match="index: NOT NULL"):
            part.remember(failing())
        part.remember(ROWS[1:])

    assert rows_of(path) == ROWS[1:]


def test_a_batch_whose_rows_cannot_be_made_leaves_no_transaction_open(path: Path) -> None:
    """An exception of the caller's own is raised, and the index can still be used."""

    def failing() -> Iterator[IndexRow]:
        yield ROWS[0]
        raise KeyError

    with opened(path) as index:
        part = index.of_mapping("m")
        with pytest.raises(KeyError):
            part.remember(failing())
        part.remember(ROWS[1:])

    assert rows_of(path) == ROWS[1:]


def test_a_missing_state_directory_is_no_bug(tmp_path: Path) -> None:
    """A place that cannot be written is named, with status 73."""
    with pytest.raises(DirectoryError, match=r'absent/index\.db": No such file') as caught:
        Index(tmp_path / "absent" / "index.db")

    assert caught.value.exit_status == 73


def test_the_index_never_follows_a_planted_link(path: Path, tmp_path: Path) -> None:
    """A symbolic link in the index's place is refused, and what it leads to is not written."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    path.symlink_to(victim)

    with pytest.raises(DirectoryError):
        Index(path)

    assert victim.read_bytes() == b""


def test_a_directory_in_its_place(path: Path) -> None:
    """A directory of that name is no index, and stays."""
    path.mkdir()

    with pytest.raises(DirectoryError):
        Index(path)

    assert path.is_dir()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KiB of its own."""
    with or_skip(), small_tmpfs(tmp_path / "disk", "size=256k") as place:
        yield place


def test_a_full_disk_is_no_damage(small_disk: Path) -> None:
    """When a batch does not fit it fails as a whole with status 73, and the old rows stay."""
    path = small_disk / "index.db"
    fill(path)
    names = (f"{number:09}" * 9 for number in range(10_000))
    many = (IndexRow(name, "e" * 32, STAMP) for name in names)
    with opened(path) as index, pytest.raises(DirectoryError, match="full"):
        index.of_mapping("m").remember(many)

    with opened(path) as index:
        assert index.damaged == ""
        assert list(index.of_mapping("m").rows()) == ROWS


def test_a_read_only_disk_is_no_damage(small_disk: Path) -> None:
    """An index that cannot be written is an error with status 73, not a reason to begin a new index."""
    path = small_disk / "index.db"
    fill(path)
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)

    with pytest.raises(DirectoryError, match="Read-only"):
        Index(path)
    assert rows_of(path, read_only=True) == ROWS


def test_a_full_disk_stops_a_new_mapping_too(small_disk: Path) -> None:
    """A mapping that cannot be entered in the index is an error with status 73, not a bug."""
    path = small_disk / "index.db"
    fill(path)
    with opened(path) as index:
        fill_up(small_disk)

        with pytest.raises(DirectoryError, match=r"index: .*full"):
            index.of_mapping("long" * 5000)


def fill_up(disk: Path) -> None:
    """Leave no room on a file system."""
    with (disk / "filler").open("wb", 0) as stream, contextlib.suppress(OSError):
        while True:
            stream.write(bytes(4096))


def test_a_dry_run_keeps_no_real_run_waiting(tmp_path: Path) -> None:
    """Somebody who reads the index holds no lock while he walks its rows."""
    path = tmp_path / "index.db"
    with contextlib.closing(Index(path)) as index:
        mine = index.of_mapping("m")
        mine.remember([IndexRow(f"k{each}", "e", Stamp(1, 2, 3, 4)) for each in range(5000)])
        with contextlib.closing(Index(path, read_only=True)) as other:
            rows = iter(other.of_mapping("m").rows())
            next(rows)
            mine.forget(["k1"])

            assert sum(1 for _ in rows) == 4999
            assert sum(1 for _ in mine.rows()) == 4999


def test_a_name_that_is_no_text_is_no_row_and_no_error(tmp_path: Path) -> None:
    """A local name that no key can be was never remembered, so there is nothing to forget."""
    with contextlib.closing(Index(tmp_path / "index.db")) as index:
        mine = index.of_mapping("m")
        mine.remember([IndexRow("a", "e", Stamp(1, 2, 3, 4))])
        mine.forget(["\udcff", "a"])

        assert list(mine.rows()) == []


DAY = 86_400.0
NOW = 1_800_000_000.0


def run_on(path: Path, day: int, *identities: str) -> None:
    """Have a run name these mappings, so many days from now."""
    with closing(Index(path, now=NOW + day * DAY)) as index:
        for identity in identities:
            index.of_mapping(identity).remember(ROWS)


def counted(path: Path) -> tuple[list[str], int]:
    with closing(sqlite3.connect(path)) as connection:
        names = connection.execute("SELECT identity FROM mapping ORDER BY identity").fetchall()
        (rows,) = connection.execute("SELECT count(*) FROM entry").fetchone()
    return [name for (name,) in names], rows


def test_the_prefixes_of_old_releases_are_forgotten_after_a_month(path: Path) -> None:
    """Each release has a prefix of its own; all of them were read at the start of every run, for ever."""
    run_on(path, 0, "release-1", "site")
    run_on(path, 1, "release-2", "site")
    run_on(path, KEPT_DAYS, "release-3", "site")
    assert counted(path) == (["release-1", "release-2", "release-3", "site"], 8)

    run_on(path, KEPT_DAYS + 1, "release-3", "site")
    assert counted(path) == (["release-2", "release-3", "site"], 6)
    run_on(path, KEPT_DAYS + 2, "release-3", "site")
    assert counted(path) == (["release-3", "site"], 4)


def test_a_clock_that_jumps_forgets_no_mapping_of_this_run(path: Path) -> None:
    """What the run names has the day of the run, whatever day that is; a dry run forgets nothing."""
    run_on(path, 0, "site")
    with closing(Index(path, read_only=True, now=NOW + 9999 * DAY)) as index:
        index.of_mapping("site")
    assert counted(path) == (["site"], 2)
    run_on(path, 9999, "site")
    run_on(path, -9999, "site")

    assert counted(path) == (["site"], 2)


def test_an_index_of_the_version_before_costs_no_hashing(path: Path) -> None:
    """It gets the dates that it lacks, and its rows count; a dry run reads it without that."""
    fill(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "ALTER TABLE mapping DROP COLUMN named; PRAGMA user_version = 3;"
        )
    before = path.read_bytes()

    assert rows_of(path, read_only=True) == ROWS
    assert path.read_bytes() == before
    with opened(path) as index:
        assert (index.damaged, list(index.of_mapping("m").rows())) == ("", ROWS)


def test_what_the_version_before_knew_is_forgotten_too_when_no_map_names_it(
    path: Path,
) -> None:
    """It has no dates: the month begins with the first run of this version."""
    run_on(path, 0, "release-1", "site")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "ALTER TABLE mapping DROP COLUMN named; PRAGMA user_version = 3;"
        )

    run_on(path, 1, "site")
    run_on(path, 1 + KEPT_DAYS, "site")
    assert counted(path) == (["release-1", "site"], 4)
    run_on(path, 2 + KEPT_DAYS, "site")
    assert counted(path) == (["site"], 2)
