"""What a master makes of a prefix: the entries, pass after pass, and what a slave gets of them. On a real server."""

from __future__ import annotations

import os
import stat
from collections import Counter
from pathlib import Path

import pytest
from support.agents import Agent
from support.buckets import SAMPLE_BUCKET, SAMPLE_DATA, SAMPLE_MAPS, SAMPLE_MASTER, Bucket
from support.counting_proxy import CountingProxy
from support.masters import Master, copied, new_master
from support.scripted import ScriptedS3
from support.trees import canary, snapshot, write

from s32s_agent.stores.s3.unfinished_uploads import Upload, Uploads

MIB = 1 << 20
FILES = {"a.txt": b"alpha", "img/x.png": b"\x89PNG", "img/deep/y.bin": b"\0" * 5000}
LARGE = os.urandom(20 * MIB)


def published(bucket: Bucket, prefix: str = "data/") -> dict[str, bytes]:
    """Give what is below a prefix; a marker's key ends in a slash."""
    found = [key for key in bucket.keys() if key.startswith(prefix)]  # noqa: SIM118 - no dict
    return {key.removeprefix(prefix): bucket.get(key) for key in found}


def head(bucket: Bucket, key: str) -> dict[str, object]:
    return dict(bucket.client.head_object(Bucket=bucket.name, Key=f"data/{key}"))


# --- pass after pass ---


def test_the_first_pass_sends_everything(master: Master, bucket: Bucket) -> None:
    """The prefix holds what the directory holds, every byte was proven, and the source is as it was."""
    master.write(FILES)
    before = canary(master.source)

    run = master.once()

    assert (run.exit_code, published(bucket)) == (0, FILES)
    assert copied(run) == dict.fromkeys(FILES, "new")
    assert {each["verified"] for each in run.named("entry.copied")} == {"md5"}
    assert canary(master.source) == before


def test_the_second_pass_sends_nothing(master: Master) -> None:
    """It asks for the listings and the map, and for nothing else."""
    master.write(FILES)
    with CountingProxy(master.agent.server.endpoint_url) as proxy:
        master.configure(s3={"endpoint_url": proxy.endpoint_url})
        master.once()
        proxy.forget()

        run = master.once()

        assert (run.exit_code, run.finished["unchanged"]) == (0, len(FILES))
        assert proxy.counts() == Counter({"LIST": 2, "GET map": 1})
        assert [each.status for each in proxy.answered if each.kind == "GET map"] == [304]


def test_touch_sends_nothing(master: Master) -> None:
    """A new time makes the agent hash a file, not send it; afterwards the index knows the time."""
    master.write(FILES)
    master.once()
    (master.source / "a.txt").touch()
    with CountingProxy(master.agent.server.endpoint_url) as proxy:
        master.configure(s3={"endpoint_url": proxy.endpoint_url})
        runs = [master.once(), master.once()]

        assert [run.exit_code for run in runs] == [0, 0]
        assert [run.finished["copied"] for run in runs] == [0, 0]
        assert set(proxy.counts()) == {"LIST", "GET map"}


def test_changes_are_sent(master: Master, bucket: Bucket) -> None:
    """Another size, the same size, and the same size with the old time: the stamp tells."""
    master.write(FILES)
    master.once()
    path = master.source / "img/deep/y.bin"
    times = path.stat()
    master.write({"a.txt": b"omega", "img/x.png": b"longer", "img/deep/y.bin": b"\1" * 5000})
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    run = master.once()

    changed = {"a.txt": b"omega", "img/x.png": b"longer", "img/deep/y.bin": b"\1" * 5000}
    assert (run.exit_code, published(bucket)) == (0, changed)
    assert copied(run) == dict.fromkeys(FILES, "local_changed")


def test_a_file_that_left_the_source_leaves_the_bucket_last(
    master: Master, bucket: Bucket
) -> None:
    """A deletion is mirrored, after everything else, with one conditionless request each."""
    master.write(FILES)
    with CountingProxy(master.agent.server.endpoint_url) as proxy:
        master.configure(s3={"endpoint_url": proxy.endpoint_url})
        master.once()
        proxy.answered.clear()
        (master.source / "a.txt").unlink()
        master.write({"b.txt": b"beta"})
        run = master.once()

        writes = [each.kind for each in proxy.answered if each.kind in {"PUT", "DELETE"}]
        assert writes == ["PUT", "DELETE"]
    left = {key: data for key, data in FILES.items() if key != "a.txt"}
    assert (run.exit_code, published(bucket)) == (0, {**left, "b.txt": b"beta"})


