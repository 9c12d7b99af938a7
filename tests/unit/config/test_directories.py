"""Where a mapping's directory really is."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.calls import counted_calls

from s32s_agent.config import config_file
from s32s_agent.config.directories import (
    ProtectedPaths,
    check_directory,
    find_overlaps,
    home_directories,
    protected_paths,
    resolve_links,
)
from s32s_agent.config.settings import Settings
from s32s_agent.errors import MapError
from s32s_agent.model import Location, Mapping


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The one root; `outside` and `state` lie beside it."""
    for name in ("root", "outside", "state"):
        (tmp_path / name).mkdir()
    return tmp_path / "root"


def mapping(directory: Path | str, name: str = "m") -> Mapping:
    return Mapping(name, Location("bucket", "p"), str(directory))


def check(
    directory: Path, root: Path, homes: tuple[str, ...] = (), state: Path | None = None
) -> str:
    own = ProtectedPaths(str(state or root.parent / "state"), {})
    return check_directory(mapping(directory), [str(root)], homes, own)


def problems(
    directory: Path, root: Path, homes: tuple[str, ...] = (), state: Path | None = None
) -> tuple[str, ...]:
    with pytest.raises(MapError) as caught:
        check(directory, root, homes, state)
    assert caught.value.place == f'mapping "m": "{directory}"'
    return caught.value.problems


def test_a_directory_below_a_root(root: Path) -> None:
    """A directory in a root is taken, whether or not it exists yet."""

    assert check(root / "site", root) == str(root / "site")


def test_a_root_itself(root: Path) -> None:
    """A mapping may be a whole root."""

    assert check(root, root) == str(root)


def test_a_root_that_is_a_link(root: Path) -> None:
    """An operator may put a root elsewhere with a link; what counts is where it leads."""
    link = root.parent / "www"
    link.symlink_to(root)

    assert check(link / "site", link) == str(root / "site")
    assert check(root / "site", link) == str(root / "site")


@pytest.mark.parametrize("name", ["link", "link/below", "link/deep/below"])
def test_a_planted_link_never_leads_out_of_the_roots(root: Path, name: str) -> None:
    """A link in a root that leads elsewhere is outside, at the end of the path and on the way."""
    (root / "link").symlink_to(root.parent / "outside")
    led_to = root.parent / "outside" / Path(name).relative_to("link")

    assert problems(root / name, root) == (f'"{led_to}" is outside roots',)


def test_links_over_links_never_lead_out(root: Path) -> None:
    """A chain of links, relative ones too, is followed to its end."""
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("../outside")

    assert problems(root / "one", root) == (f'"{root.parent}/outside" is outside roots',)


def test_a_link_within_the_roots(root: Path) -> None:
    """A link that stays inside is resolved and taken."""
    (root / "real").mkdir()
    (root / "link").symlink_to("real")

    assert check(root / "link", root) == str(root / "real")


def test_a_name_that_only_begins_like_a_root(root: Path) -> None:
    """`/root-evil` is not in `/root`."""

    assert problems(Path(f"{root}-evil"), root) == (f'"{root}-evil" is outside roots',)


def test_no_link_makes_a_system_directory_a_target(root: Path) -> None:
    """A link to /etc is what it leads to, even when the roots would allow it."""
    (root / "link").symlink_to("/etc")

    with pytest.raises(MapError) as caught:
        check_directory(
            mapping(root / "link"), ["/"], (), ProtectedPaths("/nowhere/state", {})
        )

    assert caught.value.problems == ('"/etc" is a system directory or a home',)


def test_no_home_is_a_target(root: Path) -> None:
    """A home, and what contains one, is not mirrored; a directory in it is."""
    home = str(root / "home" / "eve")

    assert problems(Path(home), root, (home,)) == (
        f'"{home}" is a system directory or a home',
    )
    assert problems(root / "home", root, (home,))
    assert check(Path(home) / "site", root, (home,)) == f"{home}/site"


