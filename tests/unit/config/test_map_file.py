"""Map files: what they may say, and what they cannot make the agent do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.documents import SCALARS

from s32s_agent.config.map_file import (
    MapFailure,
    MapFile,
    MapRules,
    Maps,
    read_maps,
)
from s32s_agent.config.properties import PROPERTIES
from s32s_agent.model import Extras, Location, Mapping, Role

NAMES = [each.name for each in PROPERTIES]
SAMPLE = Path(__file__).parents[3] / "etc" / "maps" / "sample.json"
SLAVE = MapRules(
    Role.SLAVE, ("/srv", "/etc", "/var", "/proc"), "/var/lib/s32s-agent", {"/srv/eve"}
)
MASTER = replace(SLAVE, role=Role.MASTER, roots=("/srv", "c:/path"))
GOOD = {"name": "a", "s3": "bucket/a", "slave": "/srv/a", "master": "/srv/a"}
NO_PATH = 'since no path begins with "/", "./" or "../"'


def read(*mappings: object, rules: MapRules = SLAVE) -> Maps:
    """Read one JSON file with some mappings."""
    return read_maps([MapFile("m.json", json.dumps(mappings).encode())], rules)


def problems(maps: Maps) -> dict[str, tuple[str, ...]]:
    """Return the problems of every failure by its mapping."""
    return {failure.mapping: failure.error.problems for failure in maps.failures}


def test_the_sample_of_existing_users() -> None:
    """The sample, tab characters and all, gives its two mappings in both roles."""
    data = SAMPLE.read_bytes()
    file = MapFile("maps/sample.json", data)
    slave = read_maps([file], replace(SLAVE, roots=("/path/slave",)))
    master = read_maps([file], MASTER)

    description = "OPTIONAL PROJECT DESCRIPTION"
    first = Mapping(
        "PROJECT 1",
        Location("bucketname", "backup/dir1"),
        "/path/slave/dir1",
        description=description,
    )
    second = Mapping(
        "PROJECT 2",
        Location("bucketname", "dir/dir/dir"),
        "/path/slave/dir2",
        files=frozenset({"filename_1", "filename_2"}),
        extras=Extras.KEEP,
        description=description,
    )
    assert b'\n\t  "files": ["filename_1", "filename_2"]\n' in data
    assert slave == Maps((first, second))
    assert master == Maps(
        (
            replace(first, directory="c:/path/dir/master/1"),
            replace(second, directory="c:/path/dir/master/2"),
        )
    )


def test_yaml_says_the_same_as_json() -> None:
    """A YAML file, here with a byte order mark, gives what its JSON twin gives."""
    value = json.loads(SAMPLE.read_bytes())
    data = "\ufeff" + yaml.safe_dump(value)
    actual = read_maps([MapFile("s.YML", data.encode())], MASTER)

    assert actual == read_maps([MapFile("s.json", SAMPLE.read_bytes())], MASTER)


def test_every_property() -> None:
    """All properties together give a whole mapping."""
    actual = read(
        {
            **GOOD,
            "s3": "s3://bucket/a/",
            "description": "two\nlines",
            "files": ["x", "d/y", "x"],
            "ignore": ["tmp/*", "*.bmp"],
            "extras": "delete",
            "content_types": {
                ".wasm": "application/wasm",
                ".html": "text/html; charset=utf-8",
            },
            "content_encoding": {".gz": "gzip", ".x": "gzip, br"},
            "cache_control": "max-age=60, public",
            "acl": "public-read",
            "storage_class": "STANDARD_IA",
        }
    )

    assert actual == Maps(
        (
            Mapping(
                "a",
                Location("bucket", "a"),
                "/srv/a",
                frozenset({"x", "d/y"}),
                ("tmp/*", "*.bmp"),
                Extras.DELETE,
                "two\nlines",
                {".wasm": "application/wasm", ".html": "text/html; charset=utf-8"},
                {".gz": "gzip", ".x": "gzip, br"},
                "max-age=60, public",
                "public-read",
                "STANDARD_IA",
            ),
        )
    )


@pytest.mark.parametrize(
    ("options", "extras"),
    [
        ({}, Extras.DELETE),
        ({"extras": "keep"}, Extras.KEEP),
        ({"files": ["x"]}, Extras.KEEP),
        ({"files": ["x"], "extras": "delete"}, Extras.DELETE),
        ({"ignore": []}, Extras.DELETE),
    ],
)
def test_a_list_of_files_does_not_delete_its_neighbours(
    options: dict[str, object], extras: Extras
) -> None:
    """A mapping with `files` keeps other files at the target unless it says otherwise."""
    [actual] = read({**GOOD, **options}).mappings

    assert actual.extras == extras


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"name": ""}, 'name: expected text, got ""'),
        ({"name": None}, "name: expected text, got null"),
        ({"name": "a" * 201}, f'name: expected at most 200 characters, got "{"a" * 80}..."'),
        ({"name": "a\n"}, 'name: expected text without control characters, got "a\\x0a"'),
        ({"name": "\ud800"}, 'name: expected text without control characters, got "\\ud800"'),
        ({"s3": ["bucket/a"]}, "s3: expected text, got a list"),
        ({"slave": 1}, "slave: expected text, got 1"),
        ({"master": 1}, "master: expected text, got 1"),
        ({"description": None}, "description: expected text, got null"),
        ({"file": ["x"]}, 'file: unknown property, did you mean "files"?'),
        ({"files": "x"}, 'files: expected a list of relative paths, got "x"'),
        ({"files": []}, "files: expected a list of relative paths, got an empty list"),
        ({"files": [1]}, "files[0]: expected text, got 1"),
        ({"files": [""]}, 'files[0]: expected text, got ""'),
        (
            {"files": ["\ud800"]},
            'files[0]: expected text that is valid Unicode, got "\\ud800"',
        ),
        ({"files": ["d/"]}, 'files[0]: expected a file, not a directory, got "d/"'),
        ({"ignore": [""]}, 'ignore[0]: expected text, got ""'),
        (
            {"ignore": ["*.bmp", "uploads "]},
            'ignore[1]: expected a pattern without blanks at its ends, got "uploads "',
        ),
        (
            {"ignore": ["\tuploads"]},
            'ignore[0]: expected a pattern without blanks at its ends, got "\\x09uploads"',
        ),
        (
            {"ignore": ["/uploads/*"]},
            f'ignore[0]: expected a pattern such as "uploads/*", {NO_PATH}, got "/uploads/*"',
        ),
        (
            {"ignore": ["./uploads"]},
            f'ignore[0]: expected a pattern such as "uploads", {NO_PATH}, got "./uploads"',
        ),
        (
            {"ignore": [".."]},
            f'ignore[0]: expected a pattern such as "uploads/", {NO_PATH}, got ".."',
        ),
        ({"ignore": {}}, "ignore: expected a list of patterns, got a mapping"),
        ({"extras": "purge"}, 'extras: expected delete or keep, got "purge"'),
        (
            {"content_types": []},
            "content_types: expected a mapping of suffixes to media types, got a list",
        ),
        (
            {"content_types": {"js": "text/javascript"}},
            'content_types.js: expected a suffix such as ".html"',
        ),
        (
            {"content_types": {".js": "text"}},
            'content_types..js: expected a media type such as text/html, got "text"',
        ),
        (
            {"cache_control": "a\r\nb: c"},
            'cache_control: expected printable ASCII text, got "a\\x0d\\x0ab: c"',
        ),
        (
            {"content_encoding": {".gz": "g zip"}},
            'content_encoding..gz: expected a content coding such as gzip, got "g zip"',
        ),
        (
            {"content_encoding": {".gz": "gzip, aws-chunked"}},
            'content_encoding..gz: expected a content coding such as gzip, got "gzip, aws-chunked"',
        ),
        (
            {"acl": "public"},
            (
                "acl: expected private, public-read, public-read-write, authenticated-read, aws-exec-read,"
                ' bucket-owner-read or bucket-owner-full-control, got "public"'
            ),
        ),
        ({"storage_class": ""}, 'storage_class: expected printable ASCII text, got ""'),
    ],
)
def test_a_wrong_property_fails_its_mapping_alone(
    change: dict[str, object], problem: str
) -> None:
    """The mapping fails with the reason, and the next one is read."""
    good = {**GOOD, "name": "b", "slave": "/srv/b"}
    actual = read({**GOOD, **change}, good)

    assert [mapping.name for mapping in actual.mappings] == ["b"]
    assert [failure.error.problems for failure in actual.failures] == [(problem,)]


@pytest.mark.parametrize(
    "path", ["/etc/passwd", "../x", "a/../../x", "./x", "a/.", "a//b", "..", "a\0b"]
)
def test_a_list_of_files_cannot_leave_its_directory(path: str) -> None:
    """A path that is not below the mapping is refused."""
    [actual] = read({**GOOD, "files": [path]}).failures

    assert actual.error.problems[0].startswith(
        "files[0]: expected a relative path without empty"
    )


def test_every_problem_is_reported_at_once() -> None:
    """One look at a mapping names all that is wrong, with its place."""
    [failure] = read({"name": "a\u202e", "s3": "x", "slave": "srv", "extra": 1}).failures

    assert str(failure.error) == (
        'm.json: mapping 1 "a\\u202e": extra: unknown property, did you mean "extras"?; '
        "s3: expected bucket/prefix, with 3 to 255 letters, digits, dots and dashes as bucket, "
        'got "x"; slave: expected an absolute path, got "srv"'
    )
    assert failure.mapping == "a\u202e"
    assert failure.error.exit_status == 65


@pytest.mark.parametrize(
    ("rules", "missing"), [(SLAVE, "slave"), (MASTER, "master")], ids=["slave", "master"]
)
def test_what_is_needed(rules: MapRules, missing: str) -> None:
    """A mapping needs a name, a place in S3 and this role's directory; without a name it has its number."""
    actual = problems(read({}, "text", rules=rules))

    assert actual == {
        "#1": (
            "name: missing, expected a name",
            "s3: missing, expected bucket/prefix",
            f"{missing}: missing, expected a local directory",
        ),
        "#2": ('expected a mapping, got "text"',),
    }


