"""Which options go together."""

from __future__ import annotations

from pathlib import Path

import pytest

from s32s_agent import cli
from s32s_agent.arguments import parse_arguments
from s32s_agent.monitoring.health import Limits


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (
            "--once --json",
            "--json goes with --check, --status, --fleet, --publish, --snapshots or --promote",
        ),
        ("--once --nagios", "--nagios goes with --status, and not with --json"),
        ("--status --nagios --json", "--nagios goes with --status, and not with --json"),
        ("--status --html x", "--html goes with --fleet"),
        ("--status --warn 5m", "--warn and --crit go with --status --nagios or --fleet"),
        ("--fleet --status", "not allowed with"),
        ("--check --dry-run", "--dry-run goes with --once, and not with --check"),
        ("--status --verify", "--verify goes with --once, and not with --status"),
        (
            "--fleet b/p --map web",
            "--map goes with --once and the modes of snapshots, and not with --fleet",
        ),
        ("--check --allow-deletes", "--allow-deletes goes with --once, and not with --check"),
        ("--status --lock-wait 5", "--lock-wait goes with --once, and not with --status"),
        ("--fleet --splay 5", "--splay goes with --once, and not with --fleet"),
        ("--check --quiet", "--quiet goes with --once, and not with --check"),
        ("--status --nagios --warn soon", "expected a duration such as 90s, 30m or 1h"),
        ("--status --nagios --warn 0", "expected a duration"),
        ("--fleet --warn 2h --crit 1h", "--warn: expected no longer time than --crit"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(
    line: str, problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Usage, exit 2, nothing on standard output, and nothing done."""
    with pytest.raises(SystemExit) as raised:
        cli.main(line.split())

    output = capsys.readouterr()
    assert (raised.value.code, output.out) == (2, "")
    assert problem in output.err


@pytest.mark.parametrize(
    ("line", "limits"),
    [
        ("--fleet", Limits(900, 3600)),
        ("--fleet --warn 90s", Limits(90, 3600)),
        ("--fleet --warn 2h", Limits(7200, 7200)),
        ("--fleet --crit 300", Limits(300, 300)),
        ("--fleet --warn 1h --crit 1d", Limits(3600, 86400)),
    ],
)
def test_one_limit_is_enough(line: str, limits: Limits) -> None:
    """The other one gives way where its default contradicts."""
    assert parse_arguments(line.split()).limits == limits


@pytest.mark.parametrize("mode", ["--once", "--check", "--status", "--fleet"])
def test_what_the_log_is_like_may_be_said_with_every_mode(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrapper that always names level and format is not refused: the missing config is what is told."""
    words = [mode, "--log-level", "info", "--log-format", "json"]

    assert cli.main([*words, "--config", str(tmp_path / "none.yaml")]) == 78
    assert "cannot be read" in capsys.readouterr().err
