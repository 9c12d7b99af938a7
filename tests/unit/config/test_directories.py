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
    protected = ProtectedPaths(str(state or root.parent / "state"), {})
    return check_directory(mapping(directory), [str(root)], homes, protected)


def problems(
    directory: Path, root: Path, homes: tuple[str, ...] = (), state: Path | None = None
) -> tuple[str, ...]:
    with pytest.raises(MapError) as caught:
        check(directory, root, homes, state)
    assert caught.value.subject == f'mapping "m": "{directory}"'
    return caught.value.problems


def test_a_directory_below_a_root(root: Path) -> None:
    """A directory in a root is accepted, whether or not it exists yet."""

    assert check(root / "site", root) == str(root / "site")


def test_a_root_itself(root: Path) -> None:
    """A mapping may be a whole root."""

    assert check(root, root) == str(root)


def test_a_root_that_is_a_link(root: Path) -> None:
    """A root may be a link; what counts is where it leads."""
    link = root.parent / "www"
    link.symlink_to(root)

    assert check(link / "site", link) == str(root / "site")
    assert check(root / "site", link) == str(root / "site")


@pytest.mark.parametrize("name", ["link", "link/below", "link/deep/below"])
def test_a_planted_link_never_leads_out_of_the_roots(root: Path, name: str) -> None:
    """A link in a root that leads elsewhere is outside, whether it is the last part of the path or an earlier one."""
    (root / "link").symlink_to(root.parent / "outside")
    led_to = root.parent / "outside" / Path(name).relative_to("link")

    assert problems(root / name, root) == (f'"{led_to}" is outside roots',)


def test_links_over_links_never_lead_out(root: Path) -> None:
    """A chain of links, relative ones too, is followed to its end."""
    (root / "one").symlink_to("two")
    (root / "two").symlink_to("../outside")

    assert problems(root / "one", root) == (f'"{root.parent}/outside" is outside roots',)


def test_a_link_within_the_roots(root: Path) -> None:
    """A link that stays inside is resolved and accepted."""
    (root / "real").mkdir()
    (root / "link").symlink_to("real")

    assert check(root / "link", root) == str(root / "real")


def test_a_directory_whose_name_begins_like_a_root_is_outside_it(root: Path) -> None:
    """`/root-evil` is not in `/root`."""

    assert problems(Path(f"{root}-evil"), root) == (f'"{root}-evil" is outside roots',)


def test_no_link_makes_a_system_directory_a_target(root: Path) -> None:
    """A link to /etc is what it leads to, even when the roots would allow it."""
    (root / "link").symlink_to("/etc")

    with pytest.raises(MapError) as caught:
        check_directory(
            mapping(root / "link"), ["/"], (), ProtectedPaths("/nowhere/state", {})
        )

    assert caught.value.problems == ('"/etc" is a system directory or a home directory',)


def test_no_home_directory_is_mirrored(root: Path) -> None:
    """A home directory, and what contains one, is refused; a directory in it is accepted."""
    home = str(root / "home" / "eve")

    assert problems(Path(home), root, (home,)) == (
        f'"{home}" is a system directory or a home directory',
    )
    assert problems(root / "home", root, (home,))
    assert check(Path(home) / "site", root, (home,)) == f"{home}/site"


@pytest.mark.parametrize("name", ["state", "state/inner", "."])
def test_the_agent_never_mirrors_over_its_own_state(root: Path, name: str) -> None:
    """The state directory, what is in it and what contains it are refused, also through a link."""
    (root / "link").symlink_to(root.parent)
    directory = root / "link" / name

    found = problems(directory, root.parent, state=root.parent / "state")

    assert found == (f'"{resolve_links(str(directory))}" overlaps state_dir',)


# --- what the agent trusts or runs ---


def settings_with(**sections: object) -> Settings:
    text = {"role": "slave", "maps": "bucket/maps", "roots": ["/srv"], **sections}
    return config_file.parse(json.dumps(text), "test")


