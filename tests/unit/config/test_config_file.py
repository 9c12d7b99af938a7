"""The config file: what it may say, and the messages when it is wrong."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from s32s_agent.config.config_file import parse
from s32s_agent.config.hook_commands import OnChange
from s32s_agent.config.option_forms import MapsLocation, MaxDelete, Modes, Symlinks
from s32s_agent.config.settings import (
    HookSettings,
    LogSettings,
    MonitoringSettings,
    S3Settings,
    Settings,
    SyncSettings,
)
from s32s_agent.errors import ConfigError
from s32s_agent.model import Location, Role

SAMPLE = Path(__file__).parents[3] / "etc" / "config.yaml"
NEEDED = "role: slave\nmaps: bucket/maps\nroots: [/srv/www]\n"
COMMANDS = "a list of words such as [/usr/bin/logger, changed], or a list of such lists"
DEFAULTS = Settings(
    Role.SLAVE, MapsLocation(Location("bucket", "maps"), single=False), ("/srv/www",)
)


def problems_of(text: str) -> tuple[str, ...]:
    """Parse a config that is wrong."""
    with pytest.raises(ConfigError) as raised:
        parse(text, "config.yaml")
    return raised.value.problems


def with_option(path: str, value: str) -> str:
    """Write a config with one more option."""
    section, _, key = path.rpartition(".")
    return (
        f"{NEEDED}{section}:\n  {key}: {value}\n" if section else f"{NEEDED}{key}: {value}\n"
    )


def test_three_keys_are_enough() -> None:
    """Role, maps and roots make a config, and the rest has its documented defaults."""
    actual = parse(NEEDED, "config.yaml")

    assert actual == DEFAULTS
    assert actual.state_dir == "/var/lib/s32s-agent"
    assert actual.s3 == S3Settings(None, None, None, allow_http=False)
    assert actual.sync == SyncSettings(
        16,
        "current",
        None,
        MaxDelete(25.0, None),
        False,
        True,
        7.0,
        Modes.RESTORE,
        0o644,
        0o755,
        None,
        Symlinks.SKIP,
        None,
    )
    assert actual.log == LogSettings("info", "auto")
    assert actual.monitoring == MonitoringSettings(None, None, None)
    assert actual.hooks == HookSettings((), OnChange(), (), (), 60.0)


def test_the_sample_shows_the_defaults() -> None:
    """The sample config names every option with the value that it has when it is left out."""
    text = SAMPLE.read_text(encoding="utf-8")
    actual = parse(text, str(SAMPLE))

    assert (
        replace(actual, role=DEFAULTS.role, maps=DEFAULTS.maps, roots=DEFAULTS.roots)
        == DEFAULTS
    )
    for kind in (S3Settings, SyncSettings, LogSettings, MonitoringSettings, HookSettings):
        for name in [field.name for field in fields(kind)]:
            assert re.search(rf"^  {name}:", text, re.MULTILINE), name


def test_a_master_with_windows_paths() -> None:
    """A master's directories may be those of Windows, in either spelling."""
    text = "role: master\nmaps: s3://b-1/m.yaml\nroots: ['c:\\path\\', d:/x]\nstate_dir: \"c:/state\"\n"
    actual = parse(text, "config.yaml")

    assert actual == Settings(
        Role.MASTER,
        MapsLocation(Location("b-1", "m.yaml"), single=True),
        ("c:/path", "d:/x"),
        state_dir="c:/state",
    )


@pytest.mark.parametrize(
    ("maps", "single"),
    [("bucket/a", False), ("bucket/a.JSON", True), ("bucket/a.yml/", True), ("bucket", False)],
)
def test_one_map_file_or_many(maps: str, single: bool) -> None:  # noqa: FBT001 - a table
    """A location with the suffix of a map file is one file."""
    actual = parse(f"role: slave\nmaps: {maps}\nroots: [/srv]", "config.yaml").maps

    assert actual.single == single


