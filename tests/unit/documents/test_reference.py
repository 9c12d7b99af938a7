"""The documents name every option, property, event, field, status and metric that there is, and none that is gone."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.pages import PAGES, ROOT, table

import s32s_agent
from s32s_agent import arguments, errors
from s32s_agent.config import config_file
from s32s_agent.config.documents import load_yaml
from s32s_agent.config.properties import PROPERTIES
from s32s_agent.config.settings import Settings
from s32s_agent.monitoring.last_run import MAX_ERRORS, LastRun, MappingResult
from s32s_agent.monitoring.metrics import HELP
from s32s_agent.output.journal import MESSAGE_IDS
from s32s_agent.plan import etags
from s32s_agent.run.report import MappingReport, RunReport
from s32s_agent.stores.s3 import multipart

PACKAGE = Path(s32s_agent.__file__).parent
CONFIGURATION = PAGES["docs/use/configuration.md"]
MONITORING = PAGES["docs/use/monitoring.md"]
LAST_RUN = PAGES["docs/reference/last-run.md"]

EVENT = re.compile(r"[a-z]+\.(?:[a-z_]+ed|withheld)")
COMMON_FIELDS = frozenset({"mapping", "exc_info"})
"""What every event may have, and what becomes the field `exception`."""


def options_of(settings: object, path: str = "") -> Iterator[str]:
    """Yield the path of every key of the config."""
    for field in dataclasses.fields(settings):  # type: ignore[arg-type]
        value = getattr(settings, field.name)
        if type(value).__name__.endswith("Settings"):
            yield from options_of(value, f"{path}{field.name}.")
        else:
            yield path + field.name


def rows_of(page: str) -> dict[str, list[str]]:
    """Return the rows of all tables of a page, by the code in their first cell."""
    rows = re.findall(r"^\| `([^`]+)` \| (.*) \|$", page, re.MULTILINE)
    return {name: others.split(" | ") for name, others in rows}


def default_settings() -> Settings:
    return config_file.parse("{role: slave, maps: bucket/maps, roots: [/srv/data]}", "test")


def syntax() -> Iterator[ast.AST]:
    """Yield every node of the source that can log; the demo only repeats what it has read."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "demo":
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def events() -> set[str]:
    """Return the names of all events: a noun and what became of it."""
    texts = (node.value for node in syntax() if isinstance(node, ast.Constant))
    return {text for text in texts if isinstance(text, str) and EVENT.fullmatch(text)}


def fields_of_events() -> Iterator[tuple[str, str]]:
    """Yield event and field, as far as both are written out where it is logged."""
    for node in syntax():
        if not isinstance(node, ast.Call) or not node.args:
            continue
        first = node.args[0]
        if isinstance(first, ast.Constant) and EVENT.fullmatch(str(first.value)):
            names = {keyword.arg for keyword in node.keywords} - COMMON_FIELDS
            yield from ((str(first.value), name) for name in names if name)


def statuses() -> set[int]:
    """Return the exit status of every error that the package raises, and those of no error."""
    found = {0, 70, 128 + 2, 128 + 15}
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.AgentError):
            found.add(value.exit_status)
    return found


# --- config and maps ---


def test_every_option_of_the_config_is_documented() -> None:
    """The table has every key, and no key that is gone."""
    assert set(rows_of(CONFIGURATION)) == set(options_of(default_settings()))


def test_the_sample_config_has_every_option_at_its_default() -> None:
    """etc/config.yaml is what a config without it would be."""
    text = (ROOT / "etc" / "config.yaml").read_text(encoding="utf-8")
    sample = config_file.parse(text, "sample")
    document = load_yaml(text)
    assert isinstance(document, dict)
    sections = {name: value for name, value in document.items() if isinstance(value, dict)}
    named = {f"{name}.{key}" for name, section in sections.items() for key in section}
    named |= document.keys() - sections.keys()
    same = dataclasses.replace(sample, maps=default_settings().maps, roots=("/srv/data",))
    assert same == default_settings()
    assert named == set(options_of(sample))


