"""What a slave makes of a bucket: the entries, pass after pass. On a real server."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from support.buckets import Bucket
from support.slaves import Slave
from support.trees import snapshot, write

FILES = {"a.txt": b"alpha", "img/x.png": b"\x89PNG", "img/deep/y.bin": b"\0" * 5000}
TREE = {**FILES, "img": None, "img/deep": None}


def whys(run_events: list[dict[str, str]]) -> dict[str, str]:
    """Give why each key was copied."""
    return {each["key"]: each["why"] for each in run_events}


def test_the_first_pass_copies_everything(slave: Slave) -> None:
    """A new directory holds what the prefix holds, and every byte was proven."""
    slave.publish(FILES)

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, TREE)
    assert whys(run.named("entry.copied")) == dict.fromkeys(FILES, "new")
    assert {each["verified"] for each in run.named("entry.copied")} == {"md5"}
    totals = {name: run.finished[name] for name in ("copied", "deleted", "bytes", "mappings")}
    size = sum(map(len, FILES.values()))
    assert totals == {"copied": 3, "deleted": 0, "bytes": size, "mappings": 1}
    assert not (slave.target / ".s32s").exists()


def test_the_second_pass_does_nothing(slave: Slave) -> None:
    """A directory that is in sync is left alone."""
    slave.publish(FILES)
    slave.once()
    before = slave.target.stat().st_mtime_ns

    run = slave.once()

    assert run.exit_code == 0
    assert (run.finished["copied"], run.finished["unchanged"]) == (0, 3)
    assert slave.target.stat().st_mtime_ns == before


def test_a_change_of_the_same_size_is_taken(slave: Slave) -> None:
    """Only the ETag tells, and it is enough; the agent's own old version is no trash."""
    slave.publish(FILES)
    slave.once()
    slave.publish({"a.txt": b"omega"})

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, {**TREE, "a.txt": b"omega"})
    assert whys(run.named("entry.copied")) == {"a.txt": "etag"}
    assert slave.trash() == {}


def test_a_change_of_size_is_taken(slave: Slave) -> None:
    """A longer version replaces a shorter one."""
    slave.publish(FILES)
    slave.once()
    slave.publish({"a.txt": b"alpha and more"})

    run = slave.once()

    assert (run.exit_code, slave.tree()["a.txt"]) == (0, b"alpha and more")
    assert whys(run.named("entry.copied")) == {"a.txt": "size"}


def test_a_local_edit_is_put_right_and_not_lost(slave: Slave) -> None:
    """An edit of the same size and mtime shows in the ctime; it goes to the trash, which is private."""
    slave.publish(FILES)
    slave.once()
    path = slave.target / "a.txt"
    times = path.stat()
    path.write_bytes(b"EDIT!")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, TREE)
    assert whys(run.named("entry.copied")) == {"a.txt": "local_changed"}
    assert slave.trash() == {"a.txt": b"EDIT!"}
    assert stat.S_IMODE((slave.target / ".s32s").stat().st_mode) == 0o700


def test_a_file_that_vanished_comes_back(slave: Slave) -> None:
    """A local deletion is a local edit."""
    slave.publish(FILES)
    slave.once()
    (slave.target / "a.txt").unlink()

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, TREE)
    assert whys(run.named("entry.copied")) == {"a.txt": "missing_locally"}


def test_a_file_that_was_there_first_is_not_lost(slave: Slave) -> None:
    """What the first pass overwrites or removes, it keeps in the trash; what is right already stays."""
    slave.publish(FILES)
    write(
        slave.target, {"a.txt": b"mine!", "own/notes.txt": b"notes", "img/x.png": b"\x89PNG"}
    )
    inode = (slave.target / "img/x.png").stat().st_ino

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, TREE)
    assert slave.trash() == {"a.txt": b"mine!", "own/notes.txt": b"notes"}
    assert (slave.target / "img/x.png").stat().st_ino == inode


def test_what_left_the_bucket_goes_to_the_trash(slave: Slave, bucket: Bucket) -> None:
    """A deletion is mirrored, with the directory that it empties, and can be undone."""
    slave.publish(FILES)
    slave.once()
    bucket.delete("data/img/deep/y.bin")

    run = slave.once()

    left = {key: data for key, data in TREE.items() if not key.startswith("img/deep")}
    assert (run.exit_code, slave.tree()) == (0, left)
    assert slave.trash() == {"img/deep/y.bin": FILES["img/deep/y.bin"]}
    deleted = [each["key"] for each in run.named("entry.deleted")]
    assert deleted == ["img/deep/y.bin", "img/deep/"]