@pytest.mark.parametrize(
    ("path", "text", "value"),
    [
        ("state_dir", "//var/state/", "/var/state"),
        ("s3.profile", "backup", "backup"),
        ("s3.region", "eu-west-1", "eu-west-1"),
        ("s3.endpoint_url", "http://localhost:8333/", "http://localhost:8333"),
        ("s3.addressing_style", "path", "path"),
        ("s3.ca_bundle", "/etc/ssl/ca.pem", "/etc/ssl/ca.pem"),
        ("s3.addressing_style", "auto", "auto"),
        ("s3.requester_pays", "true", True),
        ("s3.anonymous", "true", True),
        ("s3.expected_bucket_owner", "'012345678901'", "012345678901"),
        ("s3.server_side_encryption", "AES256", "AES256"),
        ("sync.workers", "256", 256),
        ("sync.max_bandwidth", "20MB", 20_000_000),
        ("sync.max_bandwidth", "512KiB", 524_288),
        ("sync.max_bandwidth", "1.5 GB", 1_500_000_000),
        ("sync.max_bandwidth", "1000", 1000),
        ("sync.max_delete", "12.5%", MaxDelete(percent=12.5)),
        ("sync.max_delete", "0", MaxDelete(count=0)),
        ("sync.trash_days", "0", 0.0),
        ("sync.trash_days", "0.5", 0.5),
        ("sync.modes", "ignore", Modes.IGNORE),
        ("sync.file_mode", "'600'", 0o600),
        ("sync.dir_mode", "'0777'", 0o777),
        ("sync.dir_mode", "'2775'", 0o2775),
        ("sync.owner", "www-data:www-data", "www-data:www-data"),
        ("sync.owner", "1000:1000", "1000:1000"),
        ("sync.symlinks", "follow", Symlinks.FOLLOW),
        ("sync.run_timeout", "30m", 1800.0),
        ("sync.run_timeout", "90s", 90.0),
        ("sync.run_timeout", "1h", 3600.0),
        ("sync.run_timeout", "45", 45.0),
        ("log.level", "debug", "debug"),
        ("log.format", "journal", "journal"),
        ("monitoring.metrics_file", "/var//lib/a.prom", "/var/lib/a.prom"),
        ("monitoring.ping_url", "https://hc-ping.com/a-b/", "https://hc-ping.com/a-b"),
        ("monitoring.report", "s3://bucket/fleet/", Location("bucket", "fleet")),
        ("monitoring.report", "bucket/maps2", Location("bucket", "maps2")),
        ("monitoring.report", "other", Location("other")),
        ("hooks.timeout", "90s", 90.0),
        ("hooks.before", "[/bin/true]", (("/bin/true",),)),
        (
            "hooks.after",
            "[[/bin/echo, ''], [logger, '-t', x]]",
            (("/bin/echo", ""), ("logger", "-t", "x")),
        ),
        ("hooks.on_failure", "[]", ()),
        (
            "hooks.on_change",
            "[systemctl, reload, nginx]",
            OnChange((("systemctl", "reload", "nginx"),)),
        ),
        (
            "hooks.on_change",
            "{site: [a, b], c/d: [[e]]}",
            OnChange((), {"site": (("a", "b"),), "c/d": (("e",),)}),
        ),
    ],
)
def test_an_option(path: str, text: str, value: object) -> None:
    """Each option takes its documented spellings."""
    actual: object = parse(with_option(path, text), "config.yaml")
    for name in path.split("."):
        actual = getattr(actual, name)

    assert actual == value


