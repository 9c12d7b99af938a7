"""Keys that would lead out, collide, or name no file: none is requested or written, and the rest is mirrored.

The scripted server can hold any key, and records the requests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.hosts import PREFIX
from support.invariants import check_after, check_recovery, state_before_run, versions_of
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import canary, snapshot, write

pytestmark = pytest.mark.hostile

PARTIAL, REFUSED, DATAERR, CANNOT_CREATE = 1, 3, 65, 73

LEADING_OUT = (
    "..",
    "../up",
    "../../up",
    "../site/a",
    "../site-evil/x",
    "a/../../up",
    "d/..",
    "d/../up",
    "d/d/../../../up",
    "../",
    "d/../",
    ".",
    "./x",
    "d/.",
    "d/./x",
    "./",
)
EMPTY_PARTS = ("/abs", "//abs", "/etc/passwd", "d//x", "d//", "/", "d/x//", "///")
NO_NAMES = (
    "nul\0",
    "d\0/x",
    "\0",
    "n" * 256,
    "d/" + "n" * 256 + "/x",
    "\u00e9" * 128,
    "\U0001f600" * 64,
)
OUR_OWN = (
    ".s32s",
    ".s32s/x",
    ".s32s/trash/20260101T000000Z-abcdef/x",
    ".s32s-tmp.0123456789abcdef",
    "d/.s32s-tmp.x",
    ".s32s-tmp.d/x",
)
OF_THE_FILE_SYSTEM = ("lost+found/x", ".nfs000000000123456700000001", "d/.nfs00000000deadbeef")
UNREADABLE = ("d/\ufffd", "\ufffd")
HOSTILE = (*LEADING_OUT, *EMPTY_PARTS, *NO_NAMES, *OUR_OWN, *OF_THE_FILE_SYSTEM)

HARMLESS = (
    "...",
    "..../x",
    ".. ",
    " ..",
    "..\\..\\up",
    "\\",
    "c:\\windows\\x",
    "%2e%2e/up",
    "..%2fup",
    "%00",
    "\uff0e\uff0e/up",
    "~/x",
    "$HOME/x",
    "-rf",
    "--",
    "*",
    "d/.s32s/x",
    ".s32s-tmp",
    ".s32sx",
    ".nfs",
    "d/lost+found/x",
    "line\nfeed",
    "carriage\rreturn",
    "tab\t",
    "\x01\x02\x1b[31mred\x1b[0m",
    "\x7f",
    "\x80\x9b",
    "\u202egnp.exe",
    "\u2028\u2029",
    "\u200b",
    "n" * 255,
    "\u00e9" * 127,
    "\U0001f600" * 63 + "abc",
    "Case",
    "case",
    "CASE",
    "\u00e9 composed",
    "e\u0301 decomposed",
    "K sign",
    "\u212a sign",
    "con",
    "aux.txt",
    "trailing.",
    "trailing ",
    "[a]?*<>|\"'",
)


def asked_for(scripted: ScriptedS3) -> set[str]:
    """Return the keys of all requests, below the prefix or anywhere; "" for a listing."""
    assert {request.bucket for request in scripted.requests} == {scripted.bucket}
    return {request.key for request in scripted.requests}


def every_file(directory: Path) -> dict[str, bytes | None]:
    """Read all files, also those with names of the agent's own files."""
    files = (Path(top, name) for top, _, names in os.walk(directory) for name in names)
    return {str(each.relative_to(directory)): each.read_bytes() for each in files}


@pytest.fixture
def outside(scripted_slave: Slave, tmp_path: Path) -> list[Path]:
    """Files and trees to which names could lead."""
    tree, root = scripted_slave.root / "site-evil", scripted_slave.root
    write(tree, {"x": b"precious", "abs": b"precious"})
    # Files, since one that is to be written in the place of a directory would only fail.
    files = [tmp_path / "up", root / "up"]
    for file in files:
        file.write_bytes(b"precious")
    return [tree, *files]


def test_no_invalid_name_is_requested_or_leads_out(
    scripted_slave: Slave, scripted: ScriptedS3, outside: list[Path]
) -> None:
    """Every name that no file can have is reported once; all others become files of exactly their names."""
    slave, good = scripted_slave, {key: key.encode() for key in HARMLESS}
    slave.publish(good)
    slave.publish(dict.fromkeys(HOSTILE, b"evil"))
    before = state_before_run(slave.target, slave.agent.state_dir, outside)
    around = set(slave.root.iterdir()) | {slave.target}

    run = slave.once()

    assert run.exit_code == PARTIAL
    assert len(run.named("entry.skipped")) == len(HOSTILE)
    assert set(slave.root.iterdir()) == around
    assert not Path("/abs").exists()
    assert check_after(before, versions_of(good), run) == []
    assert every_file(slave.target) == good
    asked = {"", "maps/site.json", *(f"{PREFIX}/{key}" for key in good)}
    assert asked_for(scripted) == asked
    again = slave.once()
    assert (again.exit_code, again.finished["copied"], again.finished["deleted"]) == (1, 0, 0)
    for key in HOSTILE:
        del scripted.objects[f"{PREFIX}/{key}"]
    left = check_recovery(
        slave.once, lambda: every_file(slave.target), dict(good), slave.temporaries
    )
    assert left == []


