"""The units and samples as systemd's own tools judge them; no machine is needed."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from support.pages import ROOT, section_of

from s32s_agent import workers
from s32s_agent.monitoring import publish
from s32s_agent.run import child_process, hooks

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(
        shutil.which("systemd-analyze") is None, reason="systemd is not installed"
    ),
]

UNITS = ROOT / "systemd"
NAMES = (
    "s32s-agent.service",
    "s32s-agent.timer",
    "s32s-agent@web.service",
    "s32s-agent@web.timer",
    "s32s-agent-failure@x.service",
    "s32s-agent-reload@nginx.path",
    "s32s-agent-reload@nginx.service",
)
MOST_EXPOSED = 1.2


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with the units and with the programs that they start, and nothing else."""
    shutil.copytree(UNITS, tmp_path / "etc/systemd/system")
    for name in ("usr/local/bin/s32s-agent", "usr/bin/echo", "usr/bin/systemctl"):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


def complaints(root: Path) -> str:
    """Verify all units; unknown keys alone would give status 0, so the output counts too."""
    done = run(
        *("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", f"--root={root}"),
        *NAMES,
    )
    return done.stderr or ("" if done.returncode == 0 else f"status {done.returncode}")


def test_the_units_are_right(root: Path) -> None:
    """systemd finds nothing to complain about."""
    assert complaints(root) == ""


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("s32s-agent.service", "ProtectSystem=strict", "ProtectSystm=strict"),
        ("s32s-agent@.service", "ProtectSystem=strict", "ProtectSystem=strictt"),
        ("s32s-agent.service", "ExecStart=s32s-agent", "ExecStart=s32s-agnt"),
        ("s32s-agent.timer", "OnCalendar=*:0/5", "OnCalendar=*:0/5/x"),
        ("s32s-agent@.timer", "[Timer]", "[Service]"),
        ("s32s-agent-reload@.path", "PathChanged=/", "PathChanged="),
        ("s32s-agent-failure@.service", "SyslogLevel=alert", "SyslogLevel=loud"),
    ],
)
def test_a_slip_in_a_unit_would_be_found(root: Path, file: str, old: str, new: str) -> None:
    """The check above can fail: for a key, a value, a program, a time, and a section."""
    unit = root / "etc/systemd/system" / file
    text = unit.read_text()
    assert text.count(old) == 1
    unit.write_text(text.replace(old, new))

    assert complaints(root) != ""


def exposure(unit: Path) -> float:
    """Ask how exposed a unit is, its drop-ins included."""
    if " 252 " not in run("systemctl", "--version").stdout:
        pytest.skip("the weights of systemd 252 are the measure")
    done = run("systemd-analyze", "security", "--offline=true", unit)
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    return float(found[1])


@pytest.mark.parametrize("name", ["s32s-agent.service", "s32s-agent@.service"])
def test_the_service_is_hardly_exposed(name: str) -> None:
    """Both forms of the service stay below the limit."""
    assert exposure(UNITS / name) <= MOST_EXPOSED


INSTALL = "docs/use/install.md"
DROP_INS = re.findall(
    r"^\| [^|]+ \| (`[^|]+`) \| ([\d.]+) \|$", section_of(INSTALL, "Service"), re.MULTILINE
)