@pytest.mark.parametrize("name", ["state", "state/inner", "."])
def test_the_agent_never_mirrors_over_its_own_state(root: Path, name: str) -> None:
    """The state directory, what is in it and what it is in is no target, through a link neither."""
    (root / "link").symlink_to(root.parent)
    directory = root / "link" / name

    found = problems(directory, root.parent, state=root.parent / "state")

    assert found == (f'"{resolve_links(str(directory))}" overlaps state_dir',)


# --- what the agent believes or runs ---


def settings_with(**sections: object) -> Settings:
    text = {"role": "slave", "maps": "bucket/maps", "roots": ["/srv"], **sections}
    return config_file.parse(json.dumps(text), "test")


OWN_FILES: dict[str, Callable[[str], ProtectedPaths]] = {
    "the config": lambda file: protected_paths(settings_with(), file, {}),
    "the AWS config": lambda file: protected_paths(
        settings_with(), "", {"AWS_CONFIG_FILE": file}
    ),
    "the AWS credentials": lambda file: protected_paths(
        settings_with(), "", {"AWS_SHARED_CREDENTIALS_FILE": file}
    ),
    "the CA bundle": lambda file: protected_paths(
        settings_with(s3={"ca_bundle": file}), "", {}
    ),
    "the CA bundle of the AWS chain": lambda file: protected_paths(
        settings_with(), "", {"AWS_CA_BUNDLE": file}
    ),
    **{
        f"the hook {hook}": lambda file, hook=hook: protected_paths(  # type: ignore[misc]
            settings_with(hooks={hook: [file, "x"]}), "", {}
        )
        for hook in ("before", "on_change", "after", "on_failure")
    },
    "a mapping's hook": lambda file: protected_paths(
        settings_with(hooks={"on_change": {"m": [file]}}), "", {}
    ),
}


@pytest.mark.parametrize("what", OWN_FILES)
@pytest.mark.parametrize("exists", [True, False])
def test_no_object_becomes_what_the_agent_believes_or_runs(
    root: Path, what: str, *, exists: bool
) -> None:
    """A place that such a file is in, or would be in, is refused; one beside it is not."""
    file = root / "agent" / "etc" / "file"
    if exists:
        file.parent.mkdir(parents=True)
        file.touch()
    own = OWN_FILES[what](str(file))

    for place in (root, root / "agent", root / "agent" / "etc"):
        with pytest.raises(MapError) as caught:
            check_directory(mapping(place), [str(root)], (), own)
        assert caught.value.problems == (
            f'in "{place}" is "{file}", or would be, which the agent believes or runs',
        )
    beside = root / "agent" / "etc2"
    assert check_directory(mapping(beside), [str(root)], (), own) == str(beside)


def test_a_link_on_the_way_to_the_config_is_no_target_either(root: Path) -> None:
    """Whoever could exchange the link would choose the config, wherever that is now."""
    for name in ("here", "there", "apart"):
        (root / name).mkdir()
    (root / "there" / "config.yaml").touch()
    (root / "here" / "link").symlink_to("../there")
    own = protected_paths(settings_with(), str(root / "here" / "link" / "config.yaml"), {})

    for name in ("here", "there"):
        with pytest.raises(MapError, match="which the agent believes"):
            check_directory(mapping(root / name), [str(root)], (), own)
    assert check_directory(mapping(root / "apart"), [str(root)], (), own)


# --- other people's links ---

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links away")


@needs_root
@pytest.mark.parametrize("name", ["link", "link/below", "hop", "hop/below/deep"])
def test_a_link_of_a_local_user_leads_no_pass_astray(root: Path, name: str) -> None:
    """One that stays in the roots is followed when root or the agent's user made it; nobody else's is."""
    (root / "real" / "below").mkdir(parents=True)
    (root / "link").symlink_to("real")
    (root / "hop").symlink_to(root / "link")
    assert check(root / name, root) == str(root / "real" / name.partition("/")[2]).rstrip("/")
    os.chown(root / "link", NOBODY, NOBODY, follow_symlinks=False)

    assert problems(root / name, root) == (
        f'"{root}/link" is a link of user 65534, expected one of the agent\'s user or root',
    )


