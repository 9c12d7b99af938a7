"""The README names everything that there is, so that it cannot fall behind."""

from __future__ import annotations

import ast
import dataclasses
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.hostile_cases import CASES as HOSTILE_CASES
from support.readme import DOCS, README, ROOT, section_of, table

import s32s_agent
from s32s_agent import cli, errors
from s32s_agent.config import config_file, documents, map_file
from s32s_agent.config.documents import load_yaml
from s32s_agent.config.hook_commands import COMMANDS
from s32s_agent.config.properties import PROPERTIES
from s32s_agent.config.settings import Settings
from s32s_agent.monitoring.last_run import last_run_document
from s32s_agent.monitoring.lastrun import MAX_ERRORS
from s32s_agent.monitoring.metrics import HELP
from s32s_agent.output.journal import MESSAGE_IDS
from s32s_agent.plan import etags
from s32s_agent.run import map_files
from s32s_agent.run.report import MappingReport, RunReport
from s32s_agent.state import files as own_files
from s32s_agent.stores.s3 import listing, response_limits, target

PACKAGE = Path(s32s_agent.__file__).parent
SECURITY = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
DEMO = "python3 -m venv .venv && .venv/bin/pip install -e '.[demo]' && .venv/bin/python -m s32s_agent.demo"
TESTS = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"

EVENT = re.compile(r"[a-z]+\.(?:[a-z_]+ed|withheld)")
SNIPPETS = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
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


def default_settings() -> Settings:
    return config_file.parse("{role: slave, maps: bucket/maps, roots: [/srv/data]}", "test")


def syntax() -> Iterator[ast.AST]:
    """Yield every node of the source that can log; the demo only tells what it has read."""
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name != "demo":
            yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def events() -> set[str]:
    """Give the names of all events: a noun and what became of it."""
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
    """Give the exit status of every error that the package raises, and those of no error."""
    found = {0, 70, 128 + 2, 128 + 15}
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, errors.AgentError):
            found.add(value.exit_status)
    return found


@pytest.mark.parametrize("command", [DEMO, TESTS])
def test_a_fresh_machine_needs_one_command(command: str) -> None:
    """Each of the two commands stands alone in a block of its own."""
    assert f"```sh\n{command}\n```" in README


def test_ci_runs_the_command_of_the_readme() -> None:
    """The pattern by which CI looks for the test command finds it."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m1 -o '(.*)' README\.md", script)

    assert pattern is not None
    assert re.findall(pattern[1], README) == [TESTS]


def test_every_option_of_the_config_is_told() -> None:
    """The table has every key, and no key that is gone."""
    assert set(table("Configuration")) == set(options_of(default_settings()))


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
    for path, row in table("Configuration").items():
        value: object = document
        for name in path.split("."):
            value = value.get(name, {}) if isinstance(value, dict) else {}
        default = row.partition(" | ")[0].strip("`")
        if default != "needed":
            said = load_yaml(default)
            wrong += [] if said == value else [(path, default, value)]

    assert wrong == []


def test_every_property_of_a_mapping_is_told() -> None:
    """The table has every property, and none that is gone."""
    assert set(table("Map files")) == {each.name for each in PROPERTIES}


def test_the_sample_map_is_the_one_in_etc() -> None:
    """The sample in the text is the sample file, but for white space."""
    sample = (ROOT / "etc" / "maps" / "sample.json").read_text(encoding="utf-8")

    assert "".join(sample.split()) in "".join(README.split())


def test_every_option_of_the_command_line_is_told() -> None:
    """Usage and table have every option of the parser, and no option that is gone."""
    options = {
        option
        for action in cli.make_parser()._actions
        for option in action.option_strings
        if option.startswith("--")
    }

    assert set(re.findall(r"--[a-z]+(?:-[a-z]+)*", section_of("Command line"))) == options


def test_every_exit_status_is_told() -> None:
    """The table has every status, and none that is gone."""
    told = {
        int(number) for cell in table("Exit status") for number in re.findall(r"\d+", cell)
    }

    assert told == statuses()


def test_every_log_event_is_told_with_its_fields() -> None:
    """The table has every event that the source logs, every field of it, and no event that is gone."""
    rows = table("Log events")
    fields = {*fields_of_events(), *(("run.finished", name) for name in RunReport().totals())}
    untold = {(event, name) for event, name in fields if f"`{name}`" not in rows[event]}

    assert set(rows) == events()
    assert untold == set()


def test_others_were_tried_in_every_case_that_there_is() -> None:
    """The table of what they did counts the cases of each class that the command beside it runs."""
    rows = re.findall(r"^\| [^|]+ \| (\d+) \|", section_of("Comparison"), re.MULTILINE)
    cases = Counter(case.kind for case in HOSTILE_CASES if case.for_peers)

    assert [int(count) for count in rows] == list(cases.values())


ANCHORS = {
    re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")
    for heading in re.findall(r"^###? (.*)$", README, re.MULTILINE)
}
"""Where links to the README's headings lead."""