def test_the_other_side_may_be_anywhere() -> None:
    """The other role's directory is its own affair, and need not be there."""
    anywhere = read({**GOOD, "master": "~/../c:"})
    nowhere = read({key: value for key, value in GOOD.items() if key != "master"})

    assert anywhere == nowhere
    assert anywhere.failures == ()


@pytest.mark.parametrize(
    "directory", ["/", "//", "/etc", "/var", "/srv/eve", "/proc/self", "/var/lib", "/home/eve"]
)
def test_a_map_cannot_aim_at_the_root_directory(directory: str) -> None:
    """A system directory or a home is refused, even when a root allows it."""
    actual = read({**GOOD, "slave": directory}, rules=replace(SLAVE, roots=("/",)))

    assert problems(actual) == {
        "a": (
            f'slave: expected a directory that is neither a system directory nor a home, got "{directory}"',
        )
    }


@pytest.mark.parametrize("directory", ["/opt/a", "/srv-evil", "/home/eve/.ssh"])
def test_a_map_cannot_leave_the_roots(directory: str) -> None:
    """A directory outside the roots is refused, however similar its name is."""
    actual = read({**GOOD, "slave": directory})

    assert problems(actual) == {
        "a": (
            f'slave: expected a directory inside one of the roots of the config, got "{directory}"',
        )
    }