def files_of(slave: Slave) -> dict[str, bytes | None]:
    return {key: data for key, data in slave.tree().items() if data is not None}


@pytest.mark.parametrize("key", UNREADABLE)
def test_a_name_with_a_replacement_character_deletes_no_similar_file(
    scripted_slave: Slave, scripted: ScriptedS3, key: str
) -> None:
    """A name that was listed with U+FFFD may be that of any file beside it: all stay, with status 3."""
    slave = scripted_slave
    slave.publish({"d/kept": b"kept", "kept": b"kept", "same": b"same"})
    assert slave.once().exit_code == 0
    beside = "d/kept" if key.startswith("d/") else "kept"
    del scripted.objects[f"{PREFIX}/{beside}"]
    slave.publish({key: b"mangled"})

    run = slave.once()

    assert files_of(slave)[beside] == b"kept"
    assert run.exit_code in {PARTIAL, REFUSED}
    assert len(run.named("deletes.withheld")) == 1


def test_names_in_the_log_cannot_control_a_terminal(scripted_slave: Slave) -> None:
    """Control characters, ESC and bidirectional overrides are escaped in every format, also of skipped names."""
    slave = scripted_slave
    evil = "\x1b]0;owned\x07\x9b\u202e\r"
    slave.publish({f"good{evil}": b"good", f"../bad{evil}": b"bad", "x": b"x"})

    texts = [slave.once().stderr]
    for form in ("console", "logfmt", "json", "journal"):
        slave.publish({f"good{evil}": form.encode()})
        run = slave.agent.run("--once", "--log-format", form)
        texts.append(run.stderr + slave.agent.run("--status").stdout)

    for text in texts:
        assert "good" in text
        assert not {"\x1b", "\x07", "\x9b", "\u202e", "\r"} & set(text)


