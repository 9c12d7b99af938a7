"""Hooks of a whole run: when they run, what they learn, and what no crash can take from them. On a real server."""

from __future__ import annotations

import json
import re
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.buckets import Bucket
from support.counting_proxy import CountingProxy
from support.masters import Master
from support.pages import PAGES
from support.slaves import Slave
from support.trees import canary

from s32s_agent.demo.seaweedfs import S3Server

pytestmark = pytest.mark.integration

FILES = {"a": b"alpha", "sub/b": b"beta"}
SOON_SECONDS = 60
RECORD = """
number=$(ls "$1" | wc -l)
{ env | grep ^S32S_; [ -z "$S32S_CHANGED_FILE" ] || tr '\\0' '\\n' <"$S32S_CHANGED_FILE"; } >"$1/.new"
mv "$1/.new" "$1/$number"
[ ! -e "$1.script" ] || . "$1.script"
"""


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a hook."""

    variables: dict[str, str]
    paths: list[str]


@dataclass(slots=True)
class Recorder:
    """A command that writes down how it was called, and then does what a test says."""

    directory: Path

    @property
    def command(self) -> list[str]:
        return ["/bin/sh", "-c", RECORD, "record", str(self.directory)]

    def then(self, script: str) -> None:
        """Have every call end with this script."""
        Path(f"{self.directory}.script").write_text(script, encoding="utf-8")

    @property
    def calls(self) -> list[Call]:
        return [_call(file) for file in sorted(self.directory.iterdir())]

    @property
    def hooks(self) -> list[str]:
        return [call.variables["S32S_HOOK"] for call in self.calls]


def _call(file: Path) -> Call:
    lines = file.read_text(encoding="utf-8").splitlines()
    variables = dict(line.split("=", 1) for line in lines if line.startswith("S32S_"))
    return Call(variables, sorted(line for line in lines if not line.startswith("S32S_")))


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    directory = tmp_path / "hooks" / "calls"
    directory.mkdir(parents=True)
    return Recorder(directory)


def test_maps_and_hooks_are_work_for_which_systemd_gives_time(
    slave: Slave, tmp_path: Path
) -> None:
    """Systemd would end every run whose hook, or whose many maps, take longer than a start may take."""
    slave.publish(FILES)
    slave.configure(hooks={name: ["/bin/true"] for name in ("before", "on_change", "after")})
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(0.1)
        seen = {}
        # During the run, since a socket that is not read holds ten messages.
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(slave.agent.run, "--once", env={"NOTIFY_SOCKET": address})
            is_over = False
            while not is_over:
                is_over = running.done()
                with suppress(TimeoutError):
                    while True:
                        status, *fields = systemd.recv(4096).decode().split("\n")
                        seen[status.removeprefix("STATUS=")] = fields

    assert running.result().exit_code == 0
    asked = [
        name for name, fields in seen.items() if fields and fields[0].startswith("EXTEND")
    ]
    wanted = ["waiting", "hook before", "maps", "hook on_change", "hook after"]
    assert [name for name in asked if name in wanted] == wanted


def under(slave: Slave, *names: str, mapping: str = "site") -> list[str]:
    return [str(slave.root / mapping / name) for name in names]


def every_hook(recorder: Recorder) -> dict[str, list[str]]:
    """Make a section `hooks` that leaves none out; YAML would write one list for all with an alias."""
    names = ("before", "on_change", "after", "on_failure")
    return {name: list(recorder.command) for name in names}


def test_the_hooks_of_a_run_run_in_their_order(slave: Slave, recorder: Recorder) -> None:
    """before, on_change and after run around a run that changes something, and know what it did."""
    slave.publish(FILES)
    slave.configure(hooks=every_hook(recorder))

    run = slave.once()

    assert run.exit_code == 0
    assert recorder.hooks == ["before", "on_change", "after"]
    changed = recorder.calls[1]
    assert changed.paths == under(slave, "a", "sub/b")
    seen = {
        name: changed.variables[f"S32S_{name}"] for name in ("CHANGED_COUNT", "ROLE", "COPIED")
    }
    assert seen == {"CHANGED_COUNT": "2", "ROLE": "slave", "COPIED": "2"}
    assert recorder.calls[2].variables["S32S_EXIT_CODE"] == "0"
    assert {call.variables["S32S_RUN_ID"] for call in recorder.calls} == {
        run.finished["run_id"]
    }
    assert run.events[-1]["event"] == "run.finished"


def test_the_readme_names_what_a_hook_learns(slave: Slave, recorder: Recorder) -> None:
    """Its table has every variable that the hooks of a run find, and none that is gone."""
    slave.publish(FILES)
    slave.configure(
        hooks={
            "before": recorder.command,
            "on_change": {"site": recorder.command},
            "after": recorder.command,
        }
    )
    slave.once()

    found = {name for call in recorder.calls for name in call.variables}
    page = PAGES["docs/use/hooks.md"]
    rows = [line for line in page.splitlines() if line.startswith("| `S32S_")]
    assert {
        name for row in rows for name in re.findall(r"S32S_\w+", row.split(" | ")[0])
    } == found
    assert not (slave.agent.state_dir / "pending" / "paths").exists()


def test_no_credential_reaches_a_hook(slave: Slave) -> None:
    """The keys of the agent's own environment are not in that of its hooks."""
    slave.configure(hooks={"before": ["/usr/bin/env"]})

    run = slave.once()

    printed = [line["text"] for line in run.named("hook.printed")]
    assert any(line.startswith("PATH=") for line in printed)
    assert [line for line in printed if "AWS_" in line] == []


