"""The command line of a slave: what each option does, and what it leaves alone. On a real server."""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.hosts import Host
from support.masters import Master
from support.slaves import Slave
from support.trees import canary, snapshot, write

from s32s_agent.output.journal import listens

FILES = {"a": b"alpha", "sub/b": b"beta"}
TREE = {**FILES, "sub": None}
TWO = {"one": None, "one/a": b"alpha", "one/sub": None, "one/sub/b": b"beta"}


def test_map_chooses(slave: Slave) -> None:
    """`--map` runs the mappings that it names, and no other one's failure counts."""
    wrong = slave.mapping("wrong", slave="/etc")
    slave.publish_map(slave.mapping("one"), slave.mapping("two"), wrong)
    slave.publish(FILES)

    run = slave.once("--map", "one")

    assert (run.exit_code, snapshot(slave.root)) == (0, TWO)


def test_map_that_nobody_knows_is_a_mistake(slave: Slave) -> None:
    """An unknown name is a usage error, and not even the known ones run."""
    slave.publish(FILES)

    run = slave.once("--map", "site", "--map", "stie")

    assert (run.exit_code, snapshot(slave.root)) == (2, {})
    assert '"stie"' in run.stderr
    assert 'did you mean "site"?' in run.stderr


def test_a_dry_run_touches_nothing(slave: Slave, bucket: Bucket) -> None:
    """It prints every action with its reason; state, target and what is around them stay as they are."""
    slave.publish({**FILES, "gone": b"gone"})
    slave.once()
    slave.publish({"a": b"omega", "new\x1b": b"new"})
    bucket.delete("data/gone")
    before = canary(slave.root.parent)

    run = slave.once("--dry-run")

    assert (run.exit_code, canary(slave.root.parent)) == (0, before)
    lines = [" ".join(line.split()) for line in run.stdout.splitlines()]
    assert "copy etag 5 B 5 B a" in lines
    assert "copy new 3 B new\\x1b" in lines
    assert "delete not at source 4 B gone" in lines
    assert lines[-1] == "2 to copy (8 B), 1 to delete, 1 unchanged"
    assert "\x1b" not in run.stdout


def test_the_first_dry_run_makes_nothing(slave: Slave) -> None:
    """Without a state directory and a target there are none afterwards either."""
    slave.publish(FILES)
    before = canary(slave.root.parent)

    run = slave.once("--dry-run")

    assert (run.exit_code, canary(slave.root.parent)) == (0, before)
    assert "2 to copy" in run.stdout


def test_a_dry_run_over_unknown_files_touches_nothing(slave: Slave) -> None:
    """Files that must be hashed are hashed, and still nothing is written; refused deletes show."""
    write(slave.target, {**FILES, "own": b"own"})
    slave.publish(FILES)
    slave.configure(sync={"allow_empty_source": True})
    before = canary(slave.root.parent)

    run = slave.once("--dry-run")

    assert (run.exit_code, canary(slave.root.parent)) == (0, before)
    assert "0 to copy (0 B), 1 to delete, 2 unchanged" in run.stdout


def test_check_tries_everything_and_changes_nothing(slave: Slave) -> None:
    """One line for each thing that was tried; a good set-up is status 0."""
    slave.publish(FILES)
    before = canary(slave.root.parent)

    run = slave.agent.run("--check", "--log-format", "json")

    assert (run.exit_code, canary(slave.root.parent)) == (0, before)
    route = "path addresses, credentials from the AWS_* variables, no proxy"
    assert run.stdout.splitlines() == [
        f"ok      s3: {slave.agent.server.endpoint_url}, {route}",
        "ok      maps: 1 file, 1 mapping",
        f'ok      mapping "site": {slave.bucket}/data can be listed and read; {slave.target}',
    ]
    assert run.stderr == ""


def test_check_names_what_is_wrong(slave: Slave) -> None:
    """Every mapping that would fail is named with its cause and what to do about it."""
    slave.publish_map(
        slave.mapping(),
        slave.mapping("out", slave="/etc/evil"),
        {**slave.mapping("no"), "s3": "no-such-bucket/x"},
    )
    slave.publish(FILES)

    run = slave.agent.run("--check", "--log-format", "json")

    assert run.exit_code == 1
    failed = [line for line in run.stdout.splitlines() if line.startswith("FAILED")]
    assert ['"out"' in failed[0], '"no"' in failed[1], len(failed)] == [True, True, 2]
    assert "check the bucket's name" in run.stdout