def test_too_many_deletions_are_withheld(master: Master, bucket: Bucket) -> None:
    """Above `max_delete` nothing is deleted, new files are still sent; `--allow-deletes` lifts it."""
    files = {f"f{number}": b"%d" % number for number in range(30)}
    master.write(files)
    master.once()
    for name in list(files)[:20]:
        (master.source / name).unlink()
    master.write({"new": b"new"})

    run = master.once()

    assert (run.exit_code, published(bucket)) == (3, {**files, "new": b"new"})
    assert run.named("deletes.withheld")[0]["count"] == 20
    lifted = master.once("--allow-deletes")
    assert (lifted.exit_code, lifted.finished["deleted"]) == (0, 20)
    assert len(published(bucket)) == 11


def test_a_copy_that_fails_withholds_deletes(master: Master, bucket: Bucket) -> None:
    """While a file cannot be read, nothing that the source lacks is deleted."""
    master.write(FILES)
    master.once()
    (master.source / "a.txt").unlink()
    master.write({"secret": b"secret"})
    (master.source / "secret").chmod(0)

    run = master.once_unprivileged()

    assert (run.exit_code, published(bucket)) == (1, FILES)
    assert [each["key"] for each in run.named("entry.failed")] == ["secret"]
    assert len(run.named("deletes.withheld")) == 1


def test_extras_keep(master: Master, bucket: Bucket) -> None:
    """`extras: keep` leaves in the bucket what the source does not have; `ignore` is invisible."""
    master.publish_map(master.mapping(extras="keep", ignore=["*.tmp"]))
    bucket.put("data/theirs", b"theirs")
    master.write({"a": b"a", "b.tmp": b"b"})

    run = master.once()

    assert (run.exit_code, published(bucket)) == (0, {"theirs": b"theirs", "a": b"a"})


def test_a_dry_run_sends_nothing(master: Master, bucket: Bucket) -> None:
    """It prints the plan; bucket, source and state stay as they are."""
    master.write(FILES)
    bucket.put("data/extra", b"extra")
    before = canary(master.root.parent)
    with CountingProxy(master.agent.server.endpoint_url) as proxy:
        master.configure(s3={"endpoint_url": proxy.endpoint_url})
        before = canary(master.root.parent)

        run = master.once("--dry-run")

        assert set(proxy.counts()) == {"LIST", "GET map"}
    assert (run.exit_code, canary(master.root.parent)) == (0, before)
    assert "3 to copy" in run.stdout
    assert published(bucket) == {"extra": b"extra"}


# --- the index ---


def test_a_lost_index_costs_hashing_only(master: Master) -> None:
    """Without an index the files are hashed and found to be there, those in parts too; nothing is sent."""
    master.write({**FILES, "large": LARGE})
    master.once()
    (master.agent.state_dir / "index.db").unlink()
    with CountingProxy(master.agent.server.endpoint_url) as proxy:
        master.configure(s3={"endpoint_url": proxy.endpoint_url})
        runs = [master.once(), master.once()]

        assert not {"PUT", "POST", "DELETE"} & set(proxy.counts())
    assert [(run.exit_code, run.finished["copied"]) for run in runs] == [(0, 0)] * 2
    assert runs[1].finished["unchanged"] == len(FILES) + 1


def test_what_somebody_else_wrote_is_put_right(master: Master, bucket: Bucket) -> None:
    """The source is right: a changed object is replaced, a deleted one comes back, an extra one goes."""
    master.write(FILES)
    master.once()
    bucket.put("data/a.txt", b"omega")
    bucket.put("data/extra", b"extra")
    bucket.delete("data/img/x.png")

    run = master.once()

    assert (run.exit_code, published(bucket)) == (0, FILES)
    assert set(copied(run)) == {"a.txt", "img/x.png"}


# --- how objects are written ---


