"""Map files: how they are found, believed and refused. Mostly on a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.scripted import ScriptedS3
from support.slaves import Slave
from support.trees import snapshot, write

from s32s_agent.run.map_files import MAX_BYTES, MAX_FILES

pytestmark = pytest.mark.integration

SAMPLE = Path(__file__).parents[2] / "etc/maps/sample.json"


def failed(events: list[dict[str, str]]) -> list[tuple[str, str]]:
    """Give the names and causes of the mappings that failed."""
    return sorted((each.get("mapping", ""), each["cause"]) for each in events)


def test_one_mapping_that_fails_stops_no_other(slave: Slave) -> None:
    """The second mapping is mirrored although the first one's directory cannot be made."""
    missing = slave.mapping("a", slave=str(slave.root / "no/parent"))
    slave.publish_map(missing, slave.mapping("b"))
    slave.publish({"x": b"x"})

    run = slave.once()

    assert run.exit_code == 73
    assert snapshot(slave.root) == {"b": None, "b/x": b"x"}
    assert failed(run.named("mapping.failed")) == [("a", "cantcreat")]
    assert [each["mapping"] for each in run.named("mapping.finished")] == ["b"]
    assert (run.finished["mappings"], run.finished["failed_mappings"]) == (2, 1)


def test_different_causes_are_partial(slave: Slave) -> None:
    """Failures that share no cause give status 1."""
    missing = slave.mapping("a", slave=str(slave.root / "no/parent"))
    wrong = slave.mapping("c", slave="relative/path")
    slave.publish_map(missing, slave.mapping("b"), wrong)
    slave.publish({"x": b"x"})

    run = slave.once()

    assert run.exit_code == 1
    assert failed(run.named("mapping.failed")) == [("a", "cantcreat"), ("c", "dataerr")]
    assert snapshot(slave.root) == {"b": None, "b/x": b"x"}


def test_a_changed_map_is_obeyed(slave: Slave) -> None:
    """A copy of the map is used only as long as the store says that it is current."""
    slave.publish({"x": b"x"})
    slave.publish({"y": b"y"}, prefix="other")
    slave.once()
    slave.publish_map(slave.mapping(s3="other"))

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (0, {"y": b"y"})


def test_a_damaged_copy_of_a_map_is_fetched_again(slave: Slave) -> None:
    """What somebody did to `state_dir/maps` names no directory."""
    slave.publish({"x": b"x"})
    slave.once()
    (copy,) = (slave.agent.state_dir / "maps").iterdir()
    copy.write_bytes(copy.read_bytes().replace(b"/srv/site", b"/srv/evil"))

    run = slave.once()

    assert (run.exit_code, snapshot(slave.root)) == (0, {"site": None, "site/x": b"x"})


def test_maps_that_are_gone_are_not_used(slave: Slave, bucket: Bucket) -> None:
    """Without its map files the pass fails instead of running on copies."""
    slave.publish({"x": b"x"})
    slave.once()
    bucket.delete("maps/site.json")
    slave.publish({"x": b"new"})

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (65, {"x": b"x"})


def test_a_directory_of_maps_is_read_whole(slave: Slave, bucket: Bucket) -> None:
    """JSON and YAML beside each other; what lies deeper or has another suffix is no map."""
    slave.publish({"x": b"x"})
    slave.publish_map(slave.mapping("one"), key="maps/site.json")
    yaml_map = f"- name: two\n  s3: {slave.bucket}/data\n  slave: {slave.root}/two\n"
    bucket.put("maps/second.yaml", yaml_map.encode())
    slave.publish_map(slave.mapping("old"), key="maps/archive/old.json")
    bucket.put("maps/README.txt", b"no map")

    run = slave.once()

    tree = {"one": None, "one/x": b"x", "two": None, "two/x": b"x"}
    assert (run.exit_code, snapshot(slave.root)) == (0, tree)
    assert [(each["files"], each["mappings"]) for each in run.named("maps.loaded")] == [(2, 2)]


@pytest.mark.parametrize("spelling", ["maps/site.json", "maps/", "maps"])
def test_a_map_or_its_directory_can_be_named(slave: Slave, spelling: str) -> None:
    """One file, or the directory that it is in, with and without a slash."""
    slave.publish({"x": b"x"})
    slave.configure(spelling)

    assert slave.once().exit_code == 0
    assert slave.tree() == {"x": b"x"}


def test_an_empty_map_directory_is_an_error(slave: Slave) -> None:
    """No map is no reason to think that there is nothing to do."""
    slave.configure("nothing-here")

    run = slave.once()

    assert (run.exit_code, snapshot(slave.root)) == (65, {})
    assert "put one there" in run.named("run.failed")[0]["remedy"]


def test_a_map_that_is_named_and_missing_is_an_error(slave: Slave) -> None:
    """A map file that is not there is named."""
    slave.configure("maps/absent.json")

    run = slave.once()

    assert run.exit_code == 65
    assert "maps/absent.json" in run.named("run.failed")[0]["error"]


