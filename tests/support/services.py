"""The agent as a service on a machine where the commands of the documents installed it, and its S3 server."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from s32s_agent.demo.seaweedfs import Identity, S3Server, seaweedfs
from support.buckets import Bucket, open_client_as
from support.machines import Done, Machine, machine
from support.pages import README, ROOT, blocks, section_of

SYSTEM_PYTHON = "/usr/bin/python3"
KEYS = Identity(
    "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", ("Read", "List")
)
"""The keys in the credential store."""
SOURCE = "/usr/src/s32s-agent"
HOUSE = "/usr/src/house"
(SITE,) = json.loads(
    re.findall(
        r"^cat > web\.json <<'END'\n(.*?)^END$",
        section_of(README, "Install"),
        re.MULTILINE | re.DOTALL,
    )[0]
)
"""The mapping of the documents."""
COMMANDS = (
    *blocks(section_of(README, "Install")),
    *blocks(section_of("docs/use/install.md", "Get notified of failures")),
)
"""The commands of an operator, one text for each block, in this order."""
TARGET = SITE["slave"]
PUBLISHED = (
    "s32s_agent",
    "systemd",
    "etc",
    "pyproject.toml",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
)
MAIL = """#!/bin/sh
{ printf '%s ' "$@"; echo; cat; } >> /var/mail/sent
"""


@dataclass(slots=True)
class Service:
    """The installed agent, its machine and its bucket."""

    machine: Machine
    bucket: Bucket
    server: S3Server
    walk: list[tuple[str, Done]] = field(default_factory=list)
    """The commands of the documents, and their results."""
    config: str = ""
    """The text of the config file that they wrote."""

    def use(self, endpoint_url: str) -> None:
        """Set another endpoint, as an operator does."""
        sample = (ROOT / "etc" / "default" / "s32s-agent").read_text(encoding="utf-8")
        line = f"AWS_ENDPOINT_URL_S3={endpoint_url}\n"
        self.machine.write("/etc/default/s32s-agent", f"{sample}\n{line}")

    def publish_map(
        self, *mappings: dict[str, Any], key: str = "S32SMAP/foo/data/web.json"
    ) -> None:
        """Put the map file into the bucket."""
        self.bucket.put(key, json.dumps(mappings).encode())

    def drop_in(self, unit: str, text: str) -> None:
        """Change a unit until the end of the test, as `systemctl edit` does."""
        self.machine.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.machine.ok("systemctl daemon-reload")

    def start(self) -> Done:
        """Start the service, and wait for the end of its run."""
        self.machine.ok("systemctl reset-failed")  # resets the count of starts, too
        return self.machine.run("systemctl start s32s-agent")

    def property(self, name: str, unit: str = "s32s-agent.service") -> str:
        """Return a property of a unit."""
        return self.machine.ok(f"systemctl show --value --property={name} {unit}").strip()

    def log(self, unit: str = "s32s-agent") -> list[dict[str, Any]]:
        """Return the events in the journal, their fields as texts."""
        self.machine.ok("journalctl --sync")
        found = self.machine.ok(f"journalctl --no-pager --output=json --unit={unit}")
        entries = [json.loads(line) for line in found.splitlines()]
        return [
            {
                name.removeprefix("S32S_").lower(): value
                for name, value in entry.items()
                if name.startswith("S32S_")
            }
            for entry in entries
            if "S32S_EVENT" in entry
        ]

    def alerts(self) -> list[str]:
        """Return the messages of priority alert in the journal."""
        self.machine.ok("journalctl --sync")
        find = "journalctl --no-pager --output=cat --priority=alert"
        return self.machine.run(f"{find} --identifier=s32s-agent-failure").stdout.splitlines()

    def reset(self) -> None:
        """Undo the changes of a test."""
        self.machine.ok(
            "systemctl stop s32s-agent.timer s32s-agent.service 's32s-agent-reload@*' cron-test.service || true\n"
            "rm -f /etc/systemd/system/*.d/test.conf\n"
            "systemctl daemon-reload\nsystemctl reset-failed"
        )
        self.use(self.server.endpoint_url)
        self.machine.write("/etc/s32s-agent/config.yaml", self.config)
        self.publish_map(site())


def site(**changes: str) -> dict[str, Any]:
    """Return the mapping of the documents, with changes."""
    return {**SITE, **changes}


@contextmanager
def installed_service(directory: Path) -> Iterator[Service]:
    """Yield a machine after all commands of the documents, in their order."""
    directories = [directory / name for name in ("source", "house", "weed", "machine")]
    for each in directories:
        each.mkdir()
    source, house, weed, console = directories
    copy_source(source)
    fill_house(house, source)
    with (
        seaweedfs(weed, {"readme": KEYS}) as server,
        open_client_as(server) as client,
        machine(console, binds={source: SOURCE, house: HOUSE}) as booted,
    ):
        client.create_bucket(Bucket="bucketname")
        service = Service(booted, Bucket("bucketname", client, server), server)
        service.use(server.endpoint_url)
        service.bucket.put("backup/dir1/index.html", b"first")
        booted.write("/usr/local/bin/mail", MAIL)
        booted.write("/usr/sbin/sendmail", MAIL)
        booted.ok(
            "chmod 755 /usr/local/bin/mail /usr/sbin/sendmail; install -m 666 /dev/null /var/mail/sent\n"
            "rm -rf /etc/apt/sources.list*"
        )
        offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": HOUSE}
        # As in the shell of a careful operator; a umask that a block sets holds for the next blocks.
        shell = "umask 077\n"
        for block in COMMANDS:
            service.walk.append(
                (block, booted.run(shell + block, environ=offline, cwd=SOURCE))
            )
            shell += "".join(re.findall(r"^umask .*\n", block, re.MULTILINE))
            if written := booted.read(f"{SOURCE}/web.json"):
                service.bucket.put("S32SMAP/foo/data/web.json", written.encode())
        service.config = booted.read("/etc/s32s-agent/config.yaml")
        yield service


def copy_source(directory: Path) -> None:
    """Copy the files of the project that a user needs to install it."""
    for name in PUBLISHED:
        if (ROOT / name).is_dir():
            without = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, directory / name, ignore=without)
        else:
            shutil.copy(ROOT / name, directory)


def fill_house(directory: Path, source: Path) -> None:
    """Build every package that `pip install` needs, for the Python of Debian."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", SYSTEM_PYTHON]
    wheel = [*pip, "wheel", "--wheel-dir", str(directory), str(source), "hatchling"]
    subprocess.run(wheel, check=True, capture_output=True)