def test_the_defaults_in_the_table_are_those_of_the_sample() -> None:
    """What the table calls a default is what the sample file says, which another test holds to the code."""
    document = load_yaml((ROOT / "etc" / "config.yaml").read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    wrong = []
    for path, (_, default, _) in rows_of(CONFIGURATION).items():
        value: object = document
        for name in path.split("."):
            value = value.get(name, {}) if isinstance(value, dict) else {}
        if default != "needed":
            said = load_yaml(default.strip("`"))
            wrong += [] if said == value else [(path, default, value)]

    assert wrong == []


def test_options_that_the_text_names_exist() -> None:
    """Whatever looks like an option of a section of the config is one."""
    text = "".join(PAGES.values())
    named = set(re.findall(r"`((?:s3|sync|log|monitoring|hooks)\.[a-z_]+)", text))

    assert named - set(options_of(default_settings())) == set()


def test_every_property_of_a_mapping_is_documented() -> None:
    """The table has every property, and none that is gone."""
    assert set(table(PAGES["docs/use/maps.md"])) == {each.name for each in PROPERTIES}


# --- command line and exit status ---


def test_every_option_of_the_command_line_is_documented() -> None:
    """Usage and table have every option of the parser, and no option that is gone."""
    options = {
        option
        for action in arguments.make_parser()._actions
        for option in action.option_strings
        if option.startswith("--")
    }
    page = PAGES["docs/reference/cli.md"]

    assert set(re.findall(r"--[a-z]+(?:-[a-z]+)*", page)) == options


def test_every_exit_status_is_documented() -> None:
    """The table has every status, and none that is gone."""
    cells = table(PAGES["docs/reference/exit-status.md"])

    assert {int(each) for cell in cells for each in re.findall(r"\d+", cell)} == statuses()


@pytest.mark.parametrize("page", PAGES)
def test_exit_statuses_that_the_text_names_exist(page: str) -> None:
    """Whatever the text calls an exit status is in the table."""
    named = {int(each) for each in re.findall(r"\bexit(?: status)? (\d+)", PAGES[page])}

    assert named <= statuses()


# --- log and monitoring ---


def test_every_log_event_is_documented_with_its_fields() -> None:
    """The table has every event that the source logs, every field of it, and no event that is gone."""
    rows = table(PAGES["docs/reference/log-events.md"])
    fields = {*fields_of_events(), *(("run.finished", name) for name in RunReport().totals())}
    missing = {(event, name) for event, name in fields if f"`{name}`" not in rows[event]}

    assert set(rows) == events()
    assert missing == set()


def test_every_metric_is_documented() -> None:
    """The page has every metric, and none that is gone."""
    assert set(re.findall(r"`s32s_agent_(\w+)", MONITORING)) == set(HELP)


def test_every_field_of_the_last_run_is_documented() -> None:
    """Monitoring relies on the fields of last_run.json, those of its mappings too."""
    names = {
        field.name for each in (LastRun, MappingResult) for field in dataclasses.fields(each)
    }
    named = set(re.findall(r"`(\w+)`", LAST_RUN))
    numbers = {*MappingReport("").counts()}

    assert names - numbers <= named
    assert f"the first {MAX_ERRORS}, each with" in LAST_RUN


def test_the_ids_of_messages_are_documented() -> None:
    """Who filters the journal by them finds them."""
    assert [each for each in MESSAGE_IDS.values() if each not in MONITORING] == []


# --- sizes ---


def test_sizes_of_parts_are_as_documented() -> None:
    """The text has the master's own sizes, and those of the tools that feed slaves are known."""
    mib = 1 << 20
    master, feeding = (PAGES[f"docs/understand/{name}.md"] for name in ("master", "feeding"))
    named = [int(size) * mib for size in re.findall(r"parts of (\d+) MiB", feeding)]

    assert f"in parts of {multipart.PART_BYTES // mib} MiB" in master
    assert f"{multipart.MAX_PARTS:,} parts" in master
    assert len(named) == 3
    assert [
        size for size in named if size not in etags.candidate_part_sizes(size * 3, 3)
    ] == []