def test_a_name_that_is_file_and_directory_keeps_the_local_files(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """`a` and `a/b`, however deep, are both skipped in either order, and no local file is deleted."""
    slave = scripted_slave
    slave.publish({"a": b"file", "c/d/e": b"deep", "z": b"z"})
    assert slave.once().exit_code == 0
    slave.publish({"a/b": b"below", "c/d": b"file", "c": b"file", "z": b"zz"})

    run = slave.once()

    assert run.exit_code in {PARTIAL, REFUSED}
    assert files_of(slave) == {"a": b"file", "c/d/e": b"deep", "z": b"zz"}
    assert {each["key"] for each in run.named("entry.skipped")} >= {"a", "a/b", "c", "c/d"}
    del scripted.objects[f"{PREFIX}/a"], scripted.objects[f"{PREFIX}/c/d/e"]
    del scripted.objects[f"{PREFIX}/c"]
    wanted = {"a/b": b"below", "c/d": b"file", "z": b"zz"}
    assert check_recovery(slave.once, lambda: files_of(slave), wanted) == []


def test_a_path_longer_than_path_max_is_mirrored(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """Keys of 1,024 bytes below a directory with a long path."""
    slave = scripted_slave
    room = 1024 - len(f"{PREFIX}/")
    longest = "/".join(["d" * 254] * 4)[:room].rstrip("/")
    deepest = "d/" * ((room - 1) // 2) + "d"
    place = slave.root
    while len(str(place)) < 3400:
        place /= "p" * 200
    place.mkdir(parents=True)
    slave.publish_map(slave.mapping(slave=str(place / "site")))
    files = {longest: b"long", deepest: b"deep"}
    slave.publish(files)
    assert max(len(f"{PREFIX}/{key}".encode()) for key in files) >= 1023

    first, second = slave.once(), slave.once()

    assert (first.exit_code, second.exit_code) == (0, 0)
    assert (first.finished["copied"], second.finished["copied"]) == (2, 0)
    for key in files:
        del scripted.objects[f"{PREFIX}/{key}"]
    slave.publish({"x": b"x"})
    last = slave.once("--allow-deletes")
    assert (last.exit_code, last.finished["deleted"]) == (0, 2 + 3 + deepest.count("/"))


def put_link_far_down(top: Path, parts: Sequence[str], leads_to: Path) -> None:
    """Create nested directories, and `link` in the last one, though no single call accepts so long a path."""
    fd = os.open(top, os.O_RDONLY)
    for part in parts:
        os.mkdir(part, dir_fd=fd)
        above, fd = fd, os.open(part, os.O_RDONLY, dir_fd=fd)
        os.close(above)
    os.symlink(leads_to, "link", dir_fd=fd)
    os.close(fd)


@pytest.mark.parametrize(
    ("place", "code"),
    [("link/{far}/sub", DATAERR), ("{far}/link/sub", CANNOT_CREATE)],
    ids=["link near the top", "link far down"],
)
def test_a_map_with_a_path_longer_than_path_max_leads_nowhere(
    scripted_slave: Slave, tmp_path: Path, place: str, code: int
) -> None:
    """The directory of a map is longer than PATH_MAX, through a link that leads out: the mapping fails."""
    slave, outside, parts = scripted_slave, tmp_path / "outside", ["d" * 250] * 17
    write(outside, {"precious": b"precious", "sub/precious": b"precious"})
    (slave.root / "link").symlink_to(outside)
    put_link_far_down(slave.root, parts, outside)
    below = place.format(far="/".join(parts))
    evil = slave.mapping("evil", slave=f"{slave.root}/{below}")
    slave.publish_map(slave.mapping(), evil)
    slave.publish({"x": b"x"})
    before = canary(outside)
    assert len(evil["slave"]) > os.pathconf("/", "PC_PATH_MAX")

    run = slave.once()

    (failed,) = run.named("mapping.failed")
    assert (failed["mapping"], run.exit_code) == ("evil", code)
    assert (canary(outside), files_of(slave)) == (before, {"x": b"x"})


def test_a_key_longer_than_s3_allows_is_reported(scripted_slave: Slave) -> None:
    """A key of more than 1,024 bytes is skipped, and the rest is mirrored."""
    slave = scripted_slave
    slave.publish({"d/" * 600 + "x": b"x", "good": b"good"})

    run = slave.once()

    assert (run.exit_code, files_of(slave)) == (PARTIAL, {"good": b"good"})


def test_a_marker_with_bytes_is_no_file(scripted_slave: Slave) -> None:
    """An object `d/` with bytes is reported, not written under another name; empty ones are directories."""
    slave = scripted_slave
    slave.publish({"full/": b"bytes", "empty/": b"", "x": b"x"})

    run = slave.once()

    assert run.exit_code == PARTIAL
    assert {k: v for k, v in slave.tree().items() if v is not None} == {"x": b"x"}
    assert (slave.target / "empty").is_dir()


PLACES = {
    "parent": "{root}/../outside",
    "outside": "{outside}",
    "system": "/etc",
    "top": "/",
    "proc": "/proc/self/cwd",
    "home": "/root",
    "tilde": "~/x",
    "variable": "$HOME/x",
    "relative": "srv/site",
    "empty": "",
    "dot": ".",
    "link": "{root}/link",
    "behind a link": "{root}/link/sub",
    "state": "{state}",
    "in the state": "{state}/maps",
    "above the state": "{state}/..",
    "nul": "{root}/x\0/etc",
    "file": "{root}/file",
    "below a file": "{root}/file/x",
    "no parent": "{root}/no/parent",
    "double slash": "//etc",
    "dots": "{root}/./../../../../../../etc",
}


def test_a_map_that_names_a_forbidden_directory_changes_nothing(
    scripted_slave: Slave, scripted: ScriptedS3, tmp_path: Path
) -> None:
    """Every directory that a map must not name is refused alone, with a reason; nothing is created or changed."""
    slave, outside = scripted_slave, tmp_path / "outside"
    write(outside, {"precious": b"precious", "sub/precious": b"precious"})
    (slave.root / "link").symlink_to(outside)
    (slave.root / "file").write_bytes(b"a file")
    slave.publish({"x": b"older"})
    assert slave.once().exit_code == 0
    names = {"root": slave.root, "outside": outside, "state": slave.agent.state_dir}
    mappings = [
        slave.mapping(name, slave=place.format(**names)) for name, place in PLACES.items()
    ]
    slave.agent.configure(
        maps=f"{slave.bucket}/maps/site.json",
        roots=[slave.root, slave.agent.state_dir.parent],
        s3={"endpoint_url": scripted.endpoint_url},
    )
    slave.publish({"x": b"x"})
    slave.put("maps/site.json", json.dumps([slave.mapping(), *mappings]).encode())
    before = state_before_run(slave.target, slave.agent.state_dir, [outside])

    run = slave.once()

    failed = {each["mapping"]: each for each in run.named("mapping.failed")}
    assert failed.keys() == PLACES.keys()
    assert check_after(before, versions_of({"x": b"x"}), run) == []
    assert snapshot(slave.root) == {
        "file": b"a file",
        "link": b"-> " + str(outside).encode(),
        "site": None,
        "site/x": b"x",
    }
