"""Which files that another user may write are refused: config, state, what is above them, and the AWS files."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from s32s_agent.config.ownership import (
    require_trusted_aws_files,
    require_trusted_config,
    require_trusted_state,
    trust_problem,
)
from s32s_agent.errors import ConfigError, DirectoryError
from s32s_agent.run.state_directory import OWN_NAMES

pytestmark = pytest.mark.hostile

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    """A directory below which only this user may write."""
    yield tmp_path
    for each in tmp_path.rglob("*"):
        if not each.is_symlink():
            each.chmod(0o700)


def config_in(directory: Path, mode: int = 0o600) -> Path:
    directory.mkdir(exist_ok=True)
    path = directory / "config.yaml"
    path.write_text("role: slave\n")
    path.chmod(mode)
    return path


def fact(path: Path, *, directory: bool = False) -> str | None:
    problem = trust_problem(str(path), directory=directory)
    return problem.fact if problem else None


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644, 0o755])
def test_a_config_that_others_may_only_read_is_trusted(top: Path, mode: int) -> None:
    """Read access for others is no problem."""
    assert trust_problem(str(config_in(top, mode))) is None


@pytest.mark.parametrize(
    ("mode", "who"), [(0o602, "everyone"), (0o666, "everyone"), (0o620, "the group daemon")]
)
@needs_root
def test_a_config_that_others_may_write_is_refused(top: Path, mode: int, who: str) -> None:
    """The error names path, mode and the command that fixes it."""
    path = config_in(top, mode)
    os.chown(path, 0, grp.getgrnam("daemon").gr_gid)

    with pytest.raises(ConfigError) as caught:
        require_trusted_config(str(path))

    assert str(caught.value) == f'{path}: "{path}" is writable by {who} (mode {mode:04o})'
    assert caught.value.remedy == f"chmod go-w {path}"
    subprocess.run(caught.value.remedy, shell=True, check=True)
    require_trusted_config(str(path))


@needs_root
def test_a_config_of_another_user_is_refused(top: Path) -> None:
    """Its owner could change it at any time, whatever its mode."""
    path = config_in(top, 0o400)
    os.chown(path, NOBODY, 0)

    with pytest.raises(ConfigError, match=r"belongs to nobody \(mode 0400\), expected root"):
        require_trusted_config(str(path))


@pytest.mark.parametrize(
    ("mode", "trusted"), [(0o777, False), (0o772, False), (0o1777, True), (0o755, True)]
)
def test_a_directory_above_the_config_that_others_may_write_is_refused(
    top: Path, mode: int, *, trusted: bool
) -> None:
    """Whoever can write there can replace the config; in a sticky directory such as /tmp they cannot."""
    above = top / "above"
    path = config_in(above)
    above.chmod(mode)

    assert (trust_problem(str(path)) is None) is trusted


@needs_root
def test_a_directory_above_the_config_of_another_user_is_refused(top: Path) -> None:
    """Its owner could put another config there, sticky or not."""
    above = top / "above"
    path = config_in(above)
    os.chown(above, NOBODY, 0)
    above.chmod(0o1755)

    assert "belongs to nobody" in (fact(path) or "")


def test_every_directory_that_a_link_leads_through_is_checked(top: Path) -> None:
    """A config may be a link; the directories that it leads through are checked, and the one that contains it."""
    loose, tight = top / "loose", top / "tight"
    config_in(loose)
    config_in(tight)
    loose.chmod(0o777)
    (top / "through").symlink_to("loose/../tight/config.yaml")
    (top / "good").symlink_to("tight/config.yaml")
    (loose / "lies").symlink_to("../tight/config.yaml")

    assert fact(top / "good") is None
    assert "everyone" in (fact(top / "through") or "")
    assert "everyone" in (fact(loose / "lies") or "")


@needs_root
def test_a_link_of_another_user_in_tmp_is_refused(top: Path) -> None:
    """In a sticky directory every user can make a link, and point it elsewhere later."""
    shared = top / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    path = config_in(top / "tight")
    link = shared / "link"
    link.symlink_to(path)
    assert fact(link) is None
    os.chown(link, NOBODY, NOBODY, follow_symlinks=False)

    assert "belongs to nobody" in (fact(link) or "")


def test_a_link_to_itself_is_refused(top: Path) -> None:
    """It is not followed for ever."""
    (top / "circle").symlink_to("circle")

    assert "symbolic links" in (fact(top / "circle") or "")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_config_that_is_no_regular_file_is_refused(
    top: Path, make: Callable[[Path], None]
) -> None:
    """A pipe or a directory is not read."""
    make(top / "odd")

    assert fact(top / "odd") == "is not a regular file"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_state_directory_that_root_has_used_is_an_error_and_no_crash() -> None:
    """After a run as root, the error names the file that the agent's user cannot read, and the remedy."""
    with tempfile.TemporaryDirectory() as name:
        top = Path(name)
        top.chmod(0o755)
        (top / "maps").mkdir(mode=0o700)
        os.chown(top, NOBODY, NOBODY)
        os.seteuid(NOBODY)
        try:
            with pytest.raises(DirectoryError, match="cannot be read") as caught:
                require_trusted_state(str(top), OWN_NAMES)
        finally:
            os.seteuid(0)

    assert "run as root" in caught.value.remedy