def test_links_lead_somewhere() -> None:
    """Every link to a file is to one that is there, every link inside the text to a heading."""
    targets = re.findall(r"\]\(([^)#]*)(#[^)]*)?\)", README)
    files = {file for file, _ in targets if file and "://" not in file}
    anchors = {anchor[1:] for file, anchor in targets if not file}

    assert [file for file in sorted(files) if not (ROOT / file).exists()] == []
    assert anchors - ANCHORS == set()


@pytest.mark.parametrize("name", sorted(DOCS))
def test_links_of_what_the_text_leaves_to_others_lead_somewhere(name: str) -> None:
    """The README links to the file, and each of its links leads to a file, or to a heading of the README."""
    targets = re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", DOCS[name])
    links = [(file, anchor) for file, anchor in targets if "://" not in file]
    lost = [file for file, _ in links if not (ROOT / "docs" / file).exists()]
    sections = {anchor for file, anchor in links if anchor and file == "../README.md"}

    assert f"](docs/{name}" in README
    assert lost == []
    assert sections - ANCHORS == set()


@pytest.mark.parametrize("text", [README, SECURITY], ids=["README", "SECURITY"])
def test_every_promise_has_its_tests(text: str) -> None:
    """Every link to tests leads to tests, and each test that is named after one is in that file."""
    named = r"\]\((tests/(?!bench)[^)]*)\)(?:\s+\(((?:`test_\w+`[,\s]*)+)\))?"
    links = [
        (ROOT / path, re.findall(r"\w+", names)) for path, names in re.findall(named, text)
    ]
    empty = [path for path, _ in links if "def test_" not in source_of(path)]
    lost = [
        name
        for path, names in links
        for name in names
        if f"def {name}(" not in source_of(path)
    ]

    assert len(links) > 10
    assert (empty, lost) == ([], [])


def source_of(path: Path) -> str:
    """Give the text of a test file, or of all those in a directory."""
    files = path.glob("test_*.py") if path.is_dir() else [path]
    return "".join(each.read_text(encoding="utf-8") for each in files if each.exists())


def test_every_row_of_promises_is_held() -> None:
    """No promise of the table stands without a link to a test."""
    rows = table("Promises and their tests", level=3)

    assert len(rows) > 8
    assert [promise for promise, cell in rows.items() if "](tests/" not in cell] == []


def test_every_named_test_of_the_threats_exists() -> None:
    """Links of SECURITY.md lead to files that are there, and the bounds that it names are the code's."""
    files = [file for file in re.findall(r"\]\(([^)#]*)\)", SECURITY) if "://" not in file]
    bounds = (
        f"{map_files.MAX_FILES} files, {map_files.MAX_BYTES >> 20} MiB and {map_file.MAX_MAPPINGS:,} mappings",
        f"{documents.MAX_YAML_SIZE >> 20} MiB, {documents.MAX_DEPTH} levels",
        f"| JSON | {documents.MAX_JSON_SIZE >> 20} MiB |",
        f"no object | {response_limits.MAX_ANSWER >> 20} MiB |",
        f"read whole | {own_files.MAX_SIZE >> 20} MiB;",
        f"{listing._MAX_DEPTH} levels, {listing._MAX_FIELDS} fields, {listing._MAX_TEXT >> 10} KiB a field",
    )

    assert [file for file in files if not (ROOT / file).exists()] == []
    assert [bound for bound in bounds if bound not in SECURITY] == []


def test_options_that_the_text_names_exist() -> None:
    """Whatever looks like an option of a section of the config is one."""
    text = README + "".join(DOCS.values())
    named = set(re.findall(r"`((?:s3|sync|log|monitoring|hooks)\.[a-z_]+)", text))

    assert named - set(options_of(default_settings())) == set()


def test_exit_statuses_that_the_text_names_exist() -> None:
    """Whatever the text calls an exit status is in the table."""
    text = README + "".join(DOCS.values())
    named = {int(each) for each in re.findall(r"\bexit(?: status)? (\d+)", text)}

    assert named <= statuses()


