"""Snapshots: what a master publishes, and how slaves follow it without a listing."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.hosts import PREFIX
from support.masters import Master
from support.s3_messages import Reply, Request, error, is_list, is_put
from support.scripted import ScriptedS3
from support.slaves import Slave

from s32s_agent.snapshots.manifest import Snapshot, encode_snapshot

pytestmark = pytest.mark.integration

FILES = {"a.txt": b"alpha", "img/x.png": b"\x89PNG", "z": b"last"}
PLACE = "snaps/site"
CHANNEL = f"{PLACE}/channels/current.json"
REFUSED, UNAVAILABLE, PARTIAL = 3, 69, 1


def with_snapshots(master: Master) -> Slave:
    """Have the mapping of the master use snapshots, and return a slave of it."""
    master.publish_map(master.mapping(snapshots=f"{master.bucket}/{PLACE}"))
    return master.slave()


@pytest.fixture
def pair(scripted_master: Master, scripted: ScriptedS3) -> tuple[Master, Slave]:
    """A master that publishes, and a slave that follows, on the scripted server."""
    slave = with_snapshots(scripted_master)
    slave.configure("maps/site.json", s3={"endpoint_url": scripted.endpoint_url})
    scripted_master.write(FILES)
    return scripted_master, slave


def channel_in(scripted: ScriptedS3) -> dict[str, object]:
    """Return what the channel says."""
    found = json.loads(scripted.objects[CHANNEL].data)
    assert isinstance(found, dict)
    return found


def below(scripted: ScriptedS3, kind: str) -> list[str]:
    """Return the keys of the chunks, or of the snapshots."""
    return [key for key in scripted.objects if key.startswith(f"{PLACE}/{kind}/")]


def requests_of(scripted: ScriptedS3) -> list[str]:
    """Return the requests since the last call, without those for the map."""
    found = [
        f"{each.method} {each.key or 'LIST'}"
        for each in scripted.requests
        if not each.key.startswith("maps/")
    ]
    scripted.requests.clear()
    return found


def command(host: Master | Slave, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command that writes no log."""
    return subprocess.run(
        host.agent.command(*arguments),
        env=host.agent.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def is_write_of(kind: str) -> Callable[[Request], bool]:
    """Return what matches the writes of one kind of document."""
    prefix = f"{PLACE}/{kind}/"
    return lambda each: each.method == "PUT" and each.key.startswith(prefix)


def files_of(slave: Slave) -> dict[str, bytes]:
    """Return the files of a slave."""
    tree = slave.tree() if slave.target.exists() else {}
    return {key: data for key, data in tree.items() if data is not None}


# --- on a real server ---


def test_a_release_goes_from_a_master_to_a_slave(master: Master) -> None:
    """Published, followed, changed, published again, with deletes."""
    slave = with_snapshots(master)
    master.write(FILES)

    first = master.once()
    assert first.exit_code == 0
    assert first.named("snapshot.published")[0]["objects"] == 3
    got = slave.once()
    assert (got.exit_code, files_of(slave)) == (0, FILES)

    (master.source / "z").unlink()
    master.write({"a.txt": b"omega"})
    second = master.once()
    assert second.named("snapshot.published")[0]["sequence"] == 2
    got = slave.once()

    assert got.exit_code == 0
    assert files_of(slave) == {"a.txt": b"omega", "img/x.png": b"\x89PNG"}
    assert got.named("snapshot.followed")[0]["new"] is True
    assert slave.once().named("snapshot.followed")[0]["new"] is False


def test_hand_over_between_listing_and_snapshots_fetches_nothing_again(
    master: Master,
) -> None:
    """In both directions: the index knows the same versions."""
    slave = master.slave()
    master.write(FILES)
    master.once()
    slave.once()

    master.publish_map(master.mapping(snapshots=f"{master.bucket}/{PLACE}"))
    assert master.once().named("snapshot.published")
    followed = slave.once()
    master.publish_map(master.mapping())
    listed = slave.once()

    for run in (followed, listed):
        assert (run.exit_code, run.finished["copied"], run.finished["unchanged"]) == (0, 0, 3)


def test_a_bad_release_is_taken_back_on_every_server(master: Master, bucket: Bucket) -> None:
    """Canary, then promoted, then rolled back: in a versioned bucket the old bytes are still there."""
    bucket.keep_versions()
    slave = with_snapshots(master)
    master.configure(sync={"channel": "canary"})
    master.write(FILES)
    master.once()
    assert slave.once().exit_code == UNAVAILABLE
    assert command(master, "--promote", "canary", "current").returncode == 0
    assert slave.once().exit_code == 0
    master.write({"a.txt": b"bad", "bad": b"bad"})
    (master.source / "z").unlink()
    master.once()
    assert slave.once().finished["unchanged"] == 3
    promoted = command(master, "--promote", "canary", "current", "--json")
    assert json.loads(promoted.stdout)[0]["sequence"] == 2
    assert slave.once().exit_code == 0
    assert files_of(slave) == {"a.txt": b"bad", "img/x.png": FILES["img/x.png"], "bad": b"bad"}

    back = command(master, "--rollback", "--channel", "current")

    assert back.returncode == 0
    run = slave.once()
    assert (run.exit_code, files_of(slave)) == (0, FILES)
    assert run.named("snapshot.followed")[0]["sequence"] == 3
    again = command(master, "--promote", "current", "current")
    assert "already" in again.stdout


def test_a_pinned_server_stays_where_it_is_until_it_is_released(
    master: Master, bucket: Bucket
) -> None:
    bucket.keep_versions()
    slave = with_snapshots(master)
    master.write(FILES)
    master.once()
    slave.once()
    master.write({"a.txt": b"bad"})
    master.once()
    slave.once()

    back = slave.agent.run("--rollback", "--map", "site")

    assert (back.exit_code, files_of(slave)) == (0, FILES)
    master.write({"a.txt": b"worse"})
    master.once()
    stays = slave.once()
    assert (stays.exit_code, files_of(slave)) == (0, FILES)
    assert stays.named("snapshot.followed")[0]["pinned"] is True
    assert "(pinned)" in command(slave, "--status").stdout
    released = slave.agent.run("--follow")
    assert (released.exit_code, files_of(slave)) == (0, {**FILES, "a.txt": b"worse"})
    assert "(current)" in command(slave, "--status").stdout


def test_a_damaged_pin_lets_no_bad_release_in(
    pair: tuple[Master, Slave],
) -> None:
    """A mapping whose pin cannot be read follows nothing."""
    master, slave = pair
    master.once()
    slave.once()
    (first,) = [
        row["id"]
        for row in json.loads(command(slave, "--snapshots", "--json").stdout)[0]["snapshots"]
    ]
    assert slave.agent.run("--rollback", first).exit_code == 0
    master.write({"new": b"new"})
    master.once()
    (pin,) = Path(slave.agent.state_dir, "pins").iterdir()
    pin.write_bytes(b"{")

    run = slave.once()

    assert (run.exit_code, files_of(slave)) == (REFUSED, FILES)
    assert command(slave, "--promote", "current", "x").returncode == 78
    assert command(master, "--follow").returncode == 78


def test_a_version_that_a_lifecycle_rule_removed_is_no_loss_where_the_same_bytes_came(
    master: Master, bucket: Bucket
) -> None:
    """Another tool uploaded the same files again, and the rule removes all versions but the newest."""
    bucket.keep_versions()
    slave = with_snapshots(master)
    master.write(FILES)
    master.once()
    for key, data in (("a.txt", FILES["a.txt"]), ("z", b"else")):
        name = f"{PREFIX}/{key}"
        (old,) = bucket.client.list_object_versions(Bucket=bucket.name, Prefix=name)[
            "Versions"
        ]
        bucket.put(name, data)
        bucket.client.delete_object(Bucket=bucket.name, Key=name, VersionId=old["VersionId"])

    run = slave.once()

    assert [each["key"] for each in run.named("entry.failed")] == ["z"]
    assert "overtaken" in run.named("entry.failed")[0]["error"]
    assert files_of(slave) == {key: FILES[key] for key in ("a.txt", "img/x.png")}


def test_a_pin_outlives_its_snapshot_in_the_bucket(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    """The server keeps the list itself; without that, it says what is wrong, and changes nothing."""
    master, slave = pair
    master.once()
    first = str(channel_in(scripted)["snapshot"])
    assert slave.agent.run("--rollback", first).exit_code == 0
    for key in (*below(scripted, "snapshots"), *below(scripted, "chunks")):
        del scripted.objects[key]

    assert slave.once().exit_code == 0
    (chunk,) = Path(slave.agent.state_dir, "snapshots").glob("*.gz")
    chunk.unlink()
    lost = slave.once()

    assert (lost.exit_code, files_of(slave)) == (REFUSED, FILES)
    failed = lost.named("mapping.failed")[0]
    assert f"pinned to snapshot {first}" in failed["error"]
    assert "--follow" in failed["remedy"]


def test_a_dry_rollback_shows_what_would_come_back_and_pins_nothing(
    master: Master, bucket: Bucket
) -> None:
    """Nor does a dry `--follow` release a pin, or a dry `--promote` move a channel."""
    bucket.keep_versions()
    slave = with_snapshots(master)
    master.write(FILES)
    master.once()
    slave.once()
    released = {**FILES, "a.txt": b"bad release"}
    master.write(released)
    master.once()
    slave.once()

    back = slave.agent.run("--rollback", "--dry-run")

    assert (back.exit_code, files_of(slave)) == (0, released)
    assert "would be pinned to" in back.stdout
    assert "a.txt" in back.stdout
    assert slave.once().named("snapshot.followed")[0]["pinned"] is False
    assert slave.agent.run("--rollback").exit_code == 0
    forth = slave.agent.run("--follow", "--dry-run")
    assert "would be released" in forth.stdout
    assert "a.txt" in forth.stdout
    assert slave.once().named("snapshot.followed")[0]["pinned"] is True
    moves = (("--promote", "current", "stable"), ("--rollback", "--channel", "current"))
    before = bucket.get(CHANNEL)
    for words in moves:
        assert "would point to" in command(master, *words, "--dry-run").stdout
    assert bucket.get(CHANNEL) == before
    assert CHANNEL.replace("current", "stable") not in bucket.keys()  # noqa: SIM118 (a list)
    shown = command(slave, "--snapshots", "--json")
    bad, good = json.loads(shown.stdout)[0]["snapshots"]
    assert bad["changes"] == {"added": 0, "changed": 1, "deleted": 0, "bytes": 11}
    assert (good["changes"], good["installed"], good["pinned"]) == (None, True, True)
    text = command(slave, "--snapshots").stdout
    assert "(+0 ~1 -0, 11 B)" in text
    assert "[installed here, pinned]" in text


def test_a_snapshot_that_lacks_a_chunk_is_not_promoted(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    master, _ = pair
    master.once()
    first = str(channel_in(scripted)["snapshot"])
    for key in below(scripted, "chunks"):
        del scripted.objects[key]

    promoted = command(master, "--promote", "current", "stable")
    back = command(master, "--rollback", first, "--channel", "current")

    for refused in (promoted, back):
        assert refused.returncode == REFUSED
        assert "1 of its 1 chunks" in refused.stderr
    assert CHANNEL.replace("current", "stable") not in scripted.objects
    assert channel_in(scripted)["sequence"] == 1


def test_the_snapshot_of_a_publisher_at_work_is_not_removed(
    master: Master, bucket: Bucket
) -> None:
    """Its clock is slow, so that its snapshot sorts before the newest, and no channel points to it yet."""
    with_snapshots(master)
    now = datetime(2090, 1, 1, tzinfo=UTC)
    for number in range(25):
        snapshot_id = f"20900101T{number:06}Z-000000"
        young = Snapshot(snapshot_id, "site", "bucket/data", now, "web", 0, 0)
        bucket.put(f"{PLACE}/snapshots/{snapshot_id}.json", encode_snapshot(young))
    master.write(FILES)

    assert master.once().named("snapshot.published")

    keys = bucket.keys()
    assert len([key for key in keys if key.startswith(f"{PLACE}/snapshots/")]) == 26


# --- requests ---


def test_nothing_new_costs_one_request(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    master, slave = pair
    master.once()
    slave.once()
    requests_of(scripted)

    run = slave.once()

    assert run.exit_code == 0
    assert requests_of(scripted) == [f"GET {CHANNEL}"]


def test_a_master_that_changed_nothing_lists_once_and_writes_nothing(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    """The listing is that of every run; the snapshot asks for its channel only."""
    master, _ = pair
    master.once()
    requests_of(scripted)

    master.once()

    assert requests_of(scripted) == ["GET LIST", f"GET {CHANNEL}"]


def test_a_local_edit_is_put_right_without_news(
    pair: tuple[Master, Slave],
) -> None:
    master, slave = pair
    master.once()
    slave.once()
    (slave.target / "a.txt").write_bytes(b"edited")
    (slave.target / "z").unlink()

    run = slave.once()

    assert (run.exit_code, files_of(slave)) == (0, FILES)


def test_a_slave_never_lists_and_asks_for_nothing_that_a_delete_needs(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    master, slave = pair
    master.once()
    slave.once()
    (master.source / "z").unlink()
    master.once()
    requests_of(scripted)

    run = slave.once()

    assert run.finished["deleted"] == 1
    kinds = {each.split("/")[2] for each in requests_of(scripted)}
    assert kinds == {"channels", "snapshots", "chunks"}


def test_a_dry_run_changes_nothing_at_all(
    pair: tuple[Master, Slave],
) -> None:
    master, slave = pair
    master.once()

    run = slave.once("--dry-run")

    assert run.exit_code == 0
    assert not (slave.agent.state_dir / "snapshots").exists()
    assert files_of(slave) == {}


def test_a_damaged_cache_costs_a_request_and_nothing_else(
    pair: tuple[Master, Slave],
) -> None:
    master, slave = pair
    master.once()
    slave.once()
    for path in Path(slave.agent.state_dir, "snapshots").glob("*.gz"):
        path.write_bytes(b"\0" * path.stat().st_size)

    run = slave.once()

    assert (run.exit_code, files_of(slave)) == (0, FILES)
    assert run.finished["copied"] == 0


def test_a_follower_needs_no_right_to_list(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    """Neither for a run nor for --check; and a channel that is missing then looks like a refusal."""
    master, slave = pair
    absent = command(slave, "--check")
    master.once()
    scripted.on(is_list, error(403, "AccessDenied"))

    checked, run = command(slave, "--check"), slave.once()

    assert (absent.returncode, checked.returncode, run.exit_code) == (UNAVAILABLE, 0, 0)
    assert "of 3 objects is in channel" in checked.stdout
    del scripted.objects[CHANNEL]
    scripted.on(lambda each: each.key == CHANNEL, error(403, "AccessDenied"))
    assert "--publish" in slave.once().named("mapping.failed")[0]["remedy"]
    assert files_of(slave) == FILES


# --- disasters ---


def test_a_slave_without_a_snapshot_says_how_one_comes_to_be(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    """And it never lists instead."""
    _, slave = pair
    scripted.put(f"{PREFIX}/a.txt", b"alpha")

    run = slave.once()

    assert run.exit_code == UNAVAILABLE
    assert "--publish" in run.named("mapping.failed")[0]["remedy"]
    assert "GET LIST" not in requests_of(scripted)
    assert files_of(slave) == {}


@pytest.mark.parametrize("kind", ["channels", "snapshots", "chunks"])
@pytest.mark.parametrize("damage", ["missing", "cut", "other", "swapped", "endless", "html"])
def test_a_damaged_snapshot_empties_no_directory(
    pair: tuple[Master, Slave], scripted: ScriptedS3, kind: str, damage: str
) -> None:
    """Whatever comes in place of a document: the files stay, and the exit status is no success."""
    master, slave = pair
    master.once()
    slave.once()
    (master.source / "a.txt").unlink()
    master.write({"new": b"new"})
    master.once()
    latest = channel_in(scripted)
    wanted = {
        "channels": [CHANNEL],
        "snapshots": [f"{PLACE}/snapshots/{latest['snapshot']}.json"],
        "chunks": below(scripted, "chunks"),
    }[kind]
    good = scripted.objects[wanted[-1]].data

    def damaged(request: Request) -> Reply:
        data = scripted.objects[request.key].data
        if damage == "missing":
            return error(404, "NoSuchKey")
        body = {
            "cut": data[: len(data) // 2],
            "other": b"{}" if kind != "chunks" else gzip.compress(b"{}\n"),
            "swapped": good[::-1],
            "endless": data + b" " * (20 << 20),
            "html": b"<html>please log in</html>",
        }[damage]
        return Reply(200, body, {"etag": '"other-1"', "last-modified": "now"})

    scripted.on(lambda each: each.method == "GET" and each.key in wanted, damaged)
    run = slave.once()

    assert run.exit_code in {REFUSED, UNAVAILABLE}
    assert files_of(slave) == FILES
    scripted.forget_rules()
    assert slave.once().exit_code == 0
    assert set(files_of(slave)) == {"img/x.png", "new", "z"}


def test_an_old_channel_that_is_put_back_undoes_no_release(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    master, slave = pair
    master.once()
    old = scripted.objects[CHANNEL].data
    master.write({"new": b"new"})
    master.once()
    slave.once()
    scripted.put(CHANNEL, old)

    run = slave.once()

    assert run.exit_code == REFUSED
    assert "fell" in run.named("mapping.failed")[0]["error"]
    assert files_of(slave) == {**FILES, "new": b"new"}


def test_the_snapshot_of_another_mapping_empties_no_directory(
    pair: tuple[Master, Slave],
) -> None:
    """Two mappings that were given one place by mistake, in two map files that no agent sees together."""
    master, slave = pair
    master.once()
    slave.once()
    slave.publish_map(
        {**slave.mapping(s3="elsewhere"), "snapshots": f"{slave.bucket}/{PLACE}"}
    )

    run = slave.once()

    assert run.exit_code == REFUSED
    assert files_of(slave) == FILES


def test_an_overtaken_snapshot_is_no_mixture_and_deletes_nothing(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    """Another writer replaced an object after the publication: the entry fails, deletes wait for the next one."""
    master, slave = pair
    master.once()
    slave.once()
    master.write({"a.txt": b"omega"})
    (master.source / "z").unlink()
    master.once()
    scripted.put(f"{PREFIX}/a.txt", b"third")

    run = slave.once()

    assert run.exit_code == PARTIAL
    assert "overtaken" in run.named("entry.failed")[0]["error"]
    assert run.named("deletes.withheld")
    assert files_of(slave) == FILES


def test_a_snapshot_that_lacks_most_files_meets_the_guard(
    pair: tuple[Master, Slave],
) -> None:
    """`max_delete` holds for snapshots as for listings."""
    master, slave = pair
    master.write({f"many/{number}": b"x" for number in range(30)})
    master.once()
    slave.once()
    for number in range(30):
        (master.source / f"many/{number}").unlink()
    assert master.once("--allow-deletes").exit_code == 0

    run = slave.once()

    assert run.exit_code == REFUSED
    assert len(files_of(slave)) == 33


# --- publishers ---


def test_a_bucket_that_another_tool_fills_is_published(master: Master, bucket: Bucket) -> None:
    """By a master that pushes nothing; nothing new writes nothing."""
    slave = with_snapshots(master)
    slave.publish(FILES)

    first = command(master, "--publish", "--json")
    keys = bucket.keys()
    again = command(master, "--publish")
    got = slave.once()
    shown = command(master, "--snapshots", "--json")

    assert (first.returncode, again.returncode, got.exit_code) == (0, 0, 0)
    assert files_of(slave) == FILES
    assert json.loads(first.stdout)[0]["objects"] == 3
    assert "nothing new" in again.stdout
    assert bucket.keys() == keys
    (of_site,) = json.loads(shown.stdout)
    assert of_site["snapshots"][0]["channels"] == ["current"]
    assert of_site["channels"]["current"]["sequence"] == 1
    assert "3 objects" in command(slave, "--snapshots", "--map", "site").stdout
    assert command(slave, "--publish").returncode == 78


def test_an_emptied_prefix_is_not_published(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    master, slave = pair
    master.once()
    for key in [key for key in scripted.objects if key.startswith(PREFIX)]:
        del scripted.objects[key]

    run = command(master, "--publish")

    assert run.returncode == REFUSED
    assert channel_in(scripted)["sequence"] == 1
    assert slave.once().exit_code != 0  # the objects are gone, but no file is


def test_old_snapshots_are_removed_and_nothing_else(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    """The newest 20 stay, what a channel points to, chunks that are young, and what has other names."""
    master, slave = pair
    master.once()
    oldest = "20200101T000000Z-000000"
    stable = {**channel_in(scripted), "snapshot": oldest}
    scripted.put(CHANNEL.replace("current", "stable"), json.dumps(stable).encode())
    theirs = (f"{PLACE}/README", f"{PLACE}/snapshots/notes.json", f"{PLACE}/chunks/old.gz")
    for key in theirs:
        scripted.put(key, b"theirs")
    now = datetime(2020, 1, 1, tzinfo=UTC)
    for number in range(30):
        snapshot_id = f"20200101T{number:06}Z-000000"
        of_old = Snapshot(snapshot_id, "site", "bucket/data", now, "web", 0, 0)
        scripted.put(f"{PLACE}/snapshots/{snapshot_id}.json", encode_snapshot(of_old))
    scripted.put(f"{PLACE}/chunks/{'0' * 64}.jsonl.gz", b"nothing names it")
    master.write({"new": b"new"})

    assert master.once().named("snapshot.published")

    ids = sorted(key.split("/")[-1][:-5] for key in below(scripted, "snapshots"))
    assert len([each for each in ids if each != "notes"]) == 21
    assert oldest in ids
    assert all(key in scripted.objects for key in theirs)
    assert f"{PLACE}/chunks/{'0' * 64}.jsonl.gz" not in scripted.objects
    assert slave.once().exit_code == 0


def test_a_publisher_that_is_stopped_at_any_request_leaves_the_channel_whole(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    """Whatever it had written: slaves see the old release or the new one, and the next run publishes."""
    master, slave = pair
    master.once()
    slave.once()
    for stage in ("chunks", "snapshots", "channels"):
        before = files_of(slave)
        master.write({"a.txt": stage.encode()})
        scripted.on(is_write_of(stage), error(403, "AccessDenied"))
        assert master.once().exit_code != 0
        stopped = slave.once()
        assert files_of(slave) in (before, {**before})
        assert not stopped.named("entry.deleted")
        scripted.forget_rules()

        assert master.once().named("snapshot.published")
        assert slave.once().exit_code == 0
        assert files_of(slave) == {**FILES, "a.txt": stage.encode()}


def test_a_lost_race_is_run_once_more_and_never_forced(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    master, _ = pair
    master.once()
    master.write({"a.txt": b"omega"})
    refused = error(412, "PreconditionFailed")
    scripted.on(is_put(CHANNEL), refused, times=1)

    assert master.once().named("snapshot.published")[0]["sequence"] == 2

    master.write({"a.txt": b"third"})
    scripted.on(is_put(CHANNEL), refused)
    run = master.once()
    assert run.exit_code == PARTIAL
    assert "another publisher" in run.named("mapping.failed")[0]["error"]
    assert channel_in(scripted)["sequence"] == 2


def test_every_write_of_a_channel_is_conditional(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    master, _ = pair
    master.once()
    master.write({"a.txt": b"omega"})
    master.once()

    first, second = (
        each.headers
        for each in scripted.requests
        if each.method == "PUT" and each.key == CHANNEL
    )
    assert first["if-none-match"] == "*"
    assert second["if-match"]


def test_a_run_that_is_not_in_sync_publishes_nothing(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    master, _ = pair
    scripted.on(
        lambda each: each.method == "PUT" and each.key == f"{PREFIX}/z",
        error(403, "AccessDenied"),
    )

    run = master.once()

    assert run.exit_code != 0
    assert CHANNEL not in scripted.objects


def test_what_another_writer_left_in_the_prefix_is_not_published(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    """It came after the run had listed the prefix: the second listing shows it."""
    master, _ = pair
    master.once()
    master.write({"new": b"new"})

    def interfere(request: Request) -> Reply:
        scripted.put(f"{PREFIX}/theirs", b"theirs")
        return scripted.answer_correctly(request)

    scripted.on(lambda each: each.method == "PUT" and each.key == f"{PREFIX}/new", interfere)
    run = master.once()

    assert "another writer" in run.named("mapping.failed")[0]["error"]
    assert channel_in(scripted)["sequence"] == 1
    scripted.forget_rules()
    assert master.once().named("snapshot.published")


def test_a_lost_chunk_comes_back_with_the_next_publication(
    pair: tuple[Master, Slave], scripted: ScriptedS3
) -> None:
    master, slave = pair
    master.once()
    for key in below(scripted, "chunks"):
        del scripted.objects[key]
    assert slave.once().exit_code == REFUSED

    master.write({"new": b"new"})
    master.once()

    assert slave.once().exit_code == 0


def test_a_list_request_is_what_the_names_say() -> None:
    """The tests above look for it by its empty key."""
    assert is_list(Request("GET", "/bucket", {"list-type": "2"}, {}))
