"""The service under a real systemd and a real cron, with a real S3 server, installed as the documents describe."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.counting_proxy import CountingProxy
from support.machines import cannot_boot
from support.pages import ROOT, blocks, section_of
from support.services import COMMANDS, SITE, TARGET, Service, installed_service, site

CANNOT = cannot_boot() or (
    "" if Path("/usr/bin/python3").exists() else "needs /usr/bin/python3"
)
pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(bool(CANNOT), reason=f"a machine to install on needs {CANNOT}"),
]

EVERY_THREE_SECONDS = """[Timer]
OnCalendar=
OnCalendar=*:*:0/3
RandomizedDelaySec=0
"""
FULL = "ReadWritePaths=/srv/www"
INSTALL = "docs/use/install.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A machine after the commands of the documents."""
    with installed_service(tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """The installed agent, as after the commands of the documents, with a stopped timer."""
    installed.reset()
    yield installed
    installed.reset()


@pytest.fixture
def proxy(service: Service) -> Iterator[CountingProxy]:
    """The proxy that the service uses; it can delay requests."""
    with CountingProxy(service.server.endpoint_url) as proxy:
        service.use(proxy.endpoint_url)
        yield proxy


# --- the commands of the documents ---


def test_every_command_of_the_documents_succeeds(installed: Service) -> None:
    """From a new Debian to an agent with a timer, no command fails."""
    failed = [(block, done) for block, done in installed.walk if done.status != 0]

    assert len(installed.walk) == 7
    assert failed == []
    assert f'ok      mapping "{SITE["name"]}"' in installed.walk[4][1].stdout
    assert "result:       in sync" in installed.walk[5][1].stdout
    assert installed.property("ActiveState", "s32s-agent.timer") == "active"
    assert installed.property("UnitFileState", "s32s-agent.timer") == "enabled"


def test_the_first_run_uses_the_keys_that_systemd_delivers(
    installed: Service,
) -> None:
    """The only keys on the machine are in the credential store, which the service cannot read."""
    assert installed.machine.read(f"{TARGET}/index.html") == "first"
    assert installed.machine.run("ls /root/.aws /var/lib/s32s-agent/.aws").stdout == ""
    assert installed.machine.run("su -s /bin/sh s32s-agent -c 'ls /etc/credstore'").status != 0


CHECK = next(block for block in COMMANDS if "--check" in block)


def test_a_dry_run_as_the_service_shows_the_plan(service: Service) -> None:
    """`--once --dry-run` in place of `--check` shows the plan, and copies nothing."""
    service.bucket.put("backup/dir1/planned.html", b"planned")
    plan = service.machine.ok(CHECK.replace("--check", "--once --dry-run"))
    service.bucket.delete("backup/dir1/planned.html")

    assert "planned.html" in plan
    assert service.machine.read(f"{TARGET}/planned.html") == ""


def test_a_change_arrives_with_the_next_tick(service: Service) -> None:
    """The timer alone starts the runs that copy and delete what changed in the bucket."""
    service.bucket.put("backup/dir1/news.html", b"second")
    service.drop_in("s32s-agent.timer", EVERY_THREE_SECONDS)
    service.machine.ok("systemctl start s32s-agent.timer")

    there = f"{TARGET}/news.html"
    service.machine.wait_for(
        lambda: service.machine.read(there) == "second", "waiting for a tick"
    )
    service.bucket.delete("backup/dir1/news.html")
    service.machine.wait_for(lambda: not service.machine.read(there), "waiting for a tick")
    assert service.alerts() == []


def test_an_unreachable_bucket_raises_an_alert(service: Service) -> None:
    """A run that cannot reach S3 fails, systemd logs it at priority alert, and the mail of the documents is sent."""
    service.use("http://127.0.0.1:9")
    before = len(service.alerts())

    assert service.start().status != 0
    assert service.property("ExecMainStatus") == "69"
    service.machine.wait_for(lambda: len(service.alerts()) > before, "waiting for the alert")
    assert re.match(r"s32s-agent\.service failed: exit-code 69; see: ", service.alerts()[-1])
    sent = "/var/mail/sent"
    service.machine.wait_for(
        lambda: "run.failed" in service.machine.read(sent), "waiting for mail"
    )
    assert "s32s-agent.service failed on" in service.machine.read(sent)


# --- one run ---


def test_progress_is_shown_and_gives_a_long_run_more_time(
    service: Service, proxy: CountingProxy
) -> None:
    """During a run systemd shows its progress, and is asked to extend the timeout."""
    service.bucket.put("backup/dir1/large.bin", b"x" * 100)
    proxy.hold_after(0)
    service.machine.ok("systemd-analyze log-level debug")
    service.machine.ok("systemctl start --no-block s32s-agent")
    assert proxy.wait_for(1)

    wanted = "site  0/1  0 B/100 B"
    service.machine.wait_for(
        lambda: service.property("StatusText").startswith(wanted), "waiting for the status"
    )
    proxy.release()
    service.machine.wait_for(
        lambda: service.property("ActiveState") == "inactive", "waiting for the end"
    )
    service.machine.ok("systemd-analyze log-level info")
    service.machine.ok("journalctl --sync")
    log = service.machine.ok("journalctl --no-pager --output=cat _PID=1")
    assert "EXTEND_TIMEOUT_USEC=900000000" in log
    assert service.property("Result") == "success"


def test_a_long_hook_is_shown_and_given_more_time(service: Service) -> None:
    """Otherwise systemd would end a run whose hook takes longer than the timeout."""
    machine = service.machine
    machine.ok("echo 'hooks: {before: [sleep, \"30\"]}' >> /etc/s32s-agent/config.yaml")

    def asked() -> int:
        log = machine.ok("journalctl --no-pager --output=cat _PID=1")
        return log.count("EXTEND_TIMEOUT_USEC=900000000")

    machine.ok("systemd-analyze log-level debug")
    machine.ok("systemctl start --no-block s32s-agent")
    machine.wait_for(
        lambda: service.property("StatusText") == "hook before", "waiting for the hook"
    )
    before = asked()
    machine.wait_for(lambda: asked() > before, "waiting for the hook to ask for time")
    machine.ok("systemd-analyze log-level info; systemctl stop s32s-agent")
    assert service.property("Result") == "success"


def test_a_stop_during_a_run_is_clean_and_no_failure(
    service: Service, proxy: CountingProxy
) -> None:
    """`systemctl stop` ends a run soon, leaves no temporary file, raises no alert, and the next run resumes."""
    for number in range(20):
        service.bucket.put(f"backup/dir1/stop/{number}", b"%d" % number)
    before = len(service.alerts())
    proxy.hold_after(5)
    service.machine.ok("systemctl start --no-block s32s-agent")
    assert proxy.wait_for(6)
    service.machine.ok("systemctl stop s32s-agent")

    assert service.property("Result") == "success"
    assert service.property("ExecMainStatus") == "143"
    assert service.machine.ok("find /srv/www -name '.s32s-tmp*'") == ""
    proxy.release()
    assert service.start().status == 0
    assert service.machine.ok(f"cat {TARGET}/stop/*").strip() == "".join(
        str(number) for number in sorted(range(20), key=str)
    )
    assert len(service.alerts()) == before


def test_a_run_beside_another_is_no_failure(service: Service, proxy: CountingProxy) -> None:
    """When a run by hand holds the lock, the service ends with 75, which counts as success and raises no alert."""
    service.bucket.put("backup/dir1/slow.bin", b"slow")
    before = len(service.alerts())
    proxy.hold_after(0)
    by_hand = "s32s-agent --once --config /etc/s32s-agent/config.yaml"
    given = "EnvironmentFile=/etc/default/s32s-agent -E AWS_SHARED_CREDENTIALS_FILE=/run/keys"
    service.machine.ok(
        "install -o s32s-agent -m 600 /etc/credstore/s32s-agent.aws /run/keys\n"
        f"systemd-run --quiet --unit=by-hand -p User=s32s-agent -p {given} {by_hand}"
    )
    assert proxy.wait_for(1)

    assert service.start().status == 0
    assert service.property("ExecMainStatus") == "75"
    assert len(service.alerts()) == before
    assert service.log()[-1]["event"] == "run.skipped"
    proxy.release()
    # Otherwise it would hold the lock when the next test starts a run.
    service.machine.wait_for(
        lambda: service.property("ActiveState", "by-hand.service") == "inactive",
        "waiting for the run by hand",
    )


def test_a_missed_tick_is_made_up(service: Service) -> None:
    """After the machine was off or asleep at a tick, the timer starts a run at once."""
    service.drop_in(
        "s32s-agent.timer", "[Timer]\nOnCalendar=\nOnCalendar=monthly\nRandomizedDelaySec=0\n"
    )
    service.bucket.put("backup/dir1/missed.html", b"missed")
    service.machine.ok("touch -d '40 days ago' /var/lib/systemd/timers/stamp-s32s-agent.timer")
    service.machine.ok("systemctl start s32s-agent.timer")

    there = f"{TARGET}/missed.html"
    service.machine.wait_for(
        lambda: service.machine.read(there) == "missed", "waiting to catch up"
    )


# --- what the sandbox refuses, and the remedies ---


def failure(service: Service) -> dict[str, str]:
    """Run the service, which must fail; return the event with the cause."""
    assert service.start().status != 0
    assert service.property("ExecMainStatus") == "73"
    return next(event for event in reversed(service.log()) if "cause" in event)


def test_a_directory_outside_the_sandbox_is_not_changed_and_the_drop_in_is_named(
    service: Service,
) -> None:
    """A mapping outside ReadWritePaths= fails, and the remedy works."""
    service.machine.ok("install -d -o s32s-agent /srv/www /srv/data")
    service.machine.ok("sed -i 's|^roots:.*|roots: [/srv]|' /etc/s32s-agent/config.yaml")
    service.publish_map(site(slave="/srv/data"))
    remedy = "run: systemctl edit s32s-agent.service, and write below [Service]: ReadWritePaths=/srv/data"
    checked = service.machine.run(CHECK)
    assert (checked.status, remedy in checked.stdout) == (73, True)

    event = failure(service)
    assert service.machine.ok("find /srv/data -mindepth 1") == ""
    assert event["remedy"] == remedy
    service.drop_in("s32s-agent.service", f"[Service]\n{remedy.rpartition(': ')[2]}\n")
    service.machine.ok(CHECK)
    assert service.start().status == 0
    assert service.machine.read("/srv/data/index.html") == "first"


def test_a_home_directory_is_hidden_and_the_drop_in_is_named(service: Service) -> None:
    """A mapping below /home fails, and the remedy works without showing other home directories."""
    place = "/home/deploy/app"
    service.machine.ok(f"install -d -o s32s-agent {place} /home/other")
    service.machine.ok(
        "sed -i 's|^roots:.*|roots: [/home/deploy]|' /etc/s32s-agent/config.yaml"
    )
    service.publish_map(site(slave=place))

    hidden = service.machine.run(CHECK)
    assert (hidden.status, "FAILED" in hidden.stdout) == (73, True)
    remedy = failure(service)["remedy"]
    lines = re.findall(r"(ProtectHome=tmpfs|BindPaths=\S+)", remedy)
    assert lines == ["ProtectHome=tmpfs", f"BindPaths={place}"]
    service.drop_in("s32s-agent.service", "\n".join(["[Service]", *lines, ""]))
    service.machine.ok(CHECK)
    assert service.start().status == 0
    assert service.machine.read(f"{place}/index.html") == "first"


def test_a_state_directory_of_another_unit_is_refused_and_the_right_one_named(
    service: Service,
) -> None:
    """The remedy of an instance whose config names the state of the single service is the right directory."""
    config = "role: slave\nmaps: bucketname/S32SMAP/foo/data\nroots: [/srv/www]\n"
    service.machine.write("/etc/s32s-agent/web.yaml", config)
    service.machine.ok("cp /etc/credstore/s32s-agent.aws /etc/credstore/s32s-agent.web.aws")
    service.drop_in("s32s-agent@web.service", f"[Service]\n{FULL}\n")
    start = "systemctl reset-failed; systemctl start s32s-agent@web"

    assert service.machine.run(start).status != 0
    service.machine.wait_for(
        lambda: any(
            each.startswith("s32s-agent@web.service failed") for each in service.alerts()
        ),
        "waiting for the instance's alert",
    )
    event = service.log("s32s-agent@web")[-1]
    assert event["remedy"].startswith("set state_dir to /var/lib/s32s-agent/web,")
    service.machine.write(
        "/etc/s32s-agent/web.yaml", f"{config}state_dir: /var/lib/s32s-agent/web\n"
    )
    service.machine.ok(start)
    assert service.log("s32s-agent@web")[-1]["exit_code"] == "0"


def test_a_bind_mount_in_a_directory_is_not_changed_and_reported(service: Service) -> None:
    """The device numbers do not show it, and openat2 is not permitted."""
    inside = f"{TARGET}/inside"
    elsewhere = "/srv/elsewhere"
    service.machine.ok(f"install -d -o s32s-agent {inside} {elsewhere}")
    service.machine.ok(
        f"echo foreign > {elsewhere}/page.html; chown s32s-agent {elsewhere}/page.html"
    )
    service.bucket.put("backup/dir1/inside/page.html", b"right")
    service.drop_in("s32s-agent.service", f"[Service]\nBindPaths={elsewhere}:{inside}\n")
    assert service.start().status != 0

    skipped = [each for each in service.log()[-8:] if each["event"] == "entry.skipped"]
    assert any("is mounted here" in each["reason"] for each in skipped)
    assert service.machine.read(f"{elsewhere}/page.html") == "foreign\n"
    service.machine.ok("rm /etc/systemd/system/*.d/test.conf; systemctl daemon-reload")
    assert service.start().status == 0
    assert service.machine.read(f"{inside}/page.html") == "right"


def test_a_run_by_hand_as_root_cannot_damage_the_state(service: Service) -> None:
    """Files of root in the state would stop the service: the error names the user, and the service continues."""
    service.machine.ok("rm -f /var/lib/s32s-agent/run.lock")
    keys = "AWS_SHARED_CREDENTIALS_FILE=/etc/credstore/s32s-agent.aws"
    where = f"AWS_ENDPOINT_URL_S3={service.server.endpoint_url}"

    by_hand = service.machine.run(f"{keys} {where} s32s-agent --once --quiet 2>&1")

    assert by_hand.status == os.EX_CANTCREAT
    assert "run the agent as that user" in by_hand.stdout
    assert service.start().status == 0


def test_other_owners_need_the_drop_in_of_the_documents(service: Service) -> None:
    """`sync.owner` fails in the sandbox with the reason; with the drop-in of the documents it works."""
    (drop_in,) = re.findall(
        r"^\| `sync\.owner` \| (.*) \| ", section_of(INSTALL, "Service"), re.MULTILINE
    )
    service.machine.ok("echo 'sync: {owner: games}' >> /etc/s32s-agent/config.yaml")
    service.bucket.put("backup/dir1/owned.html", b"owned")
    assert service.start().status != 0
    (event,) = [each for each in service.log()[-4:] if each["event"] == "entry.failed"]
    assert "the unit may not change owners (sync.owner)" in event["remedy"]

    service.drop_in(
        "s32s-agent.service", "\n".join(["[Service]", *re.findall("`([^`]+)`", drop_in), ""])
    )
    assert service.start().status == 0
    assert service.machine.ok(f"stat -c %U {TARGET}/owned.html") == "games\n"


def reloads(service: Service, times: int) -> bool:
    return service.machine.read("/run/reloads").count("again") == times


def test_a_hook_can_have_a_service_reloaded_without_any_right(service: Service) -> None:
    """When the agent touches a file, systemd reloads the units that the operator enabled, each time.

    A failed reload raises an alert, since the agent does not learn of it; a stopped unit stays stopped.
    """
    unit = "[Service]\nExecStart=sleep infinity\nExecReload=/bin/sh -c 'echo again >> /run/reloads'\n"
    service.machine.write("/etc/systemd/system/nginx.service", unit)
    service.machine.ok("systemctl daemon-reload; systemctl start nginx")
    service.machine.ok("systemctl start s32s-agent-reload@nginx.path")
    for times in (1, 2):
        touch = "su -s /bin/sh s32s-agent -c 'touch /var/lib/s32s-agent/reload.nginx'"
        service.machine.ok(touch)

        done = partial(reloads, service, times)
        service.machine.wait_for(done, "waiting for the reload")

    service.machine.write("/etc/systemd/system/nginx.service", unit.replace("echo", "false"))
    service.machine.ok(f"systemctl daemon-reload; {touch}")
    failed = "s32s-agent-reload@nginx.service failed: exit-code"
    service.machine.wait_for(
        lambda: any(each.startswith(failed) for each in service.alerts()),
        "waiting for the alert of the reload",
    )
    service.machine.ok("systemctl stop s32s-agent-reload@nginx.path nginx")
    service.machine.ok("systemctl start s32s-agent-reload@nginx.service")
    assert service.property("ActiveState", "nginx.service") == "inactive"


# --- cron ---

CRON_JOB = (ROOT / "etc" / "cron.d" / "s32s-agent").read_text(encoding="utf-8")
AT_ONCE = re.sub(r"^\*/5 \* \* \* \*", "@reboot", CRON_JOB, flags=re.MULTILINE)
HIDE_SYSTEMD = """
mount --bind /run/systemd/journal /mnt
mount -t tmpfs tmpfs /run/systemd
mkdir /run/systemd/journal
mount --move /mnt /run/systemd/journal
"""
"""In a separate mount namespace: cron finds no systemd there, as on a machine without it, but a log."""


@pytest.fixture
def cron(service: Service) -> Iterator[Service]:
    """The installed agent with its keys where cron's jobs find them, and the sample for cron as the only job."""
    machine = service.machine
    if machine.run("command -v cron").status != 0:
        pytest.skip("cron is not installed")
    # Without the user that systemd has made; what there is then belongs to the new one.
    machine.ok("userdel --force s32s-agent; find /etc/cron.d -type f -delete")
    for block in blocks(section_of(INSTALL, "Cron")):
        machine.ok(block)
    assert machine.read("/etc/cron.d/s32s-agent") == CRON_JOB
    machine.write("/etc/cron.d/s32s-agent", AT_ONCE.replace("--splay 60", "--splay 1"))
    machine.ok(
        "chown -R s32s-agent:s32s-agent /var/lib/s32s-agent /srv/www\n"
        "cat /etc/credstore/s32s-agent.aws > /var/lib/s32s-agent/.aws/credentials"
    )
    yield service
    machine.ok("rm -rf /var/lib/s32s-agent/.aws /etc/cron.d/s32s-agent")


def mailed_by_cron(service: Service, before: str, endpoint_url: str) -> str:
    """Let the real cron daemon run the job once; return its mail."""
    machine = service.machine
    machine.ok(
        f"printf 's3: {{endpoint_url: \"{endpoint_url}\"}}\\n' >> /etc/s32s-agent/config.yaml\n"
        ": > /var/mail/sent; rm -f /run/crond.reboot; chmod 644 /etc/cron.d/s32s-agent"
    )
    machine.write("/run/cron.sh", f"{before}exec cron -f -L 15\n")
    log = "journalctl --no-pager --output=cat --identifier=CRON --boot"
    ended = re.compile(r"END \(.*s32s-agent --once")
    seen = len(ended.findall(machine.ok(log)))
    machine.ok("systemd-run --quiet --unit=cron-test unshare --mount sh -eu /run/cron.sh")
    machine.wait_for(
        lambda: len(ended.findall(machine.ok(log))) > seen, "waiting for cron's job to end"
    )
    machine.ok("systemctl stop cron-test; systemctl reset-failed")
    return machine.read("/var/mail/sent")


def test_cron_runs_the_agent_and_mails_nothing(cron: Service) -> None:
    """Where there is no systemd the sample works in cron's bare environment, and is quiet."""
    cron.bucket.put("backup/dir1/cron.html", b"by cron")

    assert mailed_by_cron(cron, HIDE_SYSTEMD, cron.server.endpoint_url) == ""
    assert cron.machine.read(f"{TARGET}/cron.html") == "by cron"


def test_cron_mails_trouble(cron: Service) -> None:
    """When S3 cannot be reached, cron sends a mail with the error."""
    mail = mailed_by_cron(cron, HIDE_SYSTEMD, "http://127.0.0.1:9")

    assert '"event": "run.failed"' in mail
    assert '"cause": "unavailable"' in mail


def test_cron_does_nothing_where_systemd_runs(cron: Service) -> None:
    """With both on one machine no run starts twice."""
    before = cron.machine.read("/var/lib/s32s-agent/last_run.json")

    assert mailed_by_cron(cron, "", cron.server.endpoint_url) == ""
    assert cron.machine.read("/var/lib/s32s-agent/last_run.json") == before


# --- the end of the README ---


def test_uninstalling_leaves_nothing_but_what_was_mirrored(installed: Service) -> None:
    """The README's last commands succeed, remove user, units, config, keys and state, and keep the files."""
    service = installed
    service.reset()
    command = blocks(section_of(INSTALL, "Uninstall"))[-1]
    assert "userdel" in command
    # The session that cron opened for the user lingers for ten seconds, where logind knows of it.
    service.machine.run("loginctl terminate-user s32s-agent; sleep 1")
    service.machine.ok("systemctl enable --now s32s-agent.timer")
    service.machine.ok(command)

    find = "find /etc /opt /usr/local /usr/lib/systemd /var -xdev -iname '*s32s*'"
    assert service.machine.ok(find) == ""
    assert (
        service.machine.run("getent passwd s32s-agent; getent group s32s-agent").stdout == ""
    )
    assert "s32s" not in service.machine.ok(
        "systemctl list-unit-files --no-legend; systemctl --failed"
    )
    assert service.machine.read(f"{TARGET}/index.html") == "first"