def test_a_run_without_changes_runs_no_on_change(slave: Slave, recorder: Recorder) -> None:
    """A second run over the same objects only runs what runs always."""
    slave.publish(FILES)
    slave.once()
    slave.configure(hooks={"on_change": recorder.command, "after": recorder.command})

    assert slave.once().exit_code == 0
    assert recorder.hooks == ["after"]


def test_a_deletion_is_a_change(slave: Slave, bucket: Bucket, recorder: Recorder) -> None:
    """What a run removes is in the file of changed paths."""
    slave.publish(FILES)
    slave.once()
    slave.configure(hooks={"on_change": recorder.command})
    bucket.delete("data/sub/b")

    assert slave.once().exit_code == 0
    assert recorder.calls[0].paths == under(slave, "sub", "sub/b")


def test_each_mapping_may_have_its_own_hook(slave: Slave, recorder: Recorder) -> None:
    """By name, a hook hears of its own mapping only; mappings without one run none."""
    slave.publish_map(*(slave.mapping(name, s3=name) for name in ("one", "two", "three")))
    slave.publish({"x": b"x"}, "one")
    slave.publish({"y": b"y"}, "two")
    slave.publish({"z": b"z"}, "three")
    slave.configure(hooks={"on_change": {"one": recorder.command, "two": [recorder.command]}})

    assert slave.once().exit_code == 0
    heard = [(call.variables["S32S_MAPPING"], call.paths) for call in recorder.calls]
    assert heard == [
        ("one", under(slave, "x", mapping="one")),
        ("two", under(slave, "y", mapping="two")),
    ]


def test_one_hook_for_all_mappings_runs_once(slave: Slave, recorder: Recorder) -> None:
    """A plain list runs once a run, with the paths of every mapping."""
    slave.publish_map(slave.mapping("one", s3="one"), slave.mapping("two", s3="two"))
    slave.publish({"x": b"x"}, "one")
    slave.publish({"y": b"y"}, "two")
    slave.configure(hooks={"on_change": recorder.command})

    assert slave.once().exit_code == 0
    assert [call.paths for call in recorder.calls] == [
        under(slave, "x", mapping="one") + under(slave, "y", mapping="two")
    ]


def test_when_before_fails_nothing_is_touched(slave: Slave, recorder: Recorder) -> None:
    """A failed before ends the run with exit status 1 before S3 is asked; after and on_failure run."""
    slave.publish(FILES)
    slave.once()
    slave.publish({"a": b"omega"})
    before = canary(slave.target)
    hooks = {"after": recorder.command, "on_failure": recorder.command}
    slave.configure(hooks={"before": ["/bin/false"], **hooks})

    run = slave.once()

    assert (run.exit_code, canary(slave.target)) == (1, before)
    assert run.named("maps.loaded") == []
    assert recorder.hooks == ["after", "on_failure"]
    assert recorder.calls[1].variables["S32S_CAUSE"] == "hook"


