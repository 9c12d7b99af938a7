"""The agent as users run it: a process with a config file, an exit status and log lines.

The package is not called in this process, so that a test observes what cron would.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml

import s32s_agent
from s32s_agent.demo.seaweedfs import S3Server
from support.forked import TIMEOUT_SECONDS, shared_forks
from support.secrecy import assert_no_secrets, secrets_of

USAGE_STATUS = 2
PACKAGE_ROOT = Path(s32s_agent.__file__).parent.parent
TESTS = Path(__file__).parent.parent
READ_AT_START = ("PYTHON", "LANG", "LC_", "LD_")
"""Prefixes of variables that are read before the program is: a forked agent would not see them."""


@dataclass(frozen=True, slots=True)
class AgentRun:
    """The exit status, events and output of one run."""

    exit_code: int
    events: list[dict[str, Any]]
    """The log lines, parsed; empty when the command line was refused."""
    stdout: str
    stderr: str

    def named(self, event: str) -> list[dict[str, Any]]:
        """Pick the events of one name, in their order."""
        return [line for line in self.events if line.get("event") == event]

    @property
    def finished(self) -> dict[str, Any]:
        """The one `run.finished` event."""
        (event,) = self.named("run.finished")
        return event


FAILURES = ("run.failed", "run.crashed", "mapping.failed", "entry.failed")


def output_problems(run: AgentRun) -> list[str]:
    """List what no output may contain: raw control characters, or an exit status that is not the logged one."""
    raw = {each for each in run.stdout + run.stderr if each != "\n" and not each.isprintable()}
    problems = [f"raw control characters in the output: {sorted(raw)!a}"] if raw else []
    logged = [each["exit_code"] for each in run.named("run.finished")]
    if logged not in ([], [run.exit_code]):
        problems.append(f"logs exit status {logged}, and exits with {run.exit_code}")
    failed = {each for each in FAILURES if run.named(each)}
    if run.exit_code == 0 and failed:
        problems.append(f"exit status 0 after {sorted(failed)}")
    return problems


class RunChecker(Protocol):
    """Checks the runs of an agent; see `support.run_checkers`."""

    def begin(self) -> None:
        """Record the state before a run."""

    def problems(self, run: AgentRun) -> list[str]:
        """List what the run did that no run may do; nothing when `begin` was not called."""


AGENTS: list[Agent] = []
"""The agents of the current test; when it ends, their files are searched for credentials."""


@dataclass(slots=True)
class Agent:
    """Writes config files and runs the agent with them, all below one directory."""

    directory: Path
    server: S3Server
    small_ranges: bool = False
    """Large objects begin early; see `support.small_ranges`."""
    config_file: Path = field(init=False)
    given: set[str] = field(init=False, default_factory=set)
    """The credentials in the environment of its processes."""
    checker: RunChecker | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.config_file = self.directory / "config.yaml"
        AGENTS.append(self)

    @property
    def secrets(self) -> set[str]:
        """The credentials of every identity of the server, and those in the environment of its own processes."""
        known = {identity.secret_key for identity in self.server.identities.values()}
        return secrets_of({}, known | self.given)

    def assert_no_secrets(self, output: bytes) -> None:
        """Fail the test when a process of this agent disclosed a credential."""
        assert_no_secrets(self.secrets, output, "the output of an agent")

    @property
    def state_dir(self) -> Path:
        """Where the agent keeps its index."""
        return self.directory / "state"

    def configure(
        self, *, role: str = "slave", maps: str, roots: Sequence[Path], **sections: Any
    ) -> Path:
        """Write the config file; returns its path.

        Args:
            role: `slave` or `master`.
            maps: bucket/prefix or bucket/key of the map files.
            roots: local directories that a map may name.
            **sections: other top-level keys; `s3` is merged with the server's address, so that
                `s3={"endpoint_url": ...}` points the agent somewhere else.
        """
        s3 = {
            "endpoint_url": self.server.endpoint_url,
            "region": self.server.region,
            "addressing_style": "path",
            **sections.pop("s3", {}),
        }
        settings = {
            "role": role,
            "maps": maps,
            "roots": [str(root) for root in roots],
            "state_dir": str(self.state_dir),
            "s3": s3,
            **sections,
        }
        self.config_file.touch(mode=0o600)
        self.config_file.chmod(0o600)
        self.config_file.write_text(
            yaml.safe_dump(settings, sort_keys=False), encoding="utf-8"
        )
        return self.config_file

    def command(self, *arguments: str) -> list[str]:
        """Return the full command line, with the config file and JSON logs unless the arguments name others."""
        module = "support.small_ranges" if self.small_ranges else "s32s_agent"
        command = [sys.executable, "-m", module, *arguments]
        if "--config" not in arguments and self.config_file.exists():
            command += ["--config", str(self.config_file)]
        if "--log-format" not in arguments:
            command += ["--log-format", "json"]
        return command

    def environment(self, changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
        """Return a clean environment with the admin's keys; a change to None removes a variable."""
        variables: dict[str, str | None] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.directory),
            "PYTHONPATH": f"{PACKAGE_ROOT}:{TESTS}"
            if self.small_ranges
            else str(PACKAGE_ROOT),
            "AWS_ACCESS_KEY_ID": self.server.access_key,
            "AWS_SECRET_ACCESS_KEY": self.server.secret_key,
            # Without keys the AWS chain would ask the network for some, and wait.
            "AWS_EC2_METADATA_DISABLED": "true",
            **(changes or {}),
        }
        given = {name: value for name, value in variables.items() if value is not None}
        self.given |= secrets_of(given)
        return given

    def begin(self) -> None:
        """Let the checker record the state before a run; `ended` checks the run."""
        if self.checker is not None:
            self.checker.begin()

    def run(
        self,
        *arguments: str,
        env: Mapping[str, str | None] | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> AgentRun:
        """Run the agent to its end, forked unless a variable of `env` is one that an interpreter reads at its start.

        Raises:
            AssertionError: as for `ended`, or it took longer than `timeout` seconds.
        """
        if not any(name.startswith(READ_AT_START) for name in env or {}):
            return shared_forks().begin(self, *arguments, env=env).wait(timeout)
        if "--once" in arguments:
            self.begin()
        done = subprocess.run(
            self.command(*arguments),
            cwd=self.directory,
            env=self.environment(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            check=False,
        )
        return self.ended(arguments, done.returncode, done.stdout, done.stderr)

    def ended(
        self, arguments: Sequence[str], status: int, stdout: bytes, stderr: bytes
    ) -> AgentRun:
        """Return the run of a process that has ended, and check it.

        Args:
            arguments: of the command line.
            status: the exit status.
            stdout: the whole output there.
            stderr: the whole output there.

        Raises:
            AssertionError: a line on stderr is not a JSON object, which is not checked where the command line
                was refused, or the test asked for another log format; its output contains what none may; or the
                checker found a problem.
        """
        self.assert_no_secrets(stdout + stderr)
        streams = [
            each.decode("utf-8", errors="backslashreplace") for each in (stdout, stderr)
        ]
        is_text = status == USAGE_STATUS or "--log-format" in arguments
        run = AgentRun(status, [] if is_text else parse_events(streams[1]), *streams)
        wrong = output_problems(run)
        if self.checker is not None:
            wrong += self.checker.problems(run)
        assert not wrong, f"{wrong}, in:\n{run.stdout}{run.stderr}"
        return run

    @contextmanager
    def started(self, *arguments: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
        """Start a run beside the test; it is killed if it has not ended at the end of the block.

        Args:
            *arguments: after `--once`.
            log: the file for what it writes to stderr.
        """
        self.begin()
        with (
            log.open("wb") as stderr,
            subprocess.Popen(
                self.command("--once", *arguments), env=self.environment(), stderr=stderr
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()


def parse_events(stderr: str) -> list[dict[str, Any]]:
    """Parse log lines; a line that is no event fails the test, with the whole output."""
    events = []
    # Not splitlines: a key may hold U+2028, which ends no line of a log.
    for line in stderr.removesuffix("\n").split("\n") if stderr else []:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        assert isinstance(event, dict), f"not an event: {line!r}, in:\n{stderr}"
        events.append(event)
    return events