def test_without_trash_days_nothing_is_kept(slave: Slave, bucket: Bucket) -> None:
    """`trash_days: 0` removes for good, deletions and edits alike."""
    slave.publish(FILES)
    slave.configure(sync={"trash_days": 0})
    slave.once()
    bucket.delete("data/img/x.png")
    (slave.target / "a.txt").write_bytes(b"edited")

    run = slave.once()

    left = {key: data for key, data in TREE.items() if key != "img/x.png"}
    assert (run.exit_code, slave.tree()) == (0, left)
    assert not (slave.target / ".s32s").exists()


def test_markers_are_directories_and_nothing_is_a_file_too(
    slave: Slave, bucket: Bucket
) -> None:
    """A marker makes an empty directory that stays; its own prefix's marker and empty objects do no harm."""
    slave.publish({"": b"", "empty/": b"", "kept/": b"", "kept/zero": b"", "a": b"a"})
    tree = {"empty": None, "kept": None, "kept/zero": b"", "a": b"a"}

    runs = [slave.once(), slave.once()]

    assert [run.exit_code for run in runs] == [0, 0]
    assert slave.tree() == tree
    assert runs[1].finished["copied"] == 0
    bucket.delete("data/empty/")
    assert slave.once().exit_code == 0
    assert slave.tree() == {key: data for key, data in tree.items() if key != "empty"}


def test_local_empty_directories_are_extras(slave: Slave) -> None:
    """After a pass the directory holds what the bucket says and nothing else."""
    slave.publish({"a": b"a"})
    (slave.target / "x/y/z").mkdir(parents=True)

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, {"a": b"a"})


def test_names_that_other_tools_trip_over(slave: Slave) -> None:
    """Keys with blanks, signs, other scripts and control characters are files of exactly these names."""
    names = [
        "with space",
        "+",
        "%",
        "&",
        "#",
        "?",
        "a+b%20c",
        "é",
        "e\u0301",
        "日本/語",
    ]
    names += [
        "new\nline",
        "tab\there",
        "esc\x1b[31m",
        "quote'\"",
        "*",
        ".hidden",
        "-rf",
        "x" * 255,
    ]
    files = {name: name.encode() for name in names}
    slave.publish(files)

    runs = [slave.once(), slave.once()]

    assert slave.tree() == {**files, "日本": None}
    assert [(run.exit_code, run.finished["copied"]) for run in runs] == [
        (0, len(files)),
        (0, 0),
    ]
    assert "\x1b" not in runs[0].stderr
    assert "esc\\\\x1b[31m" in runs[0].stderr


def test_names_that_no_file_can_have_are_skipped(scripted_slave: Slave) -> None:
    """`..`, `.`, `//`, too long parts and the agent's own names are reported; the rest is mirrored."""
    bad = ["../up", "a/../../up", "./x", "x//y", "/abs", "long/" + "x" * 256, ".s32s/trash/x"]
    bad += ["d/.s32s-tmp.x", "dot/."]
    scripted_slave.publish({**dict.fromkeys(bad, b"evil"), "good": b"good"})

    run = scripted_slave.once()

    assert run.exit_code == 1
    assert snapshot(scripted_slave.root) == {"site": None, "site/good": b"good"}
    assert {each["key"] for each in run.named("entry.skipped")} == set(bad)


def test_a_prefix_is_a_directory(slave: Slave, bucket: Bucket) -> None:
    """`dir1` never touches `dir10`, nor a key that only begins like it."""
    for key in ("dir1/a", "dir10/b", "dir1-old/c", "dir1"):
        bucket.put(key, key.encode())
    slave.publish_map(slave.mapping(s3="dir1"))

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, {"a": b"dir1/a"})


def test_metadata_of_rclone_is_restored(slave: Slave, bucket: Bucket) -> None:
    """`mtime` and `mode` beside an object are the file's; without them the defaults hold, whatever the umask."""
    times = {"mtime": "1700000000.123456789", "mode": "100750"}
    bucket.put("data/kept", b"kept", Metadata=times)
    bucket.put("data/sub/plain", b"plain")
    bucket.put("data/evil", b"evil", Metadata={"mode": "104755", "mtime": "soon"})

    run = slave.once()

    assert run.exit_code == 0
    kept = (slave.target / "kept").stat()
    assert (kept.st_mtime_ns, stat.S_IMODE(kept.st_mode)) == (1700000000123456789, 0o750)
    modes = {
        name: stat.S_IMODE((slave.target / name).stat().st_mode)
        for name in ("sub", "sub/plain")
    }
    assert modes == {"sub": 0o755, "sub/plain": 0o644}
    assert stat.S_IMODE((slave.target / "evil").stat().st_mode) == 0o755


def test_a_private_file_of_s3fs_that_every_user_may_write(
    slave: Slave, bucket: Bucket
) -> None:
    """s3fs writes modes in decimal; with `modes: ignore` every file has the mode of the config."""
    bucket.put("data/secret", b"secret", Metadata={"mode": "33152"})
    bucket.put("data/program", b"program", Metadata={"mode": "33261"})

    def modes() -> dict[str, int]:
        return {
            path.name: stat.S_IMODE(path.stat().st_mode) for path in slave.target.iterdir()
        }

    assert (slave.once().exit_code, modes()) == (0, {"secret": 0o600, "program": 0o755})

    (slave.target / "secret").unlink()
    (slave.target / "program").unlink()
    slave.configure(sync={"modes": "ignore", "file_mode": "0640"})

    assert (slave.once().exit_code, modes()) == (0, {"secret": 0o640, "program": 0o640})