def test_more_maps_than_anybody_writes_are_not_fetched(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """A prefix that is full of JSON, but not of maps, is named; not one of its objects is asked for."""
    for number in range(MAX_FILES):
        scripted.put(f"maps/{number:04}.json", b"[]")
    scripted_slave.configure("maps", s3={"endpoint_url": scripted.endpoint_url})

    run = scripted_slave.once()

    (problem,) = run.named("run.failed")
    assert (run.exit_code, snapshot(scripted_slave.root)) == (65, {})
    assert f"at most {MAX_FILES} map files, got {MAX_FILES + 1}" in problem["error"]
    assert [each.key for each in scripted.requests if each.key.endswith(".json")] == []


def test_maps_that_are_large_together_are_not_all_fetched(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """Files that are each small enough end the pass where they come to more than all may hold; then none is obeyed."""
    large = b"[]" + b" " * (MAX_BYTES // 3)
    for name in ("a", "b", "t", "z"):
        scripted.put(f"maps/{name}.json", large)
    scripted_slave.configure("maps", s3={"endpoint_url": scripted.endpoint_url})

    run = scripted_slave.once()

    (problem,) = run.named("run.failed")
    assert (run.exit_code, snapshot(scripted_slave.root)) == (65, {})
    assert f"at most {MAX_BYTES} bytes of map files" in problem["error"]
    fetched = [each.key for each in scripted.requests if each.key.endswith(".json")]
    assert fetched == [f"maps/{name}.json" for name in ("a", "b", "site", "t")]


@pytest.mark.parametrize("data", [b"[{", b"{}", b'"text"', b"\xff\xfe", b"[1, 2]", b"[[]]"])
def test_a_broken_map_file_fails_alone(slave: Slave, bucket: Bucket, data: bytes) -> None:
    """What is no map is status 65, and the mappings of the other files run."""
    slave.publish({"x": b"x"})
    bucket.put("maps/broken.json", data)

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (65, {"x": b"x"})
    assert {each["cause"] for each in run.named("mapping.failed")} == {"dataerr"}
    assert "broken.json" in run.named("mapping.failed")[0]["error"]


def test_two_mappings_of_one_name_are_both_refused(slave: Slave) -> None:
    """A new file cannot take over what an old one's name means."""
    slave.publish({"x": b"x"})
    slave.publish_map(slave.mapping(slave=str(slave.root / "evil")), key="maps/aaa.json")

    run = slave.once()

    assert (run.exit_code, snapshot(slave.root)) == (65, {})
    assert failed(run.named("mapping.failed")) == [("site", "dataerr")] * 2


def test_a_map_does_not_take_over_the_server(slave: Slave, tmp_path: Path) -> None:
    """`..`, places outside roots, system directories, links out and the state directory are refused, each alone."""
    outside = tmp_path / "outside"
    write(outside, {"precious": b"precious"})
    for name in ("link", "other"):
        (slave.root / name).symlink_to(outside)
    state = slave.agent.state_dir
    places = [
        f"{slave.root}/../outside",
        str(outside),
        "/etc",
        "/",
        f"{slave.root}/link",
        "~/x",
    ]
    places += [f"{slave.root}/other/sub", str(state), f"{state}/maps", str(state.parent), ""]
    mappings = [
        slave.mapping(f"evil{number}", slave=place) for number, place in enumerate(places)
    ]
    slave.agent.configure(maps=f"{slave.bucket}/maps", roots=[slave.root, state.parent])
    slave.publish_map(slave.mapping(), *mappings)
    slave.publish({"x": b"x"})

    run = slave.once()

    assert run.exit_code == 65
    names = sorted(f"evil{number}" for number in range(len(places)))
    assert failed(run.named("mapping.failed")) == [(name, "dataerr") for name in names]
    assert snapshot(outside) == {"precious": b"precious"}
    assert slave.tree() == {"x": b"x"}


def test_two_mappings_do_not_delete_each_others_files(slave: Slave) -> None:
    """Directories that are equal, nested, or become so through a link are refused, all of them."""
    (slave.root / "real").mkdir()
    (slave.root / "alias").symlink_to(slave.root / "real")
    slave.publish_map(
        slave.mapping("outer", slave=str(slave.root / "p")),
        slave.mapping("inner", slave=str(slave.root / "p/q")),
        slave.mapping("real"),
        slave.mapping("alias"),
        slave.mapping("apart"),
    )
    slave.publish({"x": b"x"})

    run = slave.once()

    assert run.exit_code == 65
    names = ["alias", "inner", "outer", "real"]
    assert failed(run.named("mapping.failed")) == [(name, "dataerr") for name in names]
    assert (slave.root / "apart/x").read_bytes() == b"x"
    assert not any((slave.root / "real").iterdir())


def test_the_map_of_our_users_works_unchanged(slave: Slave, bucket: Bucket) -> None:
    """The sample map, with nothing but its bucket and its slave root put in place, is mirrored as it says."""
    text = SAMPLE.read_text().replace("bucketname/", f"{bucket.name}/")
    bucket.put("maps/site.json", text.replace("/path/slave", str(slave.root)).encode())
    bucket.put("backup/dir1/a", b"a")
    bucket.put("backup/dir10/b", b"b")
    for name in ("filename_1", "filename_2", "filename_3"):
        bucket.put(f"dir/dir/dir/{name}", name.encode())
    write(slave.root / "dir2", {"mine": b"mine"})

    run = slave.once()

    assert run.exit_code == 0
    assert snapshot(slave.root) == {
        "dir1": None,
        "dir1/a": b"a",
        "dir2": None,
        "dir2/filename_1": b"filename_1",
        "dir2/filename_2": b"filename_2",
        "dir2/mine": b"mine",
    }
    assert len(json.loads(SAMPLE.read_text())) == run.finished["mappings"]
