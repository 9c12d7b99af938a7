"""Turn the text of the config file into `Settings`, or say everything that is wrong with it at once.

Opens no file and looks nothing up: whether a user, a profile or a directory exists shows when it is used.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from s32s_agent.config.documents import load_yaml
from s32s_agent.config.locations import normal_endpoint
from s32s_agent.config.option_forms import MapsLocation
from s32s_agent.config.options import kind_of, option_of, sections_of
from s32s_agent.config.settings import MonitoringSettings, S3Settings, Settings
from s32s_agent.config.values import RecordReader, expected, first_problems
from s32s_agent.errors import ConfigError
from s32s_agent.model import Location, Role
from s32s_agent.text import printable

_REMEDY = (
    "fix the config file; s32s-agent.yaml(5) explains every key, etc/config.yaml is a sample"
)


def parse(text: str, name: str, kind: type[Settings] = Settings) -> Settings:
    """Return the settings that the text of a config file stands for.

    Args:
        text: YAML.
        name: what messages call the file.
        kind: the table of options.

    Raises:
        ConfigError: with every problem of the text, each with its path.
    """
    problems: list[str] = []
    try:
        document = load_yaml(text)
    except ValueError as error:
        raise ConfigError(printable(name), [str(error)], remedy=_REMEDY) from error
    reader = RecordReader(document, problems, known=_keys(kind))
    values = _values(reader, kind)
    _check_paths(reader, kind, values)
    _check_s3(reader, values["s3"])
    _check_report(reader, values["monitoring"], values["maps"])
    if problems:
        raise ConfigError(printable(name), first_problems(problems), remedy=_REMEDY)
    return kind(**values)


def _keys(kind: type) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def _values(reader: RecordReader, kind: type) -> dict[str, Any]:
    """Return the values of a settings class by its fields; None for a needed key that is missing or wrong."""
    values: dict[str, Any] = {}
    for field in fields(kind):
        option = option_of(field)
        if option is None:
            inner = kind_of(field)
            values[field.name] = inner(
                **_values(reader.section(field.name, _keys(inner)), inner)
            )
        elif option.needed:
            values[field.name] = reader.require(
                field.name, option.form.check, option.form.words
            )
        else:
            values[field.name] = reader.read(field.name, option.form.check, field.default)
    return values


# --- what one key says about another ---


def _check_paths(reader: RecordReader, kind: type, values: dict[str, Any]) -> None:
    """Refuse paths with a drive, but not those of a master, which may run on Windows."""
    if values["role"] is not Role.SLAVE:
        return
    for section in sections_of(kind):
        for option in section.options:
            if option.form.is_local_path:
                value = (
                    getattr(values[section.name], option.key)
                    if section.name
                    else values[option.key]
                )
                _refuse_drives(reader, option.name, value)


def _refuse_drives(
    reader: RecordReader, name: str, value: str | tuple[str, ...] | None
) -> None:
    places = (
        [("", value)]
        if isinstance(value, str)
        else [(f"[{index}]", each) for index, each in enumerate(value or ())]
    )
    for below, path in places:
        if not path.startswith("/"):
            problem = expected("an absolute path, which begins with / in role slave", path)
            reader.report(name, problem, below)


def _check_s3(reader: RecordReader, s3: S3Settings) -> None:
    if s3.endpoint_url is not None:
        try:
            normal_endpoint(s3.endpoint_url, allow_http=s3.allow_http)
        except ValueError as error:
            reader.report("s3.endpoint_url", error)
    if s3.kms_key_id is not None and s3.server_side_encryption != "aws:kms":
        reader.report(
            "s3.kms_key_id", "expected server_side_encryption: aws:kms, which a key needs"
        )
    if s3.anonymous and s3.requester_pays:
        reader.report(
            "s3.anonymous", "expected false with requester_pays: who pays must be known"
        )


def _check_report(
    reader: RecordReader, monitoring: MonitoringSettings, maps: MapsLocation | None
) -> None:
    report = monitoring.report
    if report is not None and maps is not None and _overlap(report, maps.location):
        reader.report(
            "monitoring.report",
            "expected a prefix that does not overlap maps, where every computer looks for map files",
        )


def _overlap(one: Location, other: Location) -> bool:
    """Return whether one location is equal to the other or holds it."""
    first, second = str(one).split("/"), str(other).split("/")
    shared = min(len(first), len(second))
    return first[:shared] == second[:shared]
