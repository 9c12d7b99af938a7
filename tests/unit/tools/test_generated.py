"""Files that follow from the code are as the code is now, and what they are for takes them: shells, man, validators."""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import pty
import re
import select
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.programs import needs

from s32s_agent.arguments import make_parser
from s32s_agent.config.forms import one_of
from s32s_agent.config.options import option, section
from s32s_agent.config.properties import PROPERTIES, Property
from s32s_agent.config.settings import Settings, SyncSettings
from tools.generate.files import made
from tools.generate.manual import of_the_command
from tools.generate.markdown import cells_of
from tools.generate.tables import Tables

ROOT = Path(__file__).parents[3]
COMPLETIONS = ROOT / "etc" / "completions"
PAGES = ("s32s-agent.8", "s32s-agent.yaml.5")
PATIENCE_SECONDS = 60


def options() -> set[str]:
    """Return every long option of the parser."""
    strings = (text for action in make_parser()._actions for text in action.option_strings)
    return {text for text in strings if text.startswith("--")}


MADE = made(ROOT)


@pytest.mark.parametrize("name", sorted(MADE))
def test_a_generated_file_is_up_to_date(name: str) -> None:
    """It is what `python -m tools.generate` writes."""
    assert (ROOT / name).read_text(encoding="utf-8") == MADE[name]


def test_nothing_old_is_left_among_the_generated_files() -> None:
    """The directories hold what is generated and nothing else."""
    parts = ("completions", "man", "schema")
    there = {
        f"etc/{part}/{path.name}" for part in parts for path in (ROOT / "etc" / part).iterdir()
    }

    assert there == {
        name for name in MADE if name.startswith(tuple(f"etc/{each}/" for each in parts))
    }