REFUSED = [
    (
        "sync.max_delete",
        "expected a count or a percentage",
        {
            "lots": '"lots"',
            "101%": '"101%"',
            "-1": "-1",
            "true": "true",
            "0.5": "0.5",
            "": "null",
        },
    ),
    (
        "sync.workers",
        "expected a count from 1 to 256",
        {"0": "0", "257": "257", "yes": "true", "'16'": '"16"', "[1]": "a list"},
    ),
    ("sync.durable", "expected true or false", {"1": "1"}),
    (
        "sync.trash_days",
        "expected a number of days from 0 to 36500",
        {"-1": "-1", ".inf": "inf", "7d": '"7d"'},
    ),
    ("sync.owner", "expected user or user:group", {"a:b:c": '"a:b:c"', "1000": "1000"}),
    ("sync.symlinks", "expected skip or follow", {"copy": '"copy"'}),
    ("log.level", "expected debug, info, warning or error", {"off": "false"}),
    ("s3.profile", "expected text", {"''": '""', "true": "true"}),
    ("s3.region", "expected the name of a region", {"a/b": '"a/b"'}),
    ("s3.ca_bundle", "expected an absolute path", {"ca.pem": '"ca.pem"'}),
    (
        "s3.expected_bucket_owner",
        "expected an account number of 12 digits in quotes",
        {"123456789012": "123456789012"},
    ),
    ("state_dir", "expected an absolute path", {"state": '"state"'}),
    (
        "state_dir",
        "expected an absolute path, which begins with / in role slave",
        {"c:/state": '"c:/state"'},
    ),
    (
        "s3.ca_bundle",
        "expected an absolute path, which begins with / in role slave",
        {"'c:\\ca.pem'": '"c:/ca.pem"'},
    ),
    ("state_dir", "expected text without control characters", {'"/a\\e[1m"': '"/a\\x1b[1m"'}),
    (
        "monitoring.metrics_file",
        "expected a name that ends in .prom, since the textfile collector reads no other",
        {"/a/b.txt": '"/a/b.txt"'},
    ),
    ("monitoring.metrics_file", "expected an absolute path", {"b.prom": '"b.prom"'}),
    ("monitoring.ping_url", "expected a URL", {"1": "1"}),
    ("hooks.before", "[0]: expected a program and its arguments", {"[[]]": "an empty list"}),
    (
        "hooks.before",
        "[1]: expected text, in quotes where YAML reads it as something else",
        {"[a, 1]": "1"},
    ),
    ("hooks.before", f"expected {COMMANDS}", {"[a, [b]]": "a list"}),
    (
        "hooks.before",
        "[0]: expected an absolute path, or a name without slashes",
        {"[./a]": '"./a"', "['']": '""'},
    ),
    (
        "hooks.before",
        "[0]: expected text that can be a program's argument",
        {'["a\\0"]': '"a\\x00"'},
    ),
    ("hooks.after", f"expected {COMMANDS}", {"reboot": '"reboot"'}),
    ("hooks.after", f"expected {COMMANDS}", {"{site: [a]}": "a mapping"}),
    ("hooks.on_change", f"expected {COMMANDS}", {"null": "null"}),
    ("hooks.on_change", f".site: expected {COMMANDS}", {"{site: 3}": "3"}),
    (
        "hooks.on_change",
        ".s[1][1]: expected text, in quotes where YAML reads it as something else",
        {"{s: [[a], [b, 2]]}": "2"},
    ),
    (
        "hooks.timeout",
        "expected a duration such as 90s, 30m or 1h, or a number of seconds",
        {"0": "0"},
    ),
]
"""Of each option: what is expected instead of some texts, and what the message says is there."""


@pytest.mark.parametrize(
    ("path", "text", "problem"),
    [
        (path, text, f"{wanted}, got {got}")
        for path, wanted, texts in REFUSED
        for text, got in texts.items()
    ]
    + [
        (
            "s3.kms_key_id",
            "key",
            "expected server_side_encryption: aws:kms, which a key needs",
        ),
        (
            "monitoring.report",
            "bucket/maps/fleet",
            "expected a prefix that does not overlap maps, where every computer looks for map files",
        ),
        (
            "monitoring.report",
            "bucket",
            "expected a prefix that does not overlap maps, where every computer looks for map files",
        ),
    ],
)
def test_a_wrong_value_is_named_with_its_path(path: str, text: str, problem: str) -> None:
    """The message says where, what was expected, and what is there."""
    actual = problems_of(with_option(path, text))
    place = path if problem[0] in ".[" else f"{path}: "

    assert actual == (f"{place}{problem}",)


@pytest.mark.parametrize(
    ("on_change", "commands"),
    [
        (OnChange(), ()),
        (OnChange((("a",),)), (("a",),)),
        (OnChange((), {"site": (("b",),)}), (("b",),)),
        (OnChange((), {"other": (("b",),)}), ()),
    ],
)
def test_the_commands_that_a_change_calls_for(
    on_change: OnChange, commands: tuple[tuple[str, ...], ...]
) -> None:
    """Those for all mappings, or those of the mapping's name."""
    assert on_change.of("site") == commands


def test_a_wrong_config_says_where_right_ones_are_explained() -> None:
    """The error has a remedy, for text that is no YAML, too."""
    for text in ("role: x", "{"):
        with pytest.raises(ConfigError) as caught:
            parse(text, "config.yaml")

        assert "s32s-agent.yaml(5)" in caught.value.remedy


def test_every_mistake_in_hooks_is_named_at_once() -> None:
    """All wrong words of all hooks are reported together, each with its place."""
    hooks = (
        "{before: [a, 1], on_change: {s: [[./b]], t: 1}, after: [[c], [d, [e]]], timeout: x}"
    )

    places = [problem.split(": ")[0] for problem in problems_of(with_option("hooks", hooks))]

    assert places == [
        "hooks.before[1]",
        "hooks.on_change.s[0][0]",
        "hooks.on_change.t",
        "hooks.after[1][1]",
        "hooks.timeout",
    ]