@pytest.mark.parametrize(
    "directory", ["/var/lib/s32s-agent", "/var/lib/s32s-agent/maps", "/var/x"]
)
def test_a_map_cannot_delete_the_state_of_the_agent(directory: str) -> None:
    """A directory that contains the state directory, or is in it, is refused."""
    state = "/var/x/state" if directory == "/var/x" else SLAVE.state_dir
    actual = read({**GOOD, "slave": directory}, rules=replace(SLAVE, state_dir=state))

    assert problems(actual) == {
        "a": (
            f'slave: expected a directory that does not overlap state_dir, got "{directory}"',
        )
    }


def test_a_root_itself_may_be_mirrored() -> None:
    """A mapping may name a root."""
    actual = read({**GOOD, "slave": "/srv/"}, rules=replace(SLAVE, homes=()))

    assert [mapping.directory for mapping in actual.mappings] == ["/srv"]


def mapping(name: str, s3: str, directory: str) -> dict[str, str]:
    """Write a mapping with the same directory in both roles."""
    return {"name": name, "s3": s3, "slave": directory, "master": directory}


def test_dir1_does_not_touch_dir10() -> None:
    """Directories and prefixes that only begin with the same letters are apart."""
    actual = read(
        mapping("a", "bucket/backup/dir1", "/srv/dir1"),
        mapping("b", "bucket/backup/dir10", "/srv/dir10"),
        mapping("c", "bucket/backup/dir1-x", "/srv/dir1-x"),
        mapping("d", "bucket2/backup/dir1", "/srv/e/dir1"),
        rules=MASTER,
    )

    assert [mapping.name for mapping in actual.mappings] == ["a", "b", "c", "d"]


def test_two_mappings_do_not_delete_each_others_files() -> None:
    """Of mappings with equal or nested directories none is carried out; the others are."""
    actual = read(
        mapping("inner", "bucket/1", "/srv/a/b/c"),
        mapping("outer", "bucket/2", "/srv/a"),
        mapping("apart", "bucket/3", "/srv/a-b"),
        mapping("same", "bucket/4", "/srv/a/"),
    )

    assert [mapping.name for mapping in actual.mappings] == ["apart"]
    assert problems(actual) == {
        "inner": ('slave: overlaps that of m.json: mapping 4 "same"',),
        "outer": ('slave: overlaps that of m.json: mapping 4 "same"',),
        "same": (
            'slave: overlaps that of m.json: mapping 2 "outer"',
            'slave: overlaps that of m.json: mapping 1 "inner"',
        ),
    }