def test_a_failed_reload_is_not_forgotten(slave: Slave, recorder: Recorder) -> None:
    """A failed on_change makes the run fail, and runs again with all that has changed since, until it succeeds."""
    slave.publish(FILES)
    slave.configure(hooks={"on_change": recorder.command})
    recorder.then("exit 5")

    first = slave.once()
    slave.publish({"c": b"gamma"})
    second = slave.once()
    recorder.then("exit 0")
    third, fourth = slave.once(), slave.once()

    assert [run.exit_code for run in (first, second, third, fourth)] == [1, 1, 0, 0]
    assert [call.paths for call in recorder.calls] == [
        under(slave, "a", "sub/b"),
        under(slave, "a", "c", "sub/b"),
        under(slave, "a", "c", "sub/b"),
    ]
    (failed,) = first.named("hook.failed")
    assert (failed["hook"], "exit status 5" in failed["error"]) == ("on_change", True)


def test_a_pending_reload_needs_no_s3(slave: Slave, recorder: Recorder) -> None:
    """Changes that are pending reach the hook also when S3 cannot be reached any more."""
    slave.publish(FILES)
    slave.configure(hooks={"on_change": recorder.command})
    recorder.then("exit 5")
    slave.once()
    recorder.then("exit 0")
    slave.configure(
        hooks={"on_change": recorder.command}, s3={"endpoint_url": "http://127.0.0.1:9"}
    )

    assert slave.once().exit_code == 69
    assert len(recorder.calls) == 2
    assert slave.once().exit_code == 69
    assert len(recorder.calls) == 2


def test_a_run_killed_in_its_reload_runs_it_again(slave: Slave, recorder: Recorder) -> None:
    """SIGKILL while on_change runs: the next run has nothing to copy, and still runs it with all paths."""
    slave.publish(FILES)
    slave.configure(hooks={"on_change": recorder.command})
    recorder.then("kill -9 $PPID")

    first = slave.once()
    recorder.then("exit 0")
    second = slave.once()

    assert (first.exit_code, second.exit_code) == (-signal.SIGKILL, 0)
    assert second.finished["copied"] == 0
    assert recorder.calls[1].paths == under(slave, "a", "sub/b")
    assert slave.once().exit_code == 0
    assert len(recorder.calls) == 2


def test_a_run_killed_between_change_and_reload_loses_no_reload(
    slave: Slave, recorder: Recorder, seaweedfs_server: S3Server, tmp_path: Path
) -> None:
    """SIGKILL in the second mapping: the change of the first one, long done, reaches the hook in the next run."""
    slave.publish_map(slave.mapping("one", s3="one"), slave.mapping("two", s3="two"))
    slave.publish(FILES, "one")
    slave.publish({str(number): b"x" * 99 for number in range(50)}, "two")
    with CountingProxy(seaweedfs_server.endpoint_url) as proxy:
        slave.configure(
            s3={"endpoint_url": proxy.endpoint_url}, hooks={"on_change": recorder.command}
        )
        # Two maps requests, two listings, two objects of the first mapping, and some of the second.
        proxy.hold_after(15)
        with slave.agent.started(log=tmp_path / "log") as process:
            assert proxy.wait_for(20)
            process.kill()
    slave.configure(hooks={"on_change": {"one": recorder.command}})
    changed = under(slave, "a", "sub/b", mapping="one")
    assert all(Path(path).exists() for path in changed)

    run = slave.once("--map", "one")

    assert (run.exit_code, run.finished["copied"]) == (0, 0)
    assert [call.paths for call in recorder.calls] == [changed]


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 143)]
)
def test_a_run_ended_in_the_middle_of_a_mapping_forgets_no_path(
    slave: Slave, recorder: Recorder, tmp_path: Path, number: int, exit_code: int
) -> None:
    """Some files are new and some are not: that run calls no reload, the next one copies the rest and names all."""
    names = [f"{number:02}" for number in range(40)]
    slave.publish(dict.fromkeys(names, b"x" * 10000))
    slave.configure(hooks={"on_change": recorder.command}, sync={"max_bandwidth": "50kB"})
    with slave.agent.started(log=tmp_path / "log") as process:
        end = time.monotonic() + SOON_SECONDS
        while not any((slave.target / name).exists() for name in names):
            assert time.monotonic() < end, (tmp_path / "log").read_text(encoding="utf-8")
            time.sleep(0.02)
        process.send_signal(number)

        assert process.wait(SOON_SECONDS) == exit_code
    assert recorder.calls == []
    slave.configure(hooks={"on_change": recorder.command})

    run = slave.once()

    assert run.exit_code == 0
    assert 0 < run.finished["copied"] < len(names)
    assert [call.paths for call in recorder.calls] == [under(slave, *names)]