def test_status_tells_the_last_pass(slave: Slave, bucket: Bucket) -> None:
    """Before the first pass, after a good one and after a bad one; for people and as JSON."""
    never = slave.agent.run("--status")
    slave.publish(FILES)
    slave.once()
    good = json.loads(slave.agent.run("--status", "--json").stdout)
    for key in FILES:
        bucket.delete(f"data/{key}")
    bad_code = slave.once().exit_code

    text = slave.agent.run("--status")
    bad = json.loads(slave.agent.run("--status", "--json").stdout)

    assert (never.exit_code, "no run has ended yet" in never.stdout) == (0, True)
    assert (good["exit_code"], good["totals"]["copied"], good["errors"]) == (0, 2, [])
    assert (bad_code, bad["exit_code"], bad["cause"]) == (3, 3, "refused")
    assert bad["last_success"] == good["finished"]
    assert (text.exit_code, text.stderr) == (0, "")
    assert "refused (exit status 3)" in text.stdout
    assert "what to do:" in text.stdout


def test_status_needs_no_server_and_no_lock(slave: Slave) -> None:
    """It works while a pass holds the lock and without any credentials."""
    slave.publish(FILES)
    slave.once()
    with (slave.agent.state_dir / "run.lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        env = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}

        run = slave.agent.run("--status", env=env)

    assert (run.exit_code, "in sync" in run.stdout) == (0, True)


def test_quiet_is_silent_on_success_only(slave: Slave, bucket: Bucket) -> None:
    """Cron sends no mail for a good pass, and one with the reason for a bad one."""
    slave.publish(FILES)
    good = slave.once("--quiet")
    for key in FILES:
        bucket.delete(f"data/{key}")
    bad = slave.once("--quiet")

    assert (good.exit_code, good.stdout, good.stderr) == (0, "", "")
    assert bad.exit_code == 3
    assert [each["event"] for each in bad.events] == ["deletes.withheld", "run.finished"]


def test_a_quiet_pass_that_skips_an_entry_says_which(slave: Slave) -> None:
    """What is skipped is a warning, which cron does not see; its mail names mapping, key and reason nevertheless."""
    slave.publish({**FILES, ".s32s-tmp.x": b"no file can have this name"})
    run = slave.once("--quiet")

    assert (run.exit_code, [each["event"] for each in run.events]) == (1, ["run.finished"])
    assert run.finished["error"].startswith('mapping "site": .s32s-tmp.x: ')


@pytest.mark.parametrize(
    "arguments",
    [(), ("--once", "--check"), ("--once", "--frobnicate"), ("--once", "--splay", "-1")],
)
def test_a_wrong_command_line_is_status_2(slave: Slave, arguments: tuple[str, ...]) -> None:
    """A bare command and arguments that do not fit print usage and do nothing."""
    run = slave.agent.run(*arguments)

    assert (run.exit_code, run.stdout, snapshot(slave.root)) == (2, "", {})
    assert run.stderr.startswith("usage: s32s-agent")


def test_every_mistake_of_the_config_is_told_at_once(slave: Slave) -> None:
    """Status 78 with each problem and its place; nothing is touched, not even a state directory made."""
    slave.configure(sync={"max_delete": "lots", "wrokers": 3}, log={"format": "xml"})

    run = slave.once("--log-format", "json")

    assert (run.exit_code, slave.agent.state_dir.exists()) == (78, False)
    for part in (
        'sync.max_delete: expected a count or a percentage, got "lots"',
        "wrokers",
        "log.format",
    ):
        assert part in run.stderr


def test_a_missing_config_is_status_78(slave: Slave) -> None:
    """The file is named, and so is the option that chooses another one."""
    run = slave.once("--config", "/no/such/config.yaml", "--log-format", "json")

    assert run.exit_code == 78
    assert "/no/such/config.yaml" in run.stderr
    assert "--config" in run.stderr


def test_a_second_pass_gives_way(slave: Slave) -> None:
    """While another pass holds the lock: status 75 that names the holder, and last_run.json untouched."""
    slave.publish(FILES)
    slave.once()
    last_run = slave.agent.state_dir / "last_run.json"
    before = (last_run.read_bytes(), last_run.stat().st_mtime_ns)
    holder = {"pid": 4711, "run_id": "the-other", "started": "2026-01-02T03:04:05Z"}
    with (slave.agent.state_dir / "run.lock").open("w+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(json.dumps(holder))
        lock.flush()

        run = slave.once("--log-format", "json")
        waited = slave.once("--lock-wait", "0.3", "--log-format", "json")

    assert [run.exit_code, waited.exit_code] == [75, 75]
    assert ["4711" in run.stderr, "the-other" in run.stderr] == [True, True]
    assert (last_run.read_bytes(), last_run.stat().st_mtime_ns) == before
    assert "last skipped" in slave.agent.run("--status").stdout


IMPORTED = """
import sys, s32s_agent.cli as cli
try:
    cli.main(sys.argv[1:])
except SystemExit:
    pass
slow = {
    "asyncio", "boto3", "botocore", "http.client", "prometheus_client", "pycurl", "rich", "s32s_agent.run.snapshots",
    "ssl",
}
print(sorted(slow & set(sys.modules)))
"""


def imported(host: Host, *arguments: str) -> str:
    """Run the program, and return the modules that it has imported by its end, of those that take long."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *arguments, "--config", host.agent.config_file],
        env=host.agent.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()[-1]


def test_status_imports_no_sdk(slave: Slave) -> None:
    """It answers at once, which importing a client of S3 would not allow."""
    assert imported(slave, "--status") == "[]"


def test_a_slave_with_static_keys_imports_no_sdk(slave: Slave) -> None:
    """boto3 takes longer to start than most runs do; keys that need no resolving do without it."""
    slave.publish(FILES)

    assert imported(slave, "--once") == "['pycurl']"
    assert imported(slave, "--once") == "['pycurl']"


def test_a_master_with_static_keys_imports_no_sdk(master: Master) -> None:
    """The same of a master."""
    master.write(FILES)

    assert imported(master, "--once") == "['pycurl']"
    assert imported(master, "--once") == "['pycurl']"


def test_version_is_one_line(slave: Slave) -> None:
    """Scripts read it."""
    run = slave.agent.run("--version")

    assert run.exit_code == 0
    assert re.fullmatch(r"s32s-agent \d+\.\d+\.\d+\S*\n", run.stdout)


@pytest.mark.parametrize(
    "log_format",
    [
        *("json", "logfmt", "console"),
        pytest.param(
            "journal",
            marks=pytest.mark.skipif(listens(), reason="it goes to this machine's journal"),
        ),
    ],
)
def test_no_key_writes_to_the_terminal(slave: Slave, log_format: str) -> None:
    """In every format a control character in a key is an escape, and an event is one line."""
    slave.publish({"evil\x1b[2J\nlevel=critical": b"x", "\u202egnp.exe": b"y"})

    run = slave.once("--log-format", log_format)

    assert run.exit_code == 0
    assert [
        each for each in ("\x1b", "\u202e", "\nlevel=critical") if each in run.stderr
    ] == []
    lines = run.stderr.splitlines()
    copied = [line for line in lines if "entry.copied" in line]
    assert (len(copied), len(lines)) == (2, 7)
    readers: dict[str, Callable[[str], object]] = {
        "json": lambda line: json.loads(line)["event"],
        "logfmt": lambda line: re.findall(r"\bevent=(\S+)", line)[0],
        "console": lambda line: line.split()[2],
        "journal": lambda line: json.loads(re.sub(r"^<\d>", "", line))["event"],
    }
    parsed = readers[log_format]
    assert [parsed(line) for line in copied] == ["entry.copied"] * 2


def test_the_state_directory_needs_its_parent(slave: Slave, tmp_path: Path) -> None:
    """A state directory is made when its parent exists; otherwise status 73 says which one."""
    state = tmp_path / "no/such/state"
    settings = slave.agent.config_file.read_text()
    slave.agent.config_file.write_text(
        settings.replace(str(slave.agent.state_dir), str(state))
    )

    run = slave.once("--log-format", "json")

    assert run.exit_code == 73
    assert str(state) in run.stderr