@pytest.mark.parametrize("size", [0, 8 * MIB, 8 * MIB + 1, 20 * MIB])
def test_sizes(master: Master, bucket: Bucket, size: int) -> None:
    """Up to 8 MiB in one piece, above it in parts of 8 MiB; proven in both cases, and no upload stays open."""
    master.write({"x": LARGE[:size]})

    run = master.once()

    (event,) = run.named("entry.copied")
    parts = -(-size // (8 * MIB)) if size > 8 * MIB else 0
    assert (run.exit_code, event["verified"]) == (0, "multipart" if parts else "md5")
    assert published(bucket) == {"x": LARGE[:size]}
    etag = str(head(bucket, "x")["ETag"]).strip('"')
    assert etag.partition("-")[2] == (str(parts) if parts else "")
    assert "Uploads" not in bucket.client.list_multipart_uploads(Bucket=bucket.name)


def test_types_and_headers(master: Master, bucket: Bucket) -> None:
    """Types are guessed from names, the map's own come first; cache control and class are the map's."""
    master.publish_map(
        master.mapping(
            content_types={".wasm": "application/x-own", ".html": "text/own"},
            content_encoding={".css.gz": "gzip"},
            cache_control="max-age=60",
            acl="public-read",
            storage_class="STANDARD_IA",
        )
    )
    types = {
        "a.html": "text/own",
        "a.css": "text/css",
        "a.wasm": "application/x-own",
        "a.tar.gz": "application/gzip",
        "a.css.gz": "text/css",
        "a.woff2": "font/woff2",
        "a.svg": "image/svg+xml",
        "a.unknown": "application/octet-stream",
        "no-suffix": "application/octet-stream",
        "new\n.png": "image/png",
    }
    master.write(dict.fromkeys(types, b"x"))

    run = master.once()

    heads = {key: head(bucket, key) for key in types}
    assert run.exit_code == 0
    assert {key: each["ContentType"] for key, each in heads.items()} == types
    assert {each["CacheControl"] for each in heads.values()} == {"max-age=60"}
    assert {each["StorageClass"] for each in heads.values()} == {"STANDARD_IA"}
    encodings = {key: each.get("ContentEncoding") for key, each in heads.items()}
    assert encodings == {**dict.fromkeys(types), "a.css.gz": "gzip"}


def test_names_that_other_tools_trip_over(master: Master, bucket: Bucket) -> None:
    """Blanks, signs, other scripts and control characters arrive as keys, and as files again."""
    names = ["with space", "+", "%", "&", "#", "?", "a+b%20c", "é", "e\u0301", "日本/語", "*"]
    names += ["new\nline", "tab\there", "esc\x1b[31m", "\x01", "\x7f", ".hidden", "-rf"]
    names += ["quote'\"", "x" * 255, " lead", "trail ", "d /f", "...", "a:b"]
    files = {name: name.encode() for name in names}
    master.write(files)

    runs = [master.once(), master.once()]

    assert published(bucket) == files
    assert [(run.exit_code, run.finished["copied"]) for run in runs] == [
        (0, len(files)),
        (0, 0),
    ]
    assert "\x1b" not in runs[0].stderr
    slave = master.slave()
    assert slave.once().exit_code == 0
    assert slave.tree() == snapshot(master.source)


# --- there and back ---


def test_a_round_trip_keeps_everything(master: Master, bucket: Bucket) -> None:
    """Bytes, times to the nanosecond, modes without set-id bits, and empty directories reach the slave."""
    master.write({**FILES, "large": LARGE, "zero": b"", "run.sh": b"#!"})
    (master.source / "empty/inner").mkdir(parents=True)
    for name, mode in (("run.sh", 0o4755), ("zero", 0o600), ("large", 0o444)):
        (master.source / name).chmod(mode)
    times = {"a.txt": 1_700_000_000_123_456_789, "zero": 1, "large": -5_500_000_000}
    for name, time_ns in times.items():
        os.utime(master.source / name, ns=(time_ns, time_ns))
    slave = master.slave()

    runs = [master.once(), slave.once(), master.once(), slave.once()]

    assert [run.exit_code for run in runs] == [0] * 4
    assert [run.finished["copied"] for run in runs[2:]] == [0, 0]
    assert slave.tree() == snapshot(master.source)
    assert published(bucket)["empty/inner/"] == b""
    assert vitals(slave.target) == {
        key: (mode & 0o777, time_ns) for key, (mode, time_ns) in vitals(master.source).items()
    }


def vitals(directory: Path) -> dict[str, tuple[int, int]]:
    """Give mode and mtime of every file."""
    found = {path: path.stat() for path in directory.rglob("*") if path.is_file()}
    return {
        str(path.relative_to(directory)): (stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        for path, status in found.items()
    }


def test_an_empty_directory_comes_and_goes(master: Master, bucket: Bucket) -> None:
    """Its marker appears when the last file leaves it, stays while it is filled, and goes with it."""
    master.write({"a": b"a", "d/x": b"x"})
    slave = master.slave()
    master.once()
    (master.source / "d/x").unlink()
    runs = [master.once(), slave.once()]

    assert [run.exit_code for run in runs] == [0, 0]
    assert published(bucket) == {"a": b"a", "d/": b""}
    assert slave.tree() == {"a": b"a", "d": None}
    (master.source / "d").rmdir()
    assert [master.once().exit_code, slave.once().exit_code] == [0, 0]
    assert (published(bucket), slave.tree()) == ({"a": b"a"}, {"a": b"a"})


def test_a_file_gives_way_to_a_directory_and_back(
    scripted_master: Master, scripted: ScriptedS3
) -> None:
    """File `a` where `a/b` must go, then the reverse. SeaweedFS keeps the empty directory for a while: not there."""
    master = scripted_master
    trees: list[dict[str, bytes]] = [{"a": b"file"}, {"a/b": b"inner"}, {"a": b"again"}]
    for tree in trees:
        replace_tree(master.source, {**tree, "z": b"z"})

        runs = [master.once(), master.once()]

        assert [run.exit_code for run in runs] == [0, 0]
        found = {key: each.data for key, each in scripted.objects.items()}
        assert found == {f"data/{key}": data for key, data in tree.items()} | {
            "data/z": b"z",
            "maps/site.json": found["maps/site.json"],
        }
        assert runs[1].finished["copied"] == 0


def replace_tree(directory: Path, files: dict[str, bytes]) -> None:
    """Let a directory hold these files and nothing else."""
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    write(directory, files)


@pytest.mark.parametrize("data", [b"file", LARGE], ids=["one piece", "parts"])
def test_a_directory_that_the_store_still_keeps_is_named(
    master: Master, bucket: Bucket, data: bytes
) -> None:
    """A file takes the place of `a/b/c` before SeaweedFS has removed `a`: the pass says what it waits for, and why."""
    replace_tree(master.source, {"a/b/c": b"inner", "z": b"z"})
    assert master.once().exit_code == 0
    replace_tree(master.source, {"a": data, "z": b"new", "new": b"n"})

    run = master.once()

    assert (run.exit_code, published(bucket)) == (1, {"z": b"new", "new": b"n"})
    (failed,) = run.named("entry.failed")
    assert (failed["key"], failed["cause"]) == ("a", "partial")
    assert "SeaweedFS still has a directory" in failed["error"]
    assert "a later run sends this entry" in failed["remedy"]


# --- rights ---


def test_the_sample_policy_is_enough_and_not_too_much(
    tmp_path: Path, agent: Agent, bucket: Bucket
) -> None:
    """Small and large objects, replaced and deleted, and an abort, with what etc/iam grants; beside it nothing."""
    client = bucket.client
    client.create_bucket(Bucket=SAMPLE_BUCKET)
    sample = Bucket(SAMPLE_BUCKET, client, bucket.server)
    identity = agent.server.identities[SAMPLE_MASTER]
    env: dict[str, str | None] = {
        "AWS_ACCESS_KEY_ID": identity.access_key,
        "AWS_SECRET_ACCESS_KEY": identity.secret_key,
    }
    master = new_master(tmp_path, agent, SAMPLE_BUCKET, sample.put)
    master.publish_map(master.mapping(s3=SAMPLE_DATA), key=f"{SAMPLE_MAPS}/site.json")
    master.configure(SAMPLE_MAPS)
    first = {"small": b"old", "large": LARGE, "gone": b"gone"}
    master.write(first)

    run = master.once(env=env)

    assert (run.exit_code, published(sample, f"{SAMPLE_DATA}/")) == (0, first), run.stderr
    (master.source / "gone").unlink()
    second = {"small": b"new", "large": LARGE[::-1]}
    master.write(second)
    begun = client.create_multipart_upload(Bucket=SAMPLE_BUCKET, Key=f"{SAMPLE_DATA}/left")
    upload = Upload(agent.server.endpoint_url, SAMPLE_BUCKET, begun["Key"], begun["UploadId"])
    Uploads(agent.state_dir / "uploads").begin(upload)

    run = master.once("--allow-deletes", env=env)

    assert (run.exit_code, published(sample, f"{SAMPLE_DATA}/")) == (0, second), run.stderr
    assert "Uploads" not in client.list_multipart_uploads(Bucket=SAMPLE_BUCKET)
    master.publish_map(master.mapping(s3="elsewhere"), key=f"{SAMPLE_MAPS}/site.json")
    assert master.once(env=env).exit_code == os.EX_NOPERM
    assert published(sample, "elsewhere") == {}