def test_drives_of_windows_have_no_case() -> None:
    """Directories that Windows takes for the same overlap."""
    actual = read(
        mapping("a", "bucket/1", "c:/path/x"),
        mapping("b", "bucket/2", "C:\\Path\\X\\y"),
        rules=MASTER,
    )

    assert sorted(problems(actual)) == ["a", "b"]


@pytest.mark.parametrize(
    ("first", "second"), [("bucket/a", "bucket/a/b"), ("bucket", "s3://bucket/")]
)
def test_two_masters_of_a_prefix_do_not_delete_each_others_objects(
    first: str, second: str
) -> None:
    """A master refuses both of two nested or equal prefixes; slaves may read one prefix twice."""
    mappings = mapping("a", first, "/srv/a"), mapping("b", second, "/srv/b")
    master = read(*mappings, rules=MASTER)
    slave = read(*mappings)

    assert problems(master) == {
        "a": ('s3: overlaps that of m.json: mapping 2 "b"',),
        "b": ('s3: overlaps that of m.json: mapping 1 "a"',),
    }
    assert slave.failures == ()


def test_a_broken_mapping_keeps_its_directory() -> None:
    """A mapping that fails for another reason still overlaps: its repair must not break a second one."""
    broken = {**mapping("a", "bucket/a", "/srv/a"), "extras": 1}
    actual = read(broken, mapping("b", "bucket/b", "/srv/a/b"))

    assert actual.mappings == ()
    assert len(actual.failures) == 2


def test_a_pattern_without_quotes_is_not_an_alias_to_a_person() -> None:
    """The message for `ignore: [*.bmp]` in YAML says to put the pattern in quotes, and with them it is read."""
    text = "- {name: a, s3: bucket/a, slave: /srv/a,\n   ignore: [%s]}"
    wrong = read_maps([MapFile("m.yaml", (text % "tmp/*, *.bmp").encode())], SLAVE)
    right = read_maps([MapFile("m.yaml", (text % "tmp/*, '*.bmp'").encode())], SLAVE)

    assert str(wrong.failures[0].error) == (
        "m.yaml: line 2, column 20: YAML aliases are not allowed;"
        " put a pattern that begins with * in quotes: '*.bmp'"
    )
    assert right.mappings[0].ignore == ("tmp/*", "*.bmp")


def test_a_new_file_cannot_take_over_the_name_of_an_old_mapping() -> None:
    """A name that is given twice is refused everywhere, and both places are named."""
    files = [
        MapFile(name, json.dumps([mapping("x", "bucket/a", directory)]).encode())
        for name, directory in [
            ("1.json", "/srv/1"),
            ("2.json", "/srv/2"),
            ("3.json", "/srv/3"),
        ]
    ]
    actual = read_maps(files, SLAVE)

    assert actual.mappings == ()
    assert [str(failure.error) for failure in actual.failures] == [
        '1.json: mapping 1 "x": name: "x" is also the name of 2.json: mapping 1',
        '2.json: mapping 1 "x": name: "x" is also the name of 1.json: mapping 1',
        '3.json: mapping 1 "x": name: "x" is also the name of 1.json: mapping 1',
    ]


def test_a_property_that_is_given_twice_is_not_chosen_from() -> None:
    """Two equal properties fail their mapping alone."""
    text = (
        '[{"name": "a", "s3": "bucket/a", "slave": "/srv/a", "slave": "/srv/b"},'
        ' {"name": "b", "s3": "bucket/b", "slave": "/srv/c"}]'
    )
    actual = read_maps([MapFile("m.json", text.encode())], SLAVE)

    assert [mapping.name for mapping in actual.mappings] == ["b"]
    assert problems(actual) == {"a": ("slave: property given more than once",)}