@pytest.mark.parametrize(
    "text", ["0", "-1", "true", "20Mb", "20 MB/s", "MB", "20iB", "1.5", "0.0001MB", "1" * 5000]
)
def test_a_wrong_bandwidth(text: str) -> None:
    """What is no amount of bytes is refused, and so is 0, which could mean none or all."""
    [actual] = problems_of(with_option("sync.max_bandwidth", text))

    assert "max_bandwidth: expected bytes per second" in actual or "not valid YAML" in actual


@pytest.mark.parametrize(
    "text", ["0", "-1", "1:30", "30 minutes", "true", "999d", "1.5", "0x" + "f" * 500]
)
def test_a_wrong_duration(text: str) -> None:
    """What is no duration is refused, the ambiguous 1:30 too."""
    [actual] = problems_of(with_option("sync.run_timeout", text))

    assert actual.startswith("sync.run_timeout: expected a duration such as 90s")


@pytest.mark.parametrize("text", ["0644", "644", "0o644"])
def test_a_mode_without_quotes_is_not_guessed(text: str) -> None:
    """YAML turns 0644 and 644 into different numbers, so only text is taken."""
    [actual] = problems_of(with_option("sync.file_mode", text))

    assert actual.startswith(
        'sync.file_mode: expected octal digits in quotes such as "0644", got'
    )


@pytest.mark.parametrize(
    "text", ["'4755'", "'01777'", "'0689'", "rwxr-xr-x", "'7'", "true", "[]"]
)
def test_no_setuid_file_comes_from_a_config(text: str) -> None:
    """A mode holds the nine permission bits and no others."""
    [actual] = problems_of(with_option("sync.file_mode", text))

    assert actual.startswith("sync.file_mode: expected ")


@pytest.mark.parametrize(
    ("max_delete", "entries", "allowed"),
    [
        (MaxDelete(percent=25.0), 1000, 250),
        (MaxDelete(percent=25.0), 43, 10),
        (MaxDelete(percent=25.0), 47, 11),
        (MaxDelete(percent=25.0), 0, 10),
        (MaxDelete(percent=0.0), 1000, 10),
        (MaxDelete(count=0), 1000, 10),
        (MaxDelete(count=500), 1000, 500),
        (MaxDelete(), 1000, 10),
    ],
)
def test_deletes_that_pass(max_delete: MaxDelete, entries: int, allowed: int) -> None:
    """A share of the entries or a count, and ten in any case."""
    actual = max_delete.allowed(entries)

    assert actual == allowed


def test_credentials_do_not_travel_in_the_clear() -> None:
    """Plain HTTP to another computer is refused until it is asked for."""
    text = with_option("s3.endpoint_url", "http://s3.example.net")
    actual = parse(text + "  allow_http: true\n", "config.yaml")

    assert actual.s3.endpoint_url == "http://s3.example.net"
    assert problems_of(text) == (
        "s3.endpoint_url: expected https:// (s3.allow_http: true permits http:// to other computers)",
    )


def test_a_password_in_a_url_is_not_repeated() -> None:
    """The message about a URL with credentials does not hold them."""
    [actual] = problems_of(
        with_option("s3.endpoint_url", "https://user:hunter2@s3.example.net")
    )

    assert actual.startswith("s3.endpoint_url: expected http:// or https://")
    assert "hunter2" not in actual


def test_a_kms_key_beside_its_encryption() -> None:
    """A key is taken when the encryption is that of KMS."""
    text = with_option("s3.server_side_encryption", "aws:kms") + "  kms_key_id: alias/x\n"
    actual = parse(text, "config.yaml").s3

    assert (actual.server_side_encryption, actual.kms_key_id) == ("aws:kms", "alias/x")


def test_requests_that_no_account_pays_for() -> None:
    """Requests without an account cannot be paid for."""
    text = with_option("s3.requester_pays", "true") + "  anonymous: true\n"

    assert problems_of(text) == (
        "s3.anonymous: expected false with requester_pays: who pays must be known",
    )