@pytest.mark.parametrize("target", [".", "..", "../root", "real/..", "real/../."])
def test_a_link_to_where_it_is_was_not_exchanged(root: Path, target: str) -> None:
    """However its target is written, what was looked at is what was resolved."""
    (root / "real").mkdir()
    (root / "link").symlink_to(target)
    own = ProtectedPaths("/nowhere/state", {})

    place = check_directory(mapping(root / "link"), ["/"], (), own)

    assert place == str((root / "link").resolve())


def test_a_link_that_is_exchanged_meanwhile_leads_nowhere(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was resolved must be what was looked at, or nothing is said about it."""
    for name in ("one", "two"):
        (root / name).mkdir()
    link = root / "link"
    link.symlink_to("one")
    resolve = os.path.realpath

    def swap_behind(path: str) -> str:
        resolved = resolve(path)
        if path == str(link):
            link.unlink()
            link.symlink_to("two")
        return resolved

    monkeypatch.setattr(os.path, "realpath", swap_behind)

    assert problems(link, root) == (f'"{link}" led elsewhere while it was looked at',)


def test_a_directory_that_may_not_be_looked_at_is_left_to_who_opens_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it cannot be opened is another error than that of the map."""
    look = os.lstat

    def refuse(path: str) -> os.stat_result:
        if str(path) == str(root / "closed" / "site"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return look(path)

    (root / "closed").mkdir()
    monkeypatch.setattr(os, "lstat", refuse)

    assert check(root / "closed" / "site", root) == str(root / "closed" / "site")


def test_all_problems_come_at_once(root: Path) -> None:
    """Everything that is wrong with a place is told together."""
    (root / "link").symlink_to(root.parent / "state")

    found = problems(root / "link", root, (str(root.parent / "state"),))

    assert len(found) == 3


def test_mappings_that_meet_behind_links_do_not_delete_each_other() -> None:
    """Directories that are one or nested, once resolved, are refused, all of them; a neighbour is not."""
    places = [
        (mapping("/x/a", "a"), "/srv/site"),
        (mapping("/x/b", "b"), "/srv/site"),
        (mapping("/x/c", "c"), "/srv/site/deep"),
        (mapping("/x/d", "d"), "/srv/site2"),
    ]
    errors = find_overlaps(places)

    assert sorted(errors) == ["a", "b", "c"]
    assert str(errors["c"]) == (
        'mapping "c": "/srv/site/deep" is the directory of "b", or one is inside the other'
    )
    assert len(errors["b"].problems) == 2


@pytest.mark.parametrize(
    ("shape", "refused"),
    [
        ("/srv/{}", 0),
        ("/srv/same", 1),
        ("/srv/{}/deep", 0),
    ],
)
def test_many_mappings_cost_no_more_than_their_number(shape: str, refused: int) -> None:
    """A map with very many mappings takes no pair of them apart: a few calls each, whatever they name."""
    places = [(mapping("/x", str(each)), shape.format(each)) for each in range(2000)]
    with counted_calls() as calls:
        errors = find_overlaps(places)

    assert len(errors) == refused * len(places)
    assert calls.count < 100 * len(places)


def test_a_place_with_many_inside_names_the_first_of_them() -> None:
    """All are refused, and the message of the one around them stays short."""
    inside = [(mapping("/x", str(each)), f"/srv/site/{each}") for each in range(10_000)]
    errors = find_overlaps([(mapping("/x", "around"), "/srv/site"), *inside])

    assert len(errors) == 10_001
    assert len(str(errors["around"])) < 10_000


def test_homes_are_those_of_people() -> None:
    """root's home is one, the top of the file system never is."""
    homes = home_directories()

    assert resolve_links("/root") in homes
    assert "/" not in homes


@pytest.mark.parametrize("times", [1, 1000])
def test_a_link_that_is_gone_when_it_is_read_is_no_crash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, times: int
) -> None:
    """A directory takes the link's place between two looks: it is looked at again, and in the end refused."""
    resolve, left = os.path.realpath, [times]

    def race(path: str) -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.EINVAL, "Invalid argument", path)
        return resolve(path)

    monkeypatch.setattr(os.path, "realpath", race)

    if times == 1:
        assert resolve_links(str(tmp_path)) == str(tmp_path)
    else:
        with pytest.raises(MapError, match="led elsewhere"):
            resolve_links(str(tmp_path))