def test_an_installation_has_every_generated_file() -> None:
    """The wheel carries each of them to the place where shells, man and editors look."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    missing = [
        name
        for name in MADE
        if name.startswith("etc/")
        and name not in shared
        and str(Path(name).parent) not in shared
    ]

    assert missing == []
    assert [name for name in shared if not (ROOT / name).exists()] == []


# --- one row, and everything follows ---


@dataclasses.dataclass(frozen=True, slots=True)
class Sync(SyncSettings):
    """The section with one more option."""

    colour: str = option(
        "How it `looks`.", one_of("red", "blue"), default="red", example="blue"
    )


@dataclasses.dataclass(frozen=True, slots=True)
class More(Settings):
    """The table with one more row."""

    sync: Sync = section("How mappings are carried out.", Sync)


COLOUR = Property("colour", "How it `looks`.", one_of("red", "blue"))


def differing(tables: Tables) -> dict[str, list[str]]:
    """Return the lines that other tables add to each generated file; they take none away."""
    lines = {}
    for name, text in made(ROOT, tables).items():
        before, after = MADE[name].splitlines(), text.splitlines()
        changes = list(difflib.ndiff(before, after))
        assert [each for each in changes if each.startswith("- ")] == []
        if added := [each[2:].strip() for each in changes if each.startswith("+ ")]:
            lines[name] = added
    return lines


def test_a_new_option_is_one_row() -> None:
    """Reference page, manual page, sample and schema have it, and nothing else changes; the parser has its own test."""
    schema, *texts = sorted(differing(Tables(settings=More)).items(), reverse=True)

    assert texts == [
        (
            "etc/man/s32s-agent.yaml.5",
            [
                ".TP",
                r"\fBsync.colour\fR",
                r"How it \fBlooks\fR\&. Value: \fBred\fR or \fBblue\fR\&. Default: \fBred\fR\&.",
            ],
        ),
        (
            "etc/config.yaml",
            ["# How it looks.", "# Value: red or blue", "# Example: blue", "colour: red"],
        ),
        (
            "docs/use/configuration.md",
            ["| `sync.colour` | `red` or `blue` | `red` | How it `looks`. |"],
        ),
    ]
    properties = json.loads(made(ROOT, Tables(settings=More))[schema[0]])["properties"]
    assert properties["sync"]["properties"]["colour"] == {
        "description": "How it looks.",
        "default": "red",
        "examples": ["blue"],
        "enum": ["red", "blue"],
    }


def test_a_new_property_is_one_row() -> None:
    """Reference page, manual page and schema have it, and nothing else changes; the parser has its own test."""
    tables = Tables(properties=(*PROPERTIES, COLOUR))
    schema, *texts = sorted(differing(tables).items(), reverse=True)

    assert texts == [
        (
            "etc/man/s32s-agent.yaml.5",
            [
                ".TP",
                r"\fBcolour\fR",
                r"How it \fBlooks\fR\&. Value: \fBred\fR or \fBblue\fR\&.",
            ],
        ),
        ("docs/use/maps.md", ["| `colour` | `red` or `blue` | no | How it `looks`. |"]),
    ]
    properties = json.loads(made(ROOT, tables)[schema[0]])["items"]["properties"]
    assert properties["colour"] == {"description": "How it looks.", "enum": ["red", "blue"]}


# --- completions ---


def in_bash(*words: str) -> set[str]:
    script = (
        f'source {COMPLETIONS}/s32s-agent.bash; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1));'
        '_shtab_s32s_agent; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", script, "bash", *words],
        capture_output=True,
        check=True,
        text=True,
    )
    assert done.stderr == ""
    return set(done.stdout.split())


def in_fish(*words: str) -> set[str]:
    script = f"source {COMPLETIONS}/s32s-agent.fish; complete -C '{' '.join(words)}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script], capture_output=True, check=True, text=True
    )
    return {line.partition("\t")[0] for line in done.stdout.splitlines()}


@needs("bash")
def test_bash_completes_options_values_and_files(tmp_path: Path) -> None:
    """bash knows every option, the values of those that have some, and files where one is wanted."""
    (tmp_path / "web.yaml").touch()

    assert in_bash("s32s-agent", "--once", "--") == options()
    assert in_bash("s32s-agent", "--once", "--log-level", "") == {
        "debug",
        "info",
        "warning",
        "error",
    }
    assert in_bash("s32s-agent", "--config", f"{tmp_path}/w") == {f"{tmp_path}/web.yaml"}


@needs("fish")
def test_fish_completes_options_values_and_files(tmp_path: Path) -> None:
    """fish knows the same."""
    (tmp_path / "web.yaml").touch()

    assert in_fish("s32s-agent", "--once", "--") == options()
    assert in_fish("s32s-agent", "--log-format", "j") == {"json", "journal"}
    assert in_fish("s32s-agent", "--config", f"{tmp_path}/w") == {f"{tmp_path}/web.yaml"}


class Zsh:
    """An interactive zsh at a terminal, since its completion works nowhere else."""

    def __init__(self) -> None:
        self.process_id, self.descriptor = pty.fork()
        if self.process_id == 0:
            variables = {
                "TERM": "dumb",
                "PATH": os.environ["PATH"],
                "COLUMNS": "200",
                "LINES": "60",
            }
            os.execvpe("zsh", ["zsh", "-f", "-i"], variables)
        self.shown = ""

    def send(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def wait_for(self, pattern: str) -> str:
        end = time.monotonic() + PATIENCE_SECONDS
        while not (match := re.search(pattern, self.shown)):
            assert time.monotonic() < end, self.shown
            if select.select([self.descriptor], [], [], 1)[0]:
                self.shown += os.read(self.descriptor, 65536).decode()
        self.shown = self.shown[match.end() :]
        return match.group()


@pytest.fixture
def zsh() -> Iterator[Zsh]:
    shell = Zsh()
    shell.send(
        f"PS1='ready''> '; fpath=({COMPLETIONS} $fpath); autoload -Uz compinit; compinit -D -u; LISTMAX=999\n"
    )
    shell.wait_for("ready> ")
    yield shell
    os.close(shell.descriptor)
    os.waitpid(shell.process_id, 0)


@needs("zsh")
def test_zsh_completes_options_and_values(zsh: Zsh, tmp_path: Path) -> None:
    """zsh finishes an option that can be no other, a value, and the name of a file."""
    (tmp_path / "web.yaml").touch()

    zsh.send("s32s-agent --once --dry\t")
    assert zsh.wait_for("--dry-run")
    zsh.send("--log-format jo\t")
    assert zsh.wait_for("journal")
    zsh.send(f"--config {tmp_path}/w\t")
    assert zsh.wait_for(r"web\.yaml")


# --- manual pages ---


@needs("man")
@pytest.mark.parametrize("page", PAGES)
def test_groff_has_no_warning(page: str) -> None:
    """man formats the page without a word of complaint, at any width."""
    for width in ("60", "120"):
        done = subprocess.run(
            ["man", "--warnings=w", "-E", "UTF-8", "-l", str(ROOT / "etc" / "man" / page)],
            env={"PATH": os.environ["PATH"], "MANWIDTH": width, "LANG": "C.UTF-8"},
            capture_output=True,
            check=True,
            text=True,
        )

        assert done.stderr == ""
        assert "SEE ALSO" in re.sub(".\b", "", done.stdout)


@needs("mandoc")
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_no_warning(page: str) -> None:
    """mandoc's checks find nothing but the date, which is left out on purpose: the version stands there."""
    done = subprocess.run(
        ["mandoc", "-T", "lint", "-W", "warning", str(ROOT / "etc" / "man" / page)],
        capture_output=True,
        check=False,
        text=True,
    )
    said = [
        line for line in (done.stdout + done.stderr).splitlines() if "missing date" not in line
    ]

    assert said == []