def test_every_problem_is_reported_at_once() -> None:
    """One look names all that is wrong."""
    actual = problems_of(
        "role: both\nroots: [srv, /srv/../etc, ~/x]\nsync: {max_deletes: 1, workers: 0}\n"
        "s3: here\nlogs: {}\nrole: both\n"
    )

    assert actual == (
        "role: key given more than once",
        'logs: unknown key, did you mean "log"?',
        'role: expected slave or master, got "both"',
        "maps: missing, expected bucket/prefix",
        'roots[0]: expected an absolute path, got "srv"',
        'roots[1]: expected an absolute path without "." and "..", got "/srv/../etc"',
        'roots[2]: expected an absolute path, ~ and variables are not expanded, got "~/x"',
        's3: expected a mapping, got "here"',
        'sync.max_deletes: unknown key, did you mean "max_delete"?',
        "sync.workers: expected a count from 1 to 256, got 0",
    )


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("[]", ("expected a mapping, got a list",)),
        ("slave", ('expected a mapping, got "slave"',)),
        (
            "a: &x 1",
            (
                "line 1, column 4: YAML anchors are not allowed; put text that begins with & in quotes",
            ),
        ),
        ("x" * 1048577, ("expected at most 1048576 characters, got 1048577",)),
    ],
)
def test_what_is_no_config(text: str, problems: tuple[str, ...]) -> None:
    """A text that is no mapping is refused with the reason."""
    actual = problems_of(text)

    assert actual[: len(problems)] == problems


def test_an_empty_file_says_what_is_needed() -> None:
    """The message for an empty file names the three keys."""
    actual = problems_of("# nothing\n")

    assert actual == (
        "expected a mapping, got null",
        "role: missing, expected slave or master",
        "maps: missing, expected bucket/prefix",
        "roots: missing, expected a list of local directories",
    )


def test_a_section_of_comments_is_empty() -> None:
    """A section whose every line is a comment has its defaults."""
    actual = parse(NEEDED + "s3:\n  # region: x\nsync:\n", "config.yaml")

    assert actual == DEFAULTS


def test_no_roots_never_means_every_root() -> None:
    """An empty list of roots is a problem."""
    actual = problems_of("role: slave\nmaps: bucket/maps\nroots: []")

    assert actual == ("roots: expected a list of local directories, got an empty list",)


def test_the_error_names_the_file() -> None:
    """The message begins with the place, printable."""
    with pytest.raises(ConfigError, match=r"^a\\x1b\.yaml: expected a mapping"):
        parse("[]", "a\x1b.yaml")


VALUES = st.recursive(
    st.sampled_from(["null", "true", "0", "-1", "1e9", ".nan", "9" * 400, "0x" + "f" * 400])
    | st.sampled_from(
        ["c:/x", "/srv", "'25%'", "1h", "a/b", "'\\'", '"\\0"', "{}", "[]", "1:1"]
    )
    | st.text(max_size=8),
    lambda children: st.lists(children, max_size=3).map(lambda items: f"[{', '.join(items)}]"),
    max_leaves=4,
)
PATHS = ["role", "maps", "roots", "state_dir", "s3", "sync", "log", "hooks"] + [
    f"{section}.{name}"
    for section, kind in [
        ("s3", S3Settings),
        ("sync", SyncSettings),
        ("log", LogSettings),
        ("monitoring", MonitoringSettings),
        ("hooks", HookSettings),
    ]
    for name in [field.name for field in fields(kind)]
]


@settings(deadline=None)
@given(st.text())
@example("[" * 100_000)
@example("a:\n" + "".join(f"{' ' * depth}a:\n" for depth in range(1, 500)))
def test_only_config_errors_come_out(text: str) -> None:
    """Any text gives settings or a ConfigError."""
    with pytest.raises(ConfigError):
        parse(text, "config.yaml")


@given(st.sampled_from(PATHS), VALUES)
def test_only_config_errors_come_out_of_an_option(path: str, text: str) -> None:
    """Any value of any option gives settings or a ConfigError that can be printed."""
    message = ""
    try:
        parse(with_option(path, text), "config.yaml")
    except ConfigError as error:
        message = str(error)

    assert message.isprintable()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/SECRET",
        "host/SECRET",
        "https://user:SECRET@host/",
        "https://host/a#SECRET",
        "https://host:0/SECRET",
        "https://host:99999/SECRET",
        "https:///SECRET",
        "https://host/a b/SECRET",
        '"https://host/SECRET\\n"',
        "'https://host/SECRET\u202e'",
    ],
)
def test_the_secret_of_a_ping_url_never_gets_into_a_message(url: str) -> None:
    """A URL that cannot be used is refused without repeating it: everyone who knows it can report for this computer."""
    (problem,) = problems_of(with_option("monitoring.ping_url", url))

    assert problem.startswith("monitoring.ping_url: expected http:// or https:// with a host")
    assert "SECRET" not in problem
