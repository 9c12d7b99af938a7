"""Where a mapping's directory really is."""

from __future__ import annotations

from pathlib import Path

import pytest

from s32s_agent.errors import MapError
from s32s_agent.model import Location, Mapping
from s32s_agent.places import (
    check_place,
    homes_of_people,
    real,
    refuse_hidden_overlaps,
)


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
    state_dir = str(state or root.parent / "state")
    return check_place(mapping(directory), [str(root)], state_dir, homes)


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
        check_place(mapping(root / "link"), ["/"], "/nowhere/state", ())

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

    assert found == (f'"{real(str(directory))}" overlaps state_dir',)


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
    errors = refuse_hidden_overlaps(places)

    assert sorted(errors) == ["a", "b", "c"]
    assert str(errors["c"]) == (
        'mapping "c": "/srv/site/deep" is the directory of "a", "b", or one is inside the other'
    )


def test_homes_are_those_of_people() -> None:
    """root's home is one, the top of the file system never is."""
    homes = homes_of_people()

    assert real("/root") in homes
    assert "/" not in homes