def page_with(page: str, text: str) -> str:
    """Return s32s-agent(8) after some more text in one of the documents."""
    paths = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    documents = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in paths
    }
    documents[page] += text
    return of_the_command(documents, Tables())


def test_text_that_looks_like_roff_is_text() -> None:
    """A line that begins with a dot, a backslash, a quote: all stand in the page as in the document."""
    page = page_with("docs/use/hooks.md", "\n.so /etc/passwd\n\n    'x \\fB \\n(.s `y`\n")

    assert r"\&.so /etc/passwd" in page
    assert "\n.so" not in page
    assert r"\(aqx \efB \en(.s \(gay\(ga" in page


def test_the_manual_page_has_nothing_that_only_a_parser_or_a_browser_understands() -> None:
    """Choices are words, without Python's brackets; marks of generated blocks and drawings are left out."""
    page = MADE["etc/man/s32s-agent.8"]

    assert "instead of log.level, with every mode: debug, info, warning, error\n" in page
    assert [text for text in ("<!--", "┌", "mermaid") if text in page] == []


@pytest.mark.parametrize(
    ("row", "cells"),
    [
        ("| a | b c |", ("a", "b c")),
        (r"| `a\|b` | |", ("`a|b`", "")),
    ],
)
def test_cells_of_a_row(row: str, cells: tuple[str, ...]) -> None:
    """A border that is escaped is none."""
    assert cells_of(row) == cells


def test_the_pages_name_every_option_and_every_key() -> None:
    """Whatever one may write on the command line or in the config has its paragraph."""
    command, settings = (_plain((ROOT / "etc" / "man" / page).read_text()) for page in PAGES)
    tables = Tables()
    keys = [row.name for group in tables.sections for row in group.options]
    keys += [row.name for row in tables.properties]

    assert {each for each in options() if f"\n{each}" not in command} - {"--help"} == set()
    assert [key for key in keys if f".TP\n{key}\n" not in settings] == []


def _plain(page: str) -> str:
    return re.sub(r"\\f[BIR]", "", page).replace(r"\-", "-")