def test_without_a_place_to_remember_nothing_is_changed(
    slave: Slave, recorder: Recorder
) -> None:
    """A change that could be forgotten is not made: the mapping fails before its first file."""
    slave.publish(FILES)
    slave.configure(hooks={"on_change": recorder.command})
    slave.agent.state_dir.mkdir()
    (slave.agent.state_dir / "pending").touch()

    run = slave.once()

    assert (run.exit_code, slave.tree()) == (73, {})
    assert run.named("mapping.failed")[0]["cause"] == "cantcreat"
    assert recorder.calls == []


def test_a_signal_ends_the_hook_and_leaves_it_pending(
    slave: Slave, recorder: Recorder, tmp_path: Path
) -> None:
    """SIGTERM during on_change: exit status 143, on_failure runs, and the next run runs on_change again."""
    slave.publish(FILES)
    failures = Recorder(tmp_path / "failures")
    failures.directory.mkdir()
    slave.configure(hooks={"on_change": recorder.command, "on_failure": failures.command})
    recorder.then("kill -TERM $PPID; sleep 600")

    first = slave.once()
    recorder.then("exit 0")
    second = slave.once()

    assert (first.exit_code, second.exit_code) == (143, 0)
    assert failures.calls[0].variables["S32S_EXIT_CODE"] == "143"
    assert first.finished["exit_code"] == 143
    assert len(recorder.calls) == 2


def test_a_hook_that_is_stopped_by_run_timeout_is_pending(
    slave: Slave, recorder: Recorder
) -> None:
    """run_timeout also ends an on_change that hangs."""
    slave.publish(FILES)
    slave.configure(hooks={"on_change": recorder.command}, sync={"run_timeout": "1h"})
    # The alarm is what an hour would bring.
    recorder.then("kill -ALRM $PPID; exec sleep 600")

    run = slave.once()
    recorder.then("exit 0")

    assert (run.exit_code, run.named("run.failed")[0]["cause"]) == (1, "timeout")
    assert slave.once().exit_code == 0
    assert len(recorder.calls) == 2


def test_a_failed_after_fails_the_run(slave: Slave, recorder: Recorder) -> None:
    """after runs last, and its failure is a failure of the run."""
    slave.publish(FILES)
    slave.configure(hooks={"after": ["/bin/false"], "on_failure": recorder.command})

    run = slave.once()

    assert (run.exit_code, run.finished["exit_code"]) == (1, 1)
    assert recorder.calls[0].variables["S32S_EXIT_CODE"] == "1"
    last = json.loads((slave.agent.state_dir / "last_run.json").read_text(encoding="utf-8"))
    assert (last["exit_code"], last["cause"], last["errors"][0]["mapping"]) == (1, "hook", "")


def test_a_failed_on_failure_changes_no_exit_status(slave: Slave) -> None:
    """The status stays that of the failure which it was to report."""
    slave.publish_map({"name": "x"})
    slave.configure(hooks={"on_failure": ["/nowhere"]})

    run = slave.once()

    assert run.exit_code == 65
    assert run.named("hook.failed")[0]["hook"] == "on_failure"


def test_a_run_that_is_stopped_in_on_failure_counts_once(
    slave: Slave, recorder: Recorder
) -> None:
    """SIGTERM while on_failure reports: one failure more, and the last success is that of the run before."""
    slave.publish(FILES)
    state = slave.agent.state_dir / "last_run.json"
    slave.once()
    success = json.loads(state.read_text(encoding="utf-8"))["last_success"]
    slave.publish_map({"name": "x"})
    slave.configure(hooks={"on_failure": recorder.command})
    recorder.then("kill -TERM $PPID; sleep 600")

    run = slave.once()

    last = json.loads(state.read_text(encoding="utf-8"))
    assert (run.exit_code, last["exit_code"]) == (143, 143)
    assert (last["last_success"], last["consecutive_failures"]) == (success, 1)


def test_on_failure_may_read_what_the_run_did(slave: Slave, tmp_path: Path) -> None:
    """last_run.json is that of this run when on_failure runs."""
    slave.publish_map({"name": "x"})
    copy = tmp_path / "copy.json"
    source = slave.agent.state_dir / "last_run.json"
    slave.configure(hooks={"on_failure": ["/bin/cp", str(source), str(copy)]})

    run = slave.once()

    last = json.loads(copy.read_text(encoding="utf-8"))
    assert (last["exit_code"], last["run_id"]) == (65, run.finished["run_id"])