def test_a_link_in_the_bucket_is_no_file_that_every_user_may_write(
    slave: Slave, bucket: Bucket
) -> None:
    """An object that stands for a symbolic link is reported and skipped; what was there stays, the rest goes on."""
    slave.publish({"a": b"a", "s3fs": b"old", "gone": b"gone"})
    slave.once()
    links = {"s3fs": "41471", "fsx": "0120777", "x.rclonelink": "120777"}
    for key, mode in links.items():
        name = "file-permissions" if key == "fsx" else "mode"
        bucket.put(f"data/{key}", b"/etc/passwd", Metadata={name: mode})
    bucket.delete("data/gone")
    slave.publish({"b": b"b"})

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (1, {"a": b"a", "b": b"b", "s3fs": b"old"})
    assert {each["key"] for each in run.named("entry.skipped")} == set(links)
    assert all("symbolic link" in each["reason"] for each in run.named("entry.skipped"))


def test_modes_of_the_config_are_the_default(slave: Slave) -> None:
    """`file_mode` and `dir_mode` are what objects without a mode get."""
    slave.publish({"d/f": b""})
    slave.configure(sync={"file_mode": "0640", "dir_mode": "0750"})

    slave.once()

    found = {p: stat.S_IMODE((slave.target / p).stat().st_mode) for p in ("", "d", "d/f")}
    assert found == {"": 0o750, "d": 0o750, "d/f": 0o640}


def test_a_link_in_the_target_is_not_followed(slave: Slave, tmp_path: Path) -> None:
    """Nothing is written or deleted through a symbolic link, whether to a directory or a file."""
    outside = tmp_path / "outside"
    write(outside, {"precious": b"precious", "leaf": b"leaf"})
    slave.target.mkdir()
    (slave.target / "ln").symlink_to(outside)
    (slave.target / "leaf").symlink_to(outside / "leaf")
    (slave.target / "extra").symlink_to(outside)
    slave.publish({"ln/pwn": b"pwn", "leaf": b"new!", "good": b"good"})

    run = slave.once()

    assert snapshot(outside) == {"precious": b"precious", "leaf": b"leaf"}
    assert run.exit_code == 1
    assert [each["key"] for each in run.named("entry.skipped")] == ["ln/pwn"]
    tree = slave.tree()
    assert (tree["good"], tree["leaf"]) == (b"good", b"new!")
    assert tree["ln"] == b"-> " + os.fsencode(outside)


def test_a_file_gives_way_to_a_directory_and_back(slave: Slave, bucket: Bucket) -> None:
    """File `a` where `a/b` must go, then the reverse; what gave way is in the trash."""
    slave.publish({"a": b"file", "z": b"z"})
    slave.once()
    bucket.delete("data/a")
    slave.publish({"a/b": b"inner", "a/c/d": b"deep"})
    first = slave.once()

    assert (first.exit_code, slave.tree()) == (
        0,
        {"a": None, "a/b": b"inner", "a/c": None, "a/c/d": b"deep", "z": b"z"},
    )
    bucket.delete("data/a/b")
    bucket.delete("data/a/c/d")
    slave.publish({"a": b"file again"})
    second = slave.once()
    assert (second.exit_code, slave.tree()) == (0, {"a": b"file again", "z": b"z"})
    assert slave.trash() == {"a": b"file", "a/b": b"inner", "a/c/d": b"deep"}


def test_a_key_that_is_file_and_directory_keeps_what_is_here(scripted_slave: Slave) -> None:
    """`a` beside `a/b` in the bucket can be no tree: both are reported and neither side is deleted."""
    scripted_slave.publish({"a": b"file", "z": b"z"})
    scripted_slave.once()
    scripted_slave.publish({"a/b": b"inner"})

    run = scripted_slave.once()

    assert (run.exit_code, scripted_slave.tree()) == (1, {"a": b"file", "z": b"z"})
    assert {each["key"] for each in run.named("entry.skipped")} == {"a", "a/b"}


def test_a_fifo_is_left_alone(slave: Slave) -> None:
    """What is no file is never opened: the pass neither hangs nor removes it, and says so."""
    slave.target.mkdir()
    os.mkfifo(slave.target / "pipe")
    os.mkfifo(slave.target / "stray")
    slave.publish({"pipe": b"data", "good": b"good"})

    run = slave.once()

    assert run.exit_code == 1
    assert slave.tree() == {"pipe": b"special", "stray": b"special", "good": b"good"}