def test_no_sample_asks_the_service_for_what_it_may_not_do() -> None:
    """A hook that reloads by itself would fail in every pass of the shipped unit, and stay pending for ever."""
    configs = [
        config_file.parse(each, "README") for each in SNIPPETS if not each.startswith("- ")
    ]
    hooks = [each.hooks for each in configs]
    on_change = [command for each in hooks for command in each.on_change.of_all]
    on_change += [
        command
        for each in hooks
        for named in each.on_change.by_mapping.values()
        for command in named
    ]
    others = [
        command for each in hooks for command in (*each.before, *each.after, *each.on_failure)
    ]

    # Those in comments and in messages, which nobody parses.
    told = (ROOT / "etc" / "config.yaml").read_text(encoding="utf-8") + COMMANDS.words
    told += "".join(DOCS.values())
    shown = [tuple(each.split(", ")) for each in re.findall(r"\[(/[^\[\]]+)\]", told)]

    assert len(on_change) > 3
    assert len(shown) > 3
    assert [
        command
        for command in (*on_change, *others, *shown)
        if {Path(word).name for word in command} & {"systemctl", "service", "sudo"}
    ] == []


def test_packages_have_what_the_text_links_to() -> None:
    """Who reads the README in the Debian package or in an sdist finds the other documents beside it."""
    documents = {"CHANGELOG.md", "SECURITY.md", "docs"}
    debian = ROOT / "etc" / "debian"
    installed = (debian / "install").read_text(encoding="utf-8").splitlines()[-1].split()
    (copied,) = re.findall(
        r"^for name in (.*); do$", (debian / "build").read_text(encoding="utf-8"), re.MULTILINE
    )
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    sdist = project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]

    assert documents <= set(installed)
    assert documents <= set(copied.split())
    assert {*documents, "tests", ".ci"} <= set(sdist)


@pytest.mark.parametrize("snippet", SNIPPETS)
def test_configs_and_maps_in_the_text_are_valid(snippet: str) -> None:
    """What a user copies from the text is a config, or a map below the roots of the config before it."""
    if not snippet.startswith("- "):
        assert str(config_file.parse(snippet, "README").maps.location).startswith(
            "bucketname/"
        )
        return
    before = SNIPPETS[SNIPPETS.index(snippet) - 1]
    settings = config_file.parse(before, "README")
    rules = map_file.MapRules(settings.role, settings.roots, settings.state_dir, ())
    read = map_file.read_maps([map_file.MapFile("map.yaml", snippet.encode())], rules)
    named = settings.hooks.on_change.by_mapping

    assert read.failures == ()
    assert set(named) <= {mapping.name for mapping in read.mappings}


def test_sizes_of_parts_are_as_told() -> None:
    """The text has the master's own sizes, and those of the tools that feed slaves are known."""
    mib = 1 << 20
    master, feeding = DOCS["master.md"], DOCS["feeding.md"]
    told = [int(size) * mib for size in re.findall(r"parts of (\d+) MiB", feeding)]

    assert f"in parts of {target.PART_BYTES // mib} MiB" in master
    assert f"{target.MAX_PARTS:,} parts" in master
    assert len(told) == 3
    assert [size for size in told if size not in etags.candidate_part_sizes(size * 3, 3)] == []


def test_the_policies_allow_what_is_told() -> None:
    """A slave's policy writes nothing, a master's deletes no versions, and both may list, which 404 needs."""
    slave, master = (
        set(re.findall(r"s3:[A-Z]\w+", (ROOT / file).read_text(encoding="utf-8")))
        for file in re.findall(r"\]\((etc/iam/[^)]*)", section_of("IAM"))
    )

    assert slave == {"s3:ListBucket", "s3:GetObject"}
    assert slave < master
    assert "s3:AbortMultipartUpload" in master
    assert [each for each in master if "Version" in each] == ["s3:GetBucketVersioning"]


def test_every_metric_is_told() -> None:
    """The section has every metric, and none that is gone."""
    assert set(re.findall(r"`s32s_agent_(\w+)", section_of("Monitoring"))) == set(HELP)


def test_every_field_of_the_last_run_is_told() -> None:
    """Monitoring relies on the fields of last_run.json, those of its mappings too."""
    document = last_run_document(None, run={"exit_code": 0})
    told = set(re.findall(r"`(\w+)`", section_of("Monitoring")))
    numbers = {*MappingReport("").counts()}

    assert {*document, *MappingReport("").document()} - numbers <= told
    assert f"the first {MAX_ERRORS}, each with" in section_of("Monitoring")


def test_the_ids_of_messages_are_told() -> None:
    """Who filters the journal by them finds them here."""
    assert [
        each for each in MESSAGE_IDS.values() if each not in section_of("Monitoring")
    ] == []


def test_the_policies_of_the_fleet_allow_what_is_told() -> None:
    """An agent may write reports and nothing more, a reader may read them and nothing more."""
    report, fleet = (
        set(re.findall(r"s3:[A-Z]\w+", (ROOT / file).read_text(encoding="utf-8")))
        for file in re.findall(r"\]\((etc/iam/[^)]*)", section_of("Fleet"))
    )

    assert report == {"s3:PutObject"}
    assert fleet == {"s3:ListBucket", "s3:GetObject"}
