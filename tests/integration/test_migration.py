"""Coming from S32Server: its maps work, `--check` points out what meant something else there. On a real server."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.pages import PAGES
from support.slaves import Slave
from support.trees import snapshot

PAGE = PAGES["docs/understand/migrating-from-s32server.md"]
pytestmark = pytest.mark.integration


def check(slave: Slave, *arguments: str) -> tuple[int, list[str]]:
    run = slave.agent.run("--check", *arguments, "--log-format", "json")
    notes = [line for line in run.stdout.splitlines() if line.startswith("note")]
    return run.exit_code, notes


@pytest.mark.parametrize("beside", ["data2/x", "data-old/x", "data.txt"])
def test_check_names_what_is_beside_a_prefix(slave: Slave, beside: str) -> None:
    """S32Server took in `data2/...` with `data`; whether it sorts before or behind, it is pointed out."""
    slave.publish({"a": b"alpha", "b": b"beta"})
    slave.put(beside, b"x")

    code, notes = check(slave)

    assert code == 0
    assert notes == [
        f'note    mapping "site": "{slave.bucket}/{beside}" is beside the prefix, so not mirrored; S32Server did'
    ]


def test_check_names_a_star_that_means_more_now(slave: Slave) -> None:
    """A star inside a pattern was literal; those at its ends are what they were."""
    slave.publish({"a": b"alpha"})
    slave.publish_map(slave.mapping(ignore=["*.bmp", "tmp*", "*cache*", "a*b", "c*d"]))

    code, notes = check(slave)

    assert code == 0
    assert notes == [
        'note    mapping "site": ignore "a*b": the * inside stands for any characters; S32Server took it literally'
    ]


def test_the_notes_in_the_readme_are_what_is_printed(slave: Slave) -> None:
    """Who reads the sample there meets the same words."""
    slave.publish({"index.html": b"hi"}, "backup/dir1")
    slave.put("backup/dir10/other", b"x")
    slave.publish_map(slave.mapping("PROJECT 1", s3="backup/dir1", ignore=["a*b"]))

    code, notes = check(slave)

    told = [line for line in PAGE.splitlines() if line.startswith("note  ")]
    assert code == 0
    assert [note.replace(slave.bucket, "bucketname") for note in notes] == told


def test_check_says_nothing_where_nothing_differs(slave: Slave) -> None:
    """No note without a difference, also below a prefix that a listing writes in another way."""
    slave.publish({"a": b"alpha"}, "my däta+1 %20")
    slave.publish_map(slave.mapping(s3="my däta+1 %20"))

    assert check(slave) == (0, [])


def test_a_map_of_s32server_keeps_other_files(slave: Slave) -> None:
    """A mapping with `files`, as it was written for S32Server, takes these and leaves what else is there."""
    slave.publish({"filename_1": b"1", "other": b"2"})
    slave.publish_map(
        slave.mapping("PROJECT 2", master="c:/path/dir/master/2", files=["filename_1"])
    )
    (slave.root / "PROJECT 2").mkdir()
    (slave.root / "PROJECT 2" / "mine").write_bytes(b"mine")

    assert slave.once().exit_code == 0
    assert snapshot(slave.root / "PROJECT 2") == {"filename_1": b"1", "mine": b"mine"}


@pytest.mark.parametrize("mode", ["--check", "--once", "--status"])
def test_its_settings_are_refused_with_a_way_out(
    slave: Slave, tmp_path: Path, mode: str
) -> None:
    """`s32s.ini` is no config here; the message says what to write instead, and nothing is touched."""
    settings = tmp_path / "s32s.ini"
    settings.write_text("[section]\nkey = value\n", encoding="utf-8")
    run = slave.agent.run(mode, "--config", str(settings), "--log-format", "console")

    assert run.exit_code == 78
    assert "s32s.ini: is an INI file, expected YAML with role, maps and roots" in run.stderr
    assert "etc/config.yaml" in run.stderr
    assert not slave.agent.state_dir.exists()