@pytest.mark.parametrize(("lines", "told"), DROP_INS)
def test_the_drop_ins_of_the_readme_cost_what_it_says(
    tmp_path: Path, lines: str, told: str
) -> None:
    """Each drop-in is understood, and has the exposure of the table."""
    unit = tmp_path / "s32s-agent.service"
    shutil.copy(UNITS / unit.name, unit)
    drop_in = tmp_path / "s32s-agent.service.d" / "local.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("\n".join(["[Service]", *re.findall("`([^`]+)`", lines), ""]))

    assert exposure(unit) == float(told)


def test_the_table_of_drop_ins_is_found() -> None:
    """The test above has something to test, and the text names the service's own exposure."""
    assert len(DROP_INS) == 5
    assert f"{exposure(UNITS / 's32s-agent.service')} of 10" in section_of(INSTALL, "Service")


def test_the_unit_and_the_readme_name_the_same_mail() -> None:
    """The line in the unit's comment has the effect that the documents describe."""
    (line,) = re.findall(
        r"^ExecStart=/bin/sh -c 'journalctl .*$",
        section_of(INSTALL, "Get notified of failures"),
        re.MULTILINE,
    )

    assert f"\n# {line}\n" in (UNITS / "s32s-agent-failure@.service").read_text()


def test_the_instances_are_as_the_service() -> None:
    """A protection that one of the two lacks would be forgotten there."""
    one, many = (
        {
            line
            for line in (UNITS / name).read_text().splitlines()
            if "=" in line and line[0] != "#"
        }
        for name in ("s32s-agent.service", "s32s-agent@.service")
    )

    assert {line for line in many - one if "%i" not in line} == set()
    assert {line.partition("=")[0] for line in one - many} <= {
        line.partition("=")[0] for line in many - one
    }


@pytest.mark.parametrize("name", ["s32s-agent.service", "s32s-agent@.service"])
def test_a_first_run_with_many_events_has_them_all_in_the_journal(name: str) -> None:
    """journald drops the lines of a unit beyond 10,000 in half a minute, unless the unit sets another limit."""
    assert "\nLogRateLimitIntervalSec=0\n" in (UNITS / name).read_text()


@pytest.mark.parametrize("name", ["s32s-agent.service", "s32s-agent@.service"])
def test_a_stopped_run_is_not_killed_before_it_has_logged_it(name: str) -> None:
    """Everything that may take time after SIGTERM takes less together than systemd waits."""
    (minutes,) = re.findall(
        r"^TimeoutStopSec=(\d+)min$", (UNITS / name).read_text(), re.MULTILINE
    )
    # Time to end, TERM, KILL.
    command = hooks.CANCELLED_SECONDS + 2 * child_process.GRACE_SECONDS
    last_hooks = 2 * command
    told = publish.METRICS_SECONDS + publish.REPORT_SECONDS + publish.PING_SECONDS
    needed = workers.CANCELLED_SECONDS + 2 * child_process.GRACE_SECONDS + last_hooks + told

    assert needed < int(minutes) * 60


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_no_unit_fails_unheard(path: Path) -> None:
    """Each service but the one that raises the alarm has it raised when it fails."""
    raises = "\nOnFailure=s32s-agent-failure@%n.service\n" in path.read_text()

    assert raises == ("failure" not in path.name)


def test_the_timer_starts_a_run_every_five_minutes() -> None:
    """The timer has the interval of the documents."""
    timer = (UNITS / "s32s-agent.timer").read_text()
    (calendar,) = re.findall(r"^OnCalendar=(.*)$", timer, re.MULTILINE)
    done = run(
        "systemd-analyze",
        "calendar",
        "--iterations=3",
        "--base-time=2026-01-01 00:02:00",
        calendar,
    )

    assert (
        re.findall(r"2026-01-01 (\d\d:\d\d:\d\d)", done.stdout.partition("Next")[2])[0]
        == "00:05:00"
    )


def test_user_and_directories_are_made(tmp_path: Path) -> None:
    """The agent owns its state, and not its config; it cannot log in."""
    (tmp_path / "etc").mkdir()
    made = run(
        "systemd-sysusers", f"--root={tmp_path}", ROOT / "etc/sysusers.d/s32s-agent.conf"
    )
    assert (made.returncode, made.stderr.startswith("Creating group 's32s-agent'")) == (
        0,
        True,
    )
    passwd = (tmp_path / "etc/passwd").read_text()
    assert passwd.rstrip().endswith(":/var/lib/s32s-agent:/usr/sbin/nologin")
    group = tmp_path / "etc/group"
    group.write_text(f"{group.read_text()}adm:x:4:\n")
    tmpfiles = ROOT / "etc/tmpfiles.d/s32s-agent.conf"
    done = run("systemd-tmpfiles", "--create", f"--root={tmp_path}", tmpfiles)

    assert (done.returncode, done.stderr) == (0, "")
    found = {
        name: (tmp_path / name).stat() for name in ("etc/s32s-agent", "var/lib/s32s-agent")
    }
    assert [oct(each.st_mode) for each in found.values()] == ["0o40750"] * 2
    assert found["etc/s32s-agent"].st_uid == 0
    assert found["var/lib/s32s-agent"].st_uid == int(passwd.split(":")[2])


def test_every_unit_and_sample_is_in_the_wheel() -> None:
    """What is to be installed is listed for the wheel; a new file cannot be forgotten."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    files = {
        str(path.relative_to(ROOT))
        for place in ("systemd", "etc")
        for path in (ROOT / place).rglob("*")
        if path.is_file() and path.suffix != ".png" and "debian" not in path.parts
    }
    missing = [
        each
        for each in sorted(files)
        if not any(Path(each).is_relative_to(name) for name in shared)
    ]

    assert missing == []


@pytest.mark.skipif(shutil.which("logrotate") is None, reason="logrotate is not installed")
def test_the_sample_for_logrotate_is_understood(tmp_path: Path) -> None:
    """logrotate reads the sample, and rotates a log by it."""
    log = tmp_path / "agent.log"
    log.write_text("a line\n")
    text = (ROOT / "etc/logrotate.d/s32s-agent").read_text()
    sample = text.replace("/var/log/s32s-agent/*.log", str(log))
    sample = sample.replace("su s32s-agent adm", "su root root").replace(
        "s32s-agent adm", "root root"
    )
    (tmp_path / "conf").write_text(sample)
    done = run("logrotate", "--force", "--state", tmp_path / "state", tmp_path / "conf")

    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "agent.log.1").read_text() == "a line\n"
    assert log.read_text() == ""