@pytest.mark.parametrize(
    ("name", "data", "problem"),
    [
        ("m.json", b"", "line 1, column 1: not valid JSON, expecting value"),
        ("m.json", b"{}", "expected an array of mappings, got a mapping"),
        ("m.json", b"[" * 100_000, "not valid JSON, it nests too deeply"),
        ("m.json", b"\xff\xfe[", "not valid UTF-8, at byte 0"),
        ("m.yaml", b"", "expected an array of mappings, got null"),
        (
            "m.yaml",
            b"- &a x",
            "line 1, column 3: YAML anchors are not allowed; put text that begins with & in quotes",
        ),
        ("m.txt", b"[]", "expected a name that ends in .json, .yaml or .yml"),
    ],
)
def test_a_broken_file_fails_alone(name: str, data: bytes, problem: str) -> None:
    """A file that cannot be read is one failure without a mapping, and the next file is read."""
    good = MapFile("good.json", json.dumps([GOOD]).encode())
    actual = read_maps([MapFile(name, data), good], SLAVE)

    assert [mapping.name for mapping in actual.mappings] == ["a"]
    assert problems(actual) == {"": (problem,)}
    assert actual.failures[0].error.subject == name


def test_no_files_no_mappings() -> None:
    """Nothing, and an empty array, are no failures."""
    nothing = read_maps([], SLAVE)
    empty = read_maps([MapFile("m.json", b"[]")], SLAVE)

    assert nothing == empty == Maps()


def test_the_name_of_a_file_cannot_write_to_the_terminal() -> None:
    """The key of a map file is escaped in messages."""
    actual = read_maps([MapFile("\x1b.json", b"{}"), MapFile("\n.json", b"[1]")], SLAVE)

    assert [failure.error.subject for failure in actual.failures] == [
        "\\x1b.json",
        "\\x0a.json: mapping 1",
    ]


@given(st.binary() | st.text().map(str.encode), st.sampled_from(["m.json", "m.yaml"]))
def test_only_failures_come_out_of_bytes(data: bytes, name: str) -> None:
    """Any bytes give mappings or failures."""
    actual = read_maps([MapFile(name, data)], SLAVE)

    assert all(isinstance(failure, MapFailure) for failure in actual.failures)


JSON = st.recursive(
    SCALARS
    | st.sampled_from(
        ["/srv/a", "/srv/a/b", "/", "bucket/a", "bucket", "c:/x", "keep", "\ud800"]
    ),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, ".js"]) | st.text(), children, max_size=5)
    ),
    max_leaves=10,
)
MAPPINGS = st.lists(st.dictionaries(st.sampled_from(NAMES), JSON) | JSON, max_size=4)


@given(MAPPINGS, st.sampled_from([SLAVE, MASTER]), st.sampled_from(["m.json", "m.yaml"]))
def test_no_map_reaches_beyond_its_roots(value: object, rules: MapRules, name: str) -> None:
    """Whatever a map says, its mappings are below a root, apart from each other, and messages printable."""
    actual = read_maps([MapFile(name, json.dumps(value).encode())], rules)

    directories = [mapping.directory for mapping in actual.mappings]
    assert all(item.startswith(("/srv/", "/etc/", "/var/", "c:/path")) for item in directories)
    assert len({item.split("/")[2] for item in directories}) == len(directories)
    assert all(str(failure.error).isprintable() for failure in actual.failures)


@pytest.mark.parametrize("prefix", ["", "maps", "maps/site"])
def test_a_master_cannot_delete_the_map_files(prefix: str) -> None:
    """A master's prefix that holds the map files is refused: they would go as something that it lacks."""
    place = f"bucketname/{prefix}".rstrip("/")
    mapping = {"name": "all", "s3": place, "master": "/srv/all"}
    rules = replace(MASTER, roots=("/srv",), maps=Location("bucketname", "maps/site"))

    maps = read_maps([MapFile("m.json", json.dumps([mapping]).encode())], rules)

    assert maps.mappings == ()
    assert "holds the map files" in str(maps.failures[0].error)


def test_a_prefix_beside_the_map_files_is_a_masters_own() -> None:
    """A prefix that only begins like the maps' location does not hold them."""
    mapping = {"name": "all", "s3": "bucketname/maps/site2", "master": "/srv/all"}
    rules = replace(MASTER, roots=("/srv",), maps=Location("bucketname", "maps/site"))

    maps = read_maps([MapFile("m.json", json.dumps([mapping]).encode())], rules)

    assert [each.name for each in maps.mappings] == ["all"]


@pytest.mark.parametrize("prefix", ["", "fleet"])
def test_a_master_cannot_delete_the_reports_of_the_fleet(prefix: str) -> None:
    """A master's prefix that holds the reports is refused: they would go as something that it lacks."""
    mapping = {"name": "all", "s3": f"bucketname/{prefix}", "master": "/srv/all"}
    rules = replace(MASTER, roots=("/srv",), reports=Location("bucketname", "fleet"))

    maps = read_maps([MapFile("m.json", json.dumps([mapping]).encode())], rules)

    assert maps.mappings == ()
    assert "holds the reports of the fleet, bucketname/fleet" in str(maps.failures[0].error)