def test_missing_files_are_accepted_and_what_is_above_them_is_checked(top: Path) -> None:
    """Whoever reads a missing config reports it, and a missing state directory is created."""
    assert fact(top / "missing" / "config.yaml") is None
    assert fact(top / "missing", directory=True) is None
    top.chmod(0o777)

    assert "everyone" in (fact(top / "missing") or "")


def test_a_sticky_state_directory_is_refused(top: Path) -> None:
    """In /tmp itself other users could create the files that are missing."""
    state = top / "state"
    state.mkdir()
    state.chmod(0o1777)

    assert "everyone" in (fact(state, directory=True) or "")


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o755])
def test_a_state_directory_as_systemd_makes_it_is_accepted(top: Path, mode: int) -> None:
    """StateDirectory= with any of its usual modes passes."""
    state = top / "state"
    state.mkdir()
    state.chmod(mode)

    require_trusted_state(str(state), OWN_NAMES)


@pytest.mark.parametrize("name", OWN_NAMES)
@pytest.mark.parametrize("odd", ["loose", "link", "foreign"])
@needs_root
def test_every_file_of_the_agent_in_the_state_directory_is_checked(
    top: Path, name: str, odd: str
) -> None:
    """A file or directory of the agent that others may write, or that is a link, is refused."""
    state = top / "state"
    state.mkdir(0o750)
    own = state / name
    if odd == "link":
        own.symlink_to(config_in(top / "elsewhere"))
    else:
        own.touch(0o600)
        os.chown(own, NOBODY if odd == "foreign" else 0, 0)
        own.chmod(0o606 if odd == "loose" else 0o600)

    with pytest.raises(DirectoryError) as caught:
        require_trusted_state(str(state), OWN_NAMES)

    assert str(own) in str(caught.value)
    assert str(own) in caught.value.remedy


@pytest.mark.parametrize("name", ["maps", "uploads"])
def test_files_in_the_directories_of_the_state_are_checked(top: Path, name: str) -> None:
    """A cached map or an upload record that others may write is refused."""
    inner = top / "state" / name
    inner.mkdir(parents=True)
    (inner / "x").touch()
    (inner / "x").chmod(0o666)

    with pytest.raises(DirectoryError, match="everyone"):
        require_trusted_state(str(top / "state"), OWN_NAMES)


def test_other_files_in_the_state_directory_are_not_checked(top: Path) -> None:
    """The home directory of a service's user holds more than the agent's files."""
    state = top / "state"
    state.mkdir()
    (state / "notes").touch()
    (state / "notes").chmod(0o666)
    (state / ".cache").symlink_to("/tmp")

    require_trusted_state(str(state), OWN_NAMES)


@needs_root
def test_a_group_without_other_members_may_write(top: Path) -> None:
    """root's own group may; a group with another member, or an unknown one, may not."""
    path = config_in(top, 0o660)
    others = [
        each for each in pwd.getpwall() if each.pw_uid and each.pw_gid not in (0, NOBODY)
    ]
    if any(each.pw_gid == 0 and each.pw_uid for each in pwd.getpwall()):
        pytest.skip("another user is in root's group here")

    assert fact(path) is None
    os.chown(path, 0, others[0].pw_gid)
    assert "the group" in (fact(path) or "")
    os.chown(path, 0, 987654)
    assert "the group 987654" in (fact(path) or "")


@needs_root
def test_an_access_list_that_lets_another_user_write_is_refused(top: Path) -> None:
    """Though the file's group has no other member."""
    path = config_in(top, 0o600)
    setfacl = shutil.which("setfacl")
    if (
        not setfacl
        or subprocess.run([setfacl, "-m", "u:nobody:rw", path], check=False).returncode
    ):
        pytest.skip("no setfacl, or no access lists on this file system")

    assert "the group root" in (fact(path) or "")


@pytest.mark.parametrize("variable", ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"])
def test_a_profile_that_others_may_write_runs_no_program(top: Path, variable: str) -> None:
    """Whoever can write the file chooses the program of `credential_process`."""
    path = config_in(top, 0o666)

    with pytest.raises(ConfigError, match="everyone"):
        require_trusted_aws_files(None, {variable: str(path)})
    require_trusted_aws_files(None, {variable: str(top / "missing")})


def test_a_ca_bundle_that_others_may_write_is_refused(top: Path) -> None:
    """Whoever can write the bundle decides which server is trusted."""
    path = config_in(top, 0o666)

    for bundle, environ in ((str(path), {}), (None, {"AWS_CA_BUNDLE": str(path)})):
        with pytest.raises(ConfigError, match="everyone"):
            require_trusted_aws_files(bundle, environ)
