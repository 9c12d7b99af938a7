"""What is made from code and README is as they are now, and what it is made for takes it: shells, man, validators."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from s32s_agent.cli import make_parser
from tools.generate.files import made
from tools.generate.manual import of_the_command
from tools.generate.readme import Readme, cells_of, read

ROOT = Path(__file__).parents[3]
COMPLETIONS = ROOT / "etc" / "completions"
PAGES = ("s32s-agent.8", "s32s-agent.yaml.5")
PATIENCE_SECONDS = 60


def needs(program: str) -> pytest.MarkDecorator:
    missing = shutil.which(program) is None
    return pytest.mark.skipif(missing, reason=f"{program} is not installed")


def options() -> set[str]:
    """Give every long option of the parser."""
    strings = (text for action in make_parser()._actions for text in action.option_strings)
    return {text for text in strings if text.startswith("--")}


@pytest.mark.parametrize("name", sorted(made(ROOT)))
def test_a_generated_file_is_up_to_date(name: str) -> None:
    """It is what `python -m tools.generate` writes."""
    assert (ROOT / name).read_text(encoding="utf-8") == made(ROOT)[name]


def test_nothing_old_is_left_among_the_generated_files() -> None:
    """The directories hold what is generated and nothing else."""
    there = {
        f"etc/{part}/{path.name}"
        for part in ("completions", "man", "schema")
        for path in (ROOT / "etc" / part).iterdir()
    }

    assert there == set(made(ROOT)) - {"etc/config.yaml"}


def test_an_installation_has_every_generated_file() -> None:
    """The wheel carries each of them to the place where shells, man and editors look."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    shared = project["tool"]["hatch"]["build"]["targets"]["wheel"]["shared-data"]
    missing = [
        name
        for name in made(ROOT)
        if name not in shared and str(Path(name).parent) not in shared
    ]

    assert missing == []
    assert [name for name in shared if not (ROOT / name).exists()] == []


def test_the_manual_page_has_nothing_that_only_a_parser_or_a_browser_understands() -> None:
    """Choices are words, without Python's brackets, and a row of links to sections is left out."""
    page = of_the_command(read(ROOT))

    assert "instead of log.level: debug, info, warning, error\n" in page
    assert "Exit status · Log" not in page
    assert page.count(" · ") == 0


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


def test_text_that_looks_like_roff_is_text() -> None:
    """A line that begins with a dot, a backslash, a quote: all stand in the page as in the README."""
    text = read(ROOT).text
    odd = text.replace(
        "## Trash\n", "## Trash\n\n.so /etc/passwd\n\n    'x \\fB \\n(.s `y`\n", 1
    )
    page = of_the_command(Readme(odd))

    assert r"\&.so /etc/passwd" in page
    assert "\n.so" not in page
    assert r"\(aqx \efB \en(.s \(gay\(ga" in page


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
    readme = read(ROOT)
    command, settings = (_plain((ROOT / "etc" / "man" / page).read_text()) for page in PAGES)

    assert {each for each in options() if f"\n{each}" not in f"{command}"} - {
        "--help"
    } == set()
    keys: dict[str, Any] = {**readme.rows("Configuration"), **readme.rows("Map files")}
    assert [key for key in keys if f".TP\n{key}" not in settings] == []


def _plain(page: str) -> str:
    return re.sub(r"\\f[BIR]", "", page).replace(r"\-", "-")