def test_a_failure_that_is_written_twice_counts_once(slave: Slave, recorder: Recorder) -> None:
    """SIGTERM during on_failure changes the exit status, so the record is written again, with the same history."""
    slave.publish_map({"name": "x"})
    slave.configure(hooks={"on_failure": recorder.command})
    recorder.then("kill -TERM $PPID; sleep 600")

    run = slave.once()

    last = json.loads((slave.agent.state_dir / "last_run.json").read_text(encoding="utf-8"))
    assert (run.exit_code, last["exit_code"]) == (143, 143)
    assert last["consecutive_failures"] == 1


@pytest.mark.parametrize("arguments", [("--once", "--dry-run"), ("--check",)])
def test_looking_runs_no_hook(
    slave: Slave, recorder: Recorder, arguments: tuple[str, ...]
) -> None:
    """--dry-run and --check change nothing, so they run nothing."""
    slave.publish(FILES)
    slave.configure(hooks=every_hook(recorder))
    before = canary(slave.root.parent)

    assert slave.agent.run(*arguments, "--log-format", "logfmt").exit_code == 0
    assert canary(slave.root.parent) == before


def test_a_run_that_finds_the_lock_held_runs_no_hook(slave: Slave, recorder: Recorder) -> None:
    """A hook that starts another run gets 75 from it, and that one runs no hooks of its own."""
    slave.publish(FILES)
    slave.configure(hooks={"after": recorder.command, "on_failure": recorder.command})
    command = [*slave.agent.command("--once")]
    keys = {k: v for k, v in slave.agent.environment().items() if k.startswith(("AWS_", "PY"))}
    words = ["env", *(f"{name}={value}" for name, value in keys.items()), *command]
    recorder.then(f"{' '.join(words)} 2>/dev/null; echo status $?")

    run = slave.once()

    assert "status 75" in [line["text"] for line in run.named("hook.printed")]
    assert recorder.hooks == ["after"]


def test_check_names_a_hook_that_cannot_run(slave: Slave) -> None:
    """A missing program and an unknown mapping show before the first run does."""
    slave.configure(
        hooks={"before": ["/nowhere/x"], "after": ["sh"], "on_change": {"stie": ["/bin/true"]}}
    )

    run = slave.agent.run("--check", "--log-format", "logfmt")

    assert run.exit_code == 78
    assert 'FAILED  config: hooks.before: "/nowhere/x" is not a program' in run.stdout
    assert 'warning config: hooks.on_change.stie: no mapping is called "stie"' in run.stdout
    assert "hooks.after" not in run.stdout


def test_a_master_has_hooks_too(master: Master, recorder: Recorder) -> None:
    """The hook of a master gets the local paths of what it pushed."""
    (master.source / "x").write_bytes(b"x")
    master.configure(hooks={"on_change": recorder.command})

    assert master.once().exit_code == 0
    assert recorder.calls[0].paths == [str(master.source / "x")]


def test_names_that_are_no_text_arrive_as_they_are(slave: Slave, tmp_path: Path) -> None:
    """The file of changed paths holds bytes: a newline or a byte that is not UTF-8 splits nothing."""
    slave.publish({"new\nline": b"x"})
    slave.target.mkdir()
    odd = slave.target / "odd"
    odd.write_bytes(b"")
    raw = slave.target.as_posix().encode() + b"/\xff"
    Path(raw.decode("utf-8", "surrogateescape")).write_bytes(b"extra")
    copy = tmp_path / "copy"
    slave.configure(
        hooks={"on_change": ["/bin/sh", "-c", f'cp "$S32S_CHANGED_FILE" {copy}']},
    )

    assert slave.once().exit_code == 0
    target = slave.target.as_posix().encode()
    assert set(copy.read_bytes().split(b"\0")) == {
        target + b"/new\nline",
        raw,
        str(odd).encode(),
        b"",
    }


def test_a_secret_that_a_hook_prints_is_in_no_log_and_no_record(
    slave: Slave, bucket: Bucket, tmp_path: Path
) -> None:
    """A script with `set -x`, or one that quotes a failed command, prints the keys that it has."""
    secret = bucket.server.secret_key
    slave.publish(FILES)
    script = tmp_path / "scripts" / "reload"
    script.parent.mkdir()
    script.write_text(f"echo AWS={secret}; exit 3", encoding="utf-8")
    slave.configure(hooks={"on_change": ["/bin/sh", str(script)]})

    run = slave.once()

    assert run.exit_code == 1
    assert "AWS=[redacted]" in run.stderr
    assert secret not in run.stderr + (slave.agent.state_dir / "last_run.json").read_text(
        encoding="utf-8"
    )
