"""The remedy for a directory to which the sandbox of a unit refuses access."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from s32s_agent.errors import (
    AgentError,
    DeletesRefused,
    DirectoryError,
    EntryError,
    StoreUnavailable,
)
from s32s_agent.run.sandbox import Unit, advise, remedy, running_unit

UNIT = Unit("s32s-agent.service", "s32s-agent", "/var/lib/s32s-agent")
WEB = Unit(r"s32s-agent@a\x2db.service", "s32s-agent", "/var/lib/s32s-agent/a-b")
EDIT = "run: systemctl edit s32s-agent.service, and write below [Service]:"
IN_UNIT = {
    "INVOCATION_ID": "1",
    "USER": "s32s-agent",
    "STATE_DIRECTORY": "/var/lib/s32s-agent",
}


@pytest.mark.parametrize(
    ("number", "directory", "unit", "expected"),
    [
        (errno.EROFS, "/srv/app", UNIT, f"{EDIT} ReadWritePaths=/srv/app"),
        (errno.EROFS, "/srv/my app", UNIT, f'{EDIT} ReadWritePaths="/srv/my app"'),
        (errno.EROFS, "/srv/100%", UNIT, f"{EDIT} ReadWritePaths=/srv/100%%"),
        (
            errno.EROFS,
            "/var/lib/s32s-agent",
            WEB,
            "set state_dir to /var/lib/s32s-agent/a-b, which the unit may write",
        ),
        (
            errno.EROFS,
            "/srv/app",
            WEB,
            (
                r"run: systemctl edit 's32s-agent@a\x2db.service', and write below [Service]: "
                "ReadWritePaths=/srv/app"
            ),
        ),
        (
            errno.EACCES,
            "/home/deploy/app",
            UNIT,
            f"{EDIT} ProtectHome=tmpfs, and on a separate line: BindPaths=/home/deploy/app",
        ),
        (
            errno.EACCES,
            "/srv/app",
            UNIT,
            "run: chown -R s32s-agent /srv/app, or: setfacl -R -m u:s32s-agent:rwX /srv/app",
        ),
        (
            errno.EXDEV,
            "/srv/app",
            UNIT,
            (
                "something is mounted inside /srv/app, as BindPaths= does: mount the whole directory, or use one "
                "mapping for each mount"
            ),
        ),
        (
            errno.EINVAL,
            "/srv/app",
            UNIT,
            "the unit may not change owners (sync.owner); an immutable file needs chattr -i",
        ),
        (errno.EIO, "/srv/app", UNIT, ""),
    ],
)
def test_the_remedy_names_the_drop_in(
    number: int, directory: str, unit: Unit, expected: str
) -> None:
    """Each refusal of the sandbox has a remedy that can be typed; other errors have none."""
    assert remedy(number, directory, unit, exists=True) == expected


def test_a_missing_directory_is_created_before_it_is_listed() -> None:
    """The unit would not even start with a path in ReadWritePaths= that does not exist."""
    said = remedy(errno.EROFS, "/srv/my app", UNIT, exists=False)

    assert said == (
        f"run: install -d -o s32s-agent '/srv/my app'; then {EDIT} ReadWritePaths=\"/srv/my app\""
    )


@pytest.mark.parametrize(
    ("cgroups", "expected"),
    [
        ("0::/system.slice/s32s-agent.service\n", "s32s-agent.service"),
        (
            "3:cpu:/\n1:name=systemd:/system.slice/system-s32s\\x2dagent.slice/s32s-agent@web.service\n0::/\n",
            "s32s-agent@web.service",
        ),
        ("0::/system.slice/run-u27.service\n", "s32s-agent.service"),
        ("0::/system.slice/run-r0123456789abcdef.service\n", "s32s-agent.service"),
        ("0::/system.slice/run-parts.service\n", "run-parts.service"),
        ("0::/user.slice/user-1000.slice/session-2.scope\n", None),
        ("0::/\n", None),
        ("", None),
    ],
)
def test_the_unit_is_found(cgroups: str, expected: str | None) -> None:
    """The name of the unit is the last part of the control group, in every layout; a login has none.

    A unit of systemd-run disappears when it ends: the drop-in is one for the service.
    """
    unit = running_unit(IN_UNIT, cgroups)

    assert (unit.name if unit else None) == expected
    assert running_unit({}, cgroups) is None


def caused(error: AgentError, cause: Exception) -> AgentError:
    error.__cause__ = cause
    return error


@pytest.fixture
def cgroups(tmp_path: Path) -> Path:
    """The control group of a process in the unit."""
    path = tmp_path / "cgroup"
    path.write_text("0::/system.slice/s32s-agent.service\n")
    return path


REFUSED = OSError(errno.EROFS, os.strerror(errno.EROFS))


@pytest.mark.parametrize("kind", [DirectoryError, DeletesRefused, EntryError])
def test_in_a_unit_the_remedy_is_the_drop_in(
    kind: type[AgentError], tmp_path: Path, cgroups: Path
) -> None:
    """An error that the sandbox caused names the command, whatever its remedy is outside of a unit."""
    error = caused(kind("x", remedy="as it was"), REFUSED)
    advise(error, str(tmp_path), IN_UNIT, cgroups)

    assert error.remedy == f"{EDIT} ReadWritePaths={tmp_path}"


@pytest.mark.parametrize(
    "error",
    [
        caused(StoreUnavailable("s3"), OSError(errno.EACCES, "firewall")),
        caused(DirectoryError("index", remedy="as it was"), ValueError()),
        caused(DirectoryError("x", remedy="as it was"), OSError(errno.EIO, "disk")),
        EntryError("key"),
    ],
)
def test_an_error_that_the_sandbox_did_not_cause_keeps_its_remedy(
    error: AgentError, cgroups: Path
) -> None:
    """EACCES from the network has another cause, and so has a broken disk."""
    before = error.remedy
    advise(error, "/srv/app", IN_UNIT, cgroups)

    assert error.remedy == before


@pytest.mark.parametrize(
    ("environ", "text"),
    [
        ({}, "0::/system.slice/s32s-agent.service\n"),
        (IN_UNIT, "0::/user.slice/user-1000.slice/session-2.scope\n"),
        (IN_UNIT, None),
    ],
)
def test_outside_a_unit_the_remedy_names_no_unit(
    environ: dict[str, str], text: str | None, cgroups: Path
) -> None:
    """By hand, under cron, and in a terminal that a unit has started, the remedy is that of the file system."""
    cgroups.unlink() if text is None else cgroups.write_text(text)
    error = caused(DirectoryError("x", remedy="as it was"), REFUSED)
    advise(error, "/srv/app", environ, cgroups)

    assert error.remedy == "as it was"
