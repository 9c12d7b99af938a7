"""The fleet's page in a real browser: two hundred servers, some of whom mean harm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.browser import CHROMIUM, Browser, browser
from support.fleets import NOW, SERVERS, fleet

from s32s_agent.model import Location
from s32s_agent.monitoring.fleet import WORST_FIRST, Fleet, read_report
from s32s_agent.monitoring.fleet_page import write_page
from s32s_agent.monitoring.health import Limits

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

CELLS = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[{}].textContent)"
KEYS = "[...document.querySelectorAll('tbody tr')].map((row) => row.cells[{}].dataset.key)"
VISIBLE = (
    "[...document.querySelectorAll('tbody tr')].filter((row) => row.offsetHeight > 0).length"
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of the simulated fleet."""
    limits = Limits()
    servers = (read_report(key[:-5], data, NOW, limits) for key, data in fleet().items())
    ordered = sorted(servers, key=lambda each: (WORST_FIRST.index(each.health), each.name))
    path = tmp_path_factory.mktemp("page") / "fleet.html"
    write_page(Fleet(Location("bucketname", "fleet"), NOW, tuple(ordered)), path)
    return path


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One browser for the file: it takes a second to start."""
    with browser(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def shown(running: Browser, page_file: Path) -> Browser:
    """The page, freshly loaded on a large screen."""
    running.size(1280, 800)
    running.open(page_file)
    return running


def column(page: Browser, number: int) -> list[str]:
    cells = page.run(CELLS.format(number))
    assert isinstance(cells, list)
    return cells


def named(page: Browser, *methods: str) -> list[dict[str, Any]]:
    return [each for each in page.happened if each.get("method") in methods]


def test_no_report_runs_a_script(shown: Browser) -> None:
    """HTML in names and fields stays text: no script of theirs runs, nothing is fetched, and ours is not stopped."""
    assert shown.run("document.title") == f"s32s-agent: {SERVERS} servers at bucketname/fleet"
    assert shown.run("document.querySelectorAll('img, iframe, object, svg').length") == 0
    assert shown.run("document.querySelectorAll('script').length") == 1
    assert len(column(shown, 0)) == SERVERS
    requested = [
        each["params"]["request"]["url"] for each in named(shown, "Network.requestWillBeSent")
    ]
    assert all(url.startswith("file://") for url in requested)
    assert len(requested) == 1
    assert (
        named(
            shown, "Log.entryAdded", "Runtime.exceptionThrown", "Page.javascriptDialogOpening"
        )
        == []
    )


def test_the_worst_stand_first_and_every_column_sorts(shown: Browser) -> None:
    """A click on a head sorts by its column, another one turns it round, and the head says so."""
    states = column(shown, 1)
    order = [health.name.lower() for health in WORST_FIRST]
    assert states == sorted(states, key=order.index)

    for number in range(8):
        click = f"document.querySelectorAll('th')[{number}].querySelector('button').click()"
        told = f"document.querySelectorAll('th')[{number}].getAttribute('aria-sort')"
        shown.run(click)
        rising = column(shown, number)
        assert shown.run(told) == "ascending"
        shown.run(click)
        assert shown.run(told) == "descending"
        assert sorted(column(shown, number)) == sorted(rising)
        assert column(shown, number)[0] != column(shown, number)[-1]
        assert column(shown, number)[0] == rising[-1]


@pytest.mark.parametrize("number", [1, 3, 4, 5])
def test_numbers_sort_as_numbers(shown: Browser, number: int) -> None:
    """10 comes after 9, and a clock that is ahead before them all."""
    shown.run(f"document.querySelectorAll('th button')[{number}].click()")
    keys = [float(key) for key in shown.run(KEYS.format(number))]

    assert keys == sorted(keys)
    assert len(set(keys)) > 2


def test_a_server_is_found(shown: Browser) -> None:
    """Typing hides the rows without the text, and the buttons those of other states."""
    find = "document.querySelector('input').value = '{}'; document.querySelector('input')"
    search = f"{find}.dispatchEvent(new Event('input'))"
    assert shown.run(VISIBLE) == SERVERS

    shown.run(search.format("WEB003.fra"))
    assert shown.run(VISIBLE) == 1
    shown.run(search.format(""))
    shown.run("document.querySelector('.bar .critical').click()")
    assert shown.run(VISIBLE) == column(shown, 1).count("critical") > 0
    shown.run("document.querySelector('.bar .critical').click()")
    assert shown.run(VISIBLE) == SERVERS


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_shows_it(shown: Browser, dark: bool) -> None:  # noqa: FBT001 (a case)
    """On 360 points nothing sticks out, letters are large enough, and text has contrast in both schemes."""
    shown.size(360, 740, phone=True, dark=dark)

    edges = "[...document.querySelectorAll('td')].map((each) => each.getBoundingClientRect().right)"
    size = "parseFloat(getComputedStyle(document.querySelector('td')).fontSize)"
    assert shown.run("document.documentElement.scrollWidth") <= 360
    assert shown.run(f"Math.max(...{edges})") <= 360
    assert shown.run(size) >= 14
    assert shown.run("document.querySelector('select').offsetHeight") >= 40
    states = (f".{health.name.lower()} td b" for health in WORST_FIRST)
    assert {
        each: contrast(shown, each)
        for each in ("td", "p", *states)
        if contrast(shown, each) < 4.5
    } == {}
    shown.run("menu.value = '0'; menu.dispatchEvent(new Event('change'))")
    assert column(shown, 0)[-1] == "web188.iad.example.net"


def contrast(page: Browser, selector: str) -> float:
    """Return the contrast of an element's text to the ground below it, as WCAG 2 counts."""
    colours = page.run(
        "(() => { const each = document.querySelector('" + selector + "');"
        " let ground = each; const clear = 'rgba(0, 0, 0, 0)';"
        " while (getComputedStyle(ground).backgroundColor === clear) ground = ground.parentElement;"
        " return [getComputedStyle(each).color, getComputedStyle(ground).backgroundColor]; })()"
    )
    light, dark = sorted(map(luminance, colours), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    """Return the relative luminance of `rgb(r, g, b)`."""
    channels = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
        for each in channels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
