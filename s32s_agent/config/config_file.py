"""Turn the text of the config file into `Settings`, or say everything that is wrong with it at once.

Opens no file and looks nothing up: whether a user, a profile or a directory exists shows when it is used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import fields

from s32s_agent.config.locations import (
    normal_directory,
    normal_endpoint,
    normal_ping_url,
    parse_location,
)
from s32s_agent.config.settings import (
    Command,
    HookSettings,
    LogSettings,
    MapsLocation,
    MaxDelete,
    MonitoringSettings,
    OnChange,
    S3Settings,
    Settings,
    Symlinks,
    SyncSettings,
)
from s32s_agent.config.values import (
    Fields,
    boolean,
    capped,
    expected,
    is_number,
    load_yaml,
    matching,
    one_of,
    optional,
    plain_text,
    text_as,
)
from s32s_agent.errors import ConfigError
from s32s_agent.model import Location, Role
from s32s_agent.text import printable

MAX_WORKERS = 256
MAX_SECONDS = 366 * 86400.0
"""A longer duration is a slip, and no clock function has to cope with it."""
MAX_DAYS = 36500
MAX_BANDWIDTH = 10**15
MAX_PERMISSIONS = 0o777
"""Setuid, setgid and sticky bits never come from a config."""
MAP_SUFFIXES = (".json", ".yaml", ".yml")
_REMEDY = "s32s-agent.yaml(5) and the README explain every key; etc/config.yaml is a sample"


def parse(text: str, place: str) -> Settings:
    """Turn the text of a config file into settings.

    Args:
        text: YAML.
        place: what messages call the file.

    Raises:
        ConfigError: with every problem of the text, each with its path.
    """
    problems: list[str] = []
    try:
        document = load_yaml(text)
    except ValueError as error:
        raise ConfigError(printable(place), [str(error)], remedy=_REMEDY) from error
    settings = _settings(Fields(document, problems, known=_names(Settings)))
    if settings is None or problems:
        raise ConfigError(printable(place), capped(problems), remedy=_REMEDY)
    return settings


def _names(settings: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(settings))


def _settings(top: Fields) -> Settings | None:
    """Read everything, so that every problem is found; None when a needed key is missing or wrong."""
    role = top.need("role", lambda value: Role(_role(value)), "master or slave")
    maps = top.need("maps", _maps, "bucket/prefix")
    # The maps of a master may say c:/..., so its roots may too. With a wrong role nothing is held against a path.
    directory = text_as(
        lambda text: normal_directory(text, windows_ok=role is not Role.SLAVE),
    )
    roots = top.need_list("roots", directory, "a list of local directories")
    state_dir = top.take("state_dir", directory, "/var/lib/s32s-agent")
    s3 = _s3(top.section("s3", _names(S3Settings)), directory)
    sync = _sync(top.section("sync", _names(SyncSettings)))
    log = _log(top.section("log", _names(LogSettings)))
    monitoring = _monitoring(
        top.section("monitoring", _names(MonitoringSettings)), directory, maps
    )
    hooks = _hooks(top.section("hooks", _names(HookSettings)))
    if role is None or maps is None or roots is None:
        return None
    return Settings(role, maps, roots, state_dir, s3, sync, log, monitoring, hooks)


def _s3(section: Fields, directory: Callable[[object], str]) -> S3Settings:
    default = S3Settings()
    allow_http = section.take("allow_http", boolean, default.allow_http)
    encryption = section.take(
        "server_side_encryption", optional(one_of("AES256", "aws:kms")), None
    )
    key_id = section.take("kms_key_id", optional(plain_text), None)
    if key_id is not None and encryption != "aws:kms":
        section.report("kms_key_id", "expected server_side_encryption to be aws:kms beside it")
    return S3Settings(
        profile=section.take("profile", optional(plain_text), None),
        region=section.take("region", optional(_REGION), None),
        endpoint_url=section.take(
            "endpoint_url", optional(_endpoint(allow_http=allow_http)), None
        ),
        allow_http=allow_http,
        addressing_style=section.take("addressing_style", _STYLE, default.addressing_style),
        ca_bundle=section.take("ca_bundle", optional(directory), None),
        requester_pays=section.take("requester_pays", boolean, default.requester_pays),
        expected_bucket_owner=section.take("expected_bucket_owner", optional(_ACCOUNT), None),
        server_side_encryption=encryption,
        kms_key_id=key_id,
    )


def _sync(section: Fields) -> SyncSettings:
    default = SyncSettings()
    take = section.take
    return SyncSettings(
        workers=take("workers", _workers, default.workers),
        max_bandwidth=take("max_bandwidth", optional(_bandwidth), None),
        max_delete=take("max_delete", _max_delete, default.max_delete),
        allow_empty_source=take("allow_empty_source", boolean, default.allow_empty_source),
        durable=take("durable", boolean, default.durable),
        trash_days=take("trash_days", _days, default.trash_days),
        file_mode=take("file_mode", _permissions, default.file_mode),
        dir_mode=take("dir_mode", _permissions, default.dir_mode),
        owner=take("owner", optional(_OWNER), None),
        symlinks=take("symlinks", lambda value: Symlinks(_symlinks(value)), default.symlinks),
        run_timeout=take("run_timeout", optional(_seconds), None),
    )


def _log(section: Fields) -> LogSettings:
    default = LogSettings()
    return LogSettings(
        section.take("level", one_of("debug", "info", "warning", "error"), default.level),
        section.take(
            "format", one_of("auto", "json", "logfmt", "console", "journal"), default.format
        ),
    )


def _monitoring(
    section: Fields, directory: Callable[[object], str], maps: MapsLocation | None
) -> MonitoringSettings:
    report = section.take("report", optional(text_as(parse_location)), None)
    if report is not None and maps is not None and _overlap(report, maps.location):
        section.report("report", "expected a prefix apart from maps, which all computers read")
    return MonitoringSettings(
        metrics_file=section.take(
            "metrics_file", optional(lambda value: _metrics_file(directory(value))), None
        ),
        ping_url=section.take("ping_url", optional(_ping_url), None),
        report=report,
    )


def _metrics_file(path: str) -> str:
    if not path.endswith(".prom"):
        raise expected(
            "a name that ends in .prom, which the textfile collector looks for", path
        )
    return path


def _ping_url(value: object) -> str:
    if not isinstance(value, str):
        raise expected("a URL", value)
    return normal_ping_url(value)


def _overlap(one: Location, other: Location) -> bool:
    """Tell whether one place is the other or holds it."""
    first, second = str(one).split("/"), str(other).split("/")
    shared = min(len(first), len(second))
    return first[:shared] == second[:shared]


def _hooks(section: Fields) -> HookSettings:
    return HookSettings(
        before=_commands(section, "before"),
        on_change=_on_change(section),
        after=_commands(section, "after"),
        on_failure=_commands(section, "on_failure"),
        timeout=section.take("timeout", _seconds, HookSettings().timeout),
    )


def _on_change(section: Fields) -> OnChange:
    if not section.holds_mapping("on_change"):
        return OnChange(of_all=_commands(section, "on_change"))
    named = section.section("on_change")
    return OnChange(by_mapping={name: _commands(named, name) for name in named.names()})


_COMMANDS = "a list of words such as [/usr/bin/logger, changed], or a list of such lists"


def _commands(section: Fields, key: str) -> tuple[Command, ...]:
    """Read one command, or a list of them; () when it is absent, empty or wrong."""
    value = section.take(key, _list_of_commands, None)
    if not value:
        return ()
    if not isinstance(value[0], list):
        command = _command(section, key)
        return (command,) if command else ()
    lists = section.below(key)
    return tuple(
        command for name in lists.names() if (command := _command(lists, name)) is not None
    )


def _list_of_commands(value: object) -> list[object]:
    kinds = {isinstance(each, list) for each in value} if isinstance(value, list) else {None}
    if not isinstance(value, list) or len(kinds) > 1:
        raise expected(_COMMANDS, value)
    return value


def _command(section: Fields, key: str) -> Command | None:
    words = section.take_list(key, _word, "a program and its arguments")
    if words is not None and not _PROGRAM.fullmatch(words[0]):
        section.report(
            f"{key}[0]", expected("an absolute path, or a name without slashes", words[0])
        )
    return words


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise expected("text, in quotes where YAML sees something else", value)
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise expected("text that an argument can hold", value)
    return value


PROGRAM = r"/[\s\S]+|[^/]+"
_PROGRAM = re.compile(PROGRAM)
_role = one_of("master", "slave")
_symlinks = one_of("skip", "follow")
REGION = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_REGION = matching(REGION, "the name of a region")
_STYLE = one_of("auto", "path", "virtual")
ACCOUNT = "[0-9]{12}"
_ACCOUNT = matching(ACCOUNT, "an account number of 12 digits in quotes")
OWNER = r"(?:[A-Za-z_][A-Za-z0-9_.-]*\$?|[0-9]{1,10})(?::(?:[A-Za-z_][A-Za-z0-9_.-]*\$?|[0-9]{1,10}))?"
_OWNER = matching(OWNER, "user or user:group")


def _maps(value: object) -> MapsLocation:
    location = text_as(parse_location)(value)
    return MapsLocation(location, location.prefix.lower().endswith(MAP_SUFFIXES))


def _endpoint(*, allow_http: bool) -> Callable[[object], str]:
    return lambda value: normal_endpoint(plain_text(value), allow_http=allow_http)


def _workers(value: object) -> int:
    if not isinstance(value, int) or not is_number(value) or not 1 <= value <= MAX_WORKERS:
        raise expected(f"a count from 1 to {MAX_WORKERS}", value)
    return value


_KILO = {"kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_UNITS = {"B": 1, **_KILO, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
SIZE = rf"([0-9]{{1,12}}(?:\.[0-9]{{1,3}})?) ?({'|'.join(_UNITS)})"
_SIZE = re.compile(SIZE, re.ASCII)


def _bandwidth(value: object) -> int:
    """Read bytes; 0 is refused, because nobody can tell whether it means none or all."""
    size = value if isinstance(value, int) and is_number(value) else 0
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match:
        size = int(float(match[1]) * _UNITS[match[2]])
    if not 1 <= size <= MAX_BANDWIDTH:
        raise expected('bytes per second such as "20MB" or "512KiB"', value)
    return size


PERCENT = r"([0-9]{1,3}(?:\.[0-9]{1,3})?) ?%"
_PERCENT = re.compile(PERCENT, re.ASCII)


def _max_delete(value: object) -> MaxDelete:
    if isinstance(value, int) and is_number(value) and value >= 0:
        return MaxDelete(count=value)
    match = _PERCENT.fullmatch(value) if isinstance(value, str) else None
    if not match or float(match[1]) > 100:  # noqa: PLR2004 - per cent
        raise expected("a count or a percentage", value)
    return MaxDelete(percent=float(match[1]))


def _days(value: object) -> float:
    if (
        not isinstance(value, int | float)
        or not is_number(value)
        or not 0 <= value <= MAX_DAYS
    ):
        raise expected(f"a number of days from 0 to {MAX_DAYS}", value)
    return float(value)


DURATION = r"([0-9]{1,9}(?:\.[0-9]{1,3})?) ?([smhd])"
_DURATION = re.compile(DURATION, re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _seconds(value: object) -> float:
    seconds = float(value) if isinstance(value, int) and is_number(value) else 0.0
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match:
        seconds = float(match[1]) * _SECONDS[match[2]]
    if not 0 < seconds <= MAX_SECONDS:
        raise expected('a duration such as "90s", "30m" or "1h", or seconds', value)
    return seconds


def duration(text: str) -> float:
    """Read a duration as the command line takes it, which is how the config does; give its seconds.

    Raises:
        ValueError: it is none.
    """
    return _seconds(int(text) if re.fullmatch("[0-9]{1,9}", text, re.ASCII) else text)


PERMISSIONS = "[0-7]{3,5}"
_OCTAL = 'octal digits in quotes such as "0644"'


def _permissions(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        # YAML has read 0644 as octal and 644 as decimal by now; the number no longer says which.
        raise ValueError(f"expected {_OCTAL}, got a number without quotes")  # noqa: TRY004
    if not isinstance(value, str) or not re.fullmatch(PERMISSIONS, value, re.ASCII):
        raise expected(_OCTAL, value)
    if int(value, 8) > MAX_PERMISSIONS:
        raise expected("no bits but those of 0777", value)
    return int(value, 8)