TRUSTED_FILES: dict[str, Callable[[str], ProtectedPaths]] = {
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


@pytest.mark.parametrize("what", TRUSTED_FILES)
@pytest.mark.parametrize("exists", [True, False])
def test_no_object_becomes_a_file_that_the_agent_trusts_or_runs(
    root: Path, what: str, *, exists: bool
) -> None:
    """A directory that contains the path of such a file is refused, whether or not the file exists; others are not."""
    file = root / "agent" / "etc" / "file"
    if exists:
        file.parent.mkdir(parents=True)
        file.touch()
    protected = TRUSTED_FILES[what](str(file))

    for directory in (root, root / "agent", root / "agent" / "etc"):
        with pytest.raises(MapError) as caught:
            check_directory(mapping(directory), [str(root)], (), protected)
        assert caught.value.problems == (
            f'"{directory}" contains the path "{file}", which the agent trusts or runs',
        )
    beside = root / "agent" / "etc2"
    assert check_directory(mapping(beside), [str(root)], (), protected) == str(beside)


def test_a_directory_with_a_link_to_the_config_is_refused(root: Path) -> None:
    """Whoever could replace the link would choose the config, wherever that is now."""
    for name in ("here", "there", "apart"):
        (root / name).mkdir()
    (root / "there" / "config.yaml").touch()
    (root / "here" / "link").symlink_to("../there")
    protected = protected_paths(
        settings_with(), str(root / "here" / "link" / "config.yaml"), {}
    )

    for name in ("here", "there"):
        with pytest.raises(MapError, match="which the agent trusts"):
            check_directory(mapping(root / name), [str(root)], (), protected)
    assert check_directory(mapping(root / "apart"), [str(root)], (), protected)


# --- links of other users ---

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give links away")


@needs_root
@pytest.mark.parametrize("name", ["link", "link/below", "hop", "hop/below/deep"])
def test_a_link_of_another_user_redirects_no_mapping(root: Path, name: str) -> None:
    """A link that stays in the roots is followed when it belongs to root or the agent's user, and to no other user."""
    (root / "real" / "below").mkdir(parents=True)
    (root / "link").symlink_to("real")
    (root / "hop").symlink_to(root / "link")
    assert check(root / name, root) == str(root / "real" / name.partition("/")[2]).rstrip("/")
    os.chown(root / "link", NOBODY, NOBODY, follow_symlinks=False)

    assert problems(root / name, root) == (
        f'"{root}/link" is a symbolic link that belongs to user 65534, expected the agent\'s user or root',
    )


@pytest.mark.parametrize("target", [".", "..", "../root", "real/..", "real/../."])
def test_a_link_to_its_own_directory_is_accepted(root: Path, target: str) -> None:
    """However its target is written, what was checked is what was resolved."""
    (root / "real").mkdir()
    (root / "link").symlink_to(target)
    protected = ProtectedPaths("/nowhere/state", {})

    directory = check_directory(mapping(root / "link"), ["/"], (), protected)

    assert directory == str((root / "link").resolve())


def test_a_link_that_is_replaced_during_the_check_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was resolved must be what was checked."""
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

    assert problems(link, root) == (
        f'"{link}": its symbolic links changed while it was checked',
    )


def test_a_directory_that_cannot_be_read_is_left_to_whoever_opens_it(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That it cannot be opened is no error of the map."""
    look = os.lstat

    def refuse(path: str) -> os.stat_result:
        if str(path) == str(root / "closed" / "site"):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return look(path)

    (root / "closed").mkdir()
    monkeypatch.setattr(os, "lstat", refuse)

    assert check(root / "closed" / "site", root) == str(root / "closed" / "site")


def test_all_problems_are_reported_at_once(root: Path) -> None:
    """One error names everything that is wrong with a directory."""
    (root / "link").symlink_to(root.parent / "state")

    found = problems(root / "link", root, (str(root.parent / "state"),))

    assert len(found) == 3


def test_mappings_that_meet_behind_links_do_not_delete_each_other() -> None:
    """Directories that are equal or nested once resolved are all refused; one beside them is not."""
    directories = [
        (mapping("/x/a", "a"), "/srv/site"),
        (mapping("/x/b", "b"), "/srv/site"),
        (mapping("/x/c", "c"), "/srv/site/deep"),
        (mapping("/x/d", "d"), "/srv/site2"),
    ]
    errors = find_overlaps(directories)

    assert sorted(errors) == ["a", "b", "c"]
    assert str(errors["c"]) == (
        'mapping "c": "/srv/site/deep" is, contains or is inside the directory of "b"'
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
def test_the_cost_of_the_check_grows_with_the_number_of_mappings_only(
    shape: str, refused: int
) -> None:
    """A map with very many mappings is not compared pair by pair: a few calls each, whatever they name."""
    directories = [(mapping("/x", str(each)), shape.format(each)) for each in range(2000)]
    with counted_calls() as calls:
        errors = find_overlaps(directories)

    assert len(errors) == refused * len(directories)
    assert calls.count < 100 * len(directories)


def test_a_directory_with_many_inside_names_the_first_of_them() -> None:
    """All are refused, and the message of the one around them stays short."""
    inside = [(mapping("/x", str(each)), f"/srv/site/{each}") for each in range(10_000)]
    errors = find_overlaps([(mapping("/x", "around"), "/srv/site"), *inside])

    assert len(errors) == 10_001
    assert len(str(errors["around"])) < 10_000


def test_home_directories_are_those_of_people_and_root() -> None:
    """root's home is one, the root of the file system never is."""
    homes = home_directories()

    assert resolve_links("/root") in homes
    assert "/" not in homes


@pytest.mark.parametrize("times", [1, 1000])
def test_a_link_that_vanishes_while_it_is_resolved_is_no_crash(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, times: int
) -> None:
    """A directory replaces the link between two calls: the path is resolved again, and in the end refused."""
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
        with pytest.raises(MapError, match="kept changing while it was resolved"):
            resolve_links(str(tmp_path))


def test_a_dead_file_server_with_the_homes_of_all_users_does_not_hang_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An automounter mounts whatever is looked at; the homes that it manages are compared by their names."""
    import pwd  # noqa: PLC0415

    homes = [
        "/net/homes/alice",
        "/net/homes/bob",
        "/net/with space/carol",
        str(tmp_path / "dave"),
    ]
    users = [
        pwd.struct_passwd(("x", "x", 1000 + number, 100, "", home, "/bin/sh"))
        for number, home in enumerate(homes)
    ]
    monkeypatch.setattr(pwd, "getpwall", lambda: users)
    real, looked_at = os.path.realpath, []

    def look(path: str, **given: bool) -> str:
        looked_at.append(path)
        return real(path, **given)

    monkeypatch.setattr(os.path, "realpath", look)
    (tmp_path / "data").mkdir()
    (tmp_path / "dave").symlink_to(tmp_path / "data")
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw\n"
        "60 24 0:50 / /net/homes rw shared:2 - autofs /etc/auto.home rw,fd=6\n"
        "61 24 0:51 / /net/with\\040space rw - nfs4 server:/x rw\n"
        f"62 24 0:52 / {tmp_path} rw - fuseblk /dev/sdb1 rw\n"
    )

    found, asked = home_directories(str(mounts)), set(looked_at)

    assert set(found) == {*homes[:3], str((tmp_path / "data").resolve()), "/root"}
    assert asked == {homes[3], "/root"}
