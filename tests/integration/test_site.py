"""The documents as a site: a strict build finds no broken link, and the search works from the file system."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import CHROMIUM, Browser, browser
from support.pages import PAGES, ROOT

pytestmark = [
    pytest.mark.machine,
    pytest.mark.skipif(
        importlib.util.find_spec("mkdocs") is None,
        reason="mkdocs is not installed (extra: docs)",
    ),
]


def build(source: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=source, capture_output=True, check=False, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `mkdocs build --strict` makes it."""
    place = tmp_path_factory.mktemp("site")
    done = build(ROOT, place)
    assert (done.returncode, "WARNING" in done.stderr) == (0, False), done.stderr
    return place


@pytest.fixture(scope="module")
def shown(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A browser with a page of the site."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    with browser(tmp_path_factory.mktemp("browser") / "profile") as page:
        page.open(site / "use" / "hooks.html")
        yield page


def found(page: Browser, words: str) -> list[str]:
    """Return the links that the search shows for some words."""
    page.run(
        "(query => { query.value = "
        + repr(words)
        + "; query.dispatchEvent(new Event('input')); })"
        "(document.getElementById('mkdocs-search-query'))"
    )
    links = page.run(
        "[...document.querySelectorAll('#mkdocs-search-results a')].map(each => each.href).join(' ')"
    )
    return str(links).split()


def test_every_document_is_a_page(site: Path) -> None:
    """Nothing below docs is left out, and the navigation knows every page."""
    pages = {name.removeprefix("docs/") for name in PAGES if name.startswith("docs/")}
    wanted = {name.replace("README.md", "index.md").replace(".md", ".html") for name in pages}

    assert {str(each.relative_to(site)) for each in site.rglob("*.html")} - {
        "404.html"
    } == wanted


@pytest.mark.parametrize(
    "link", ["[x](nowhere.md)", "[x](maps.md#nowhere)", "[x](../../tests/nowhere.py)"]
)
def test_a_link_that_leads_nowhere_ends_the_build(tmp_path: Path, link: str) -> None:
    """To a document, to a heading, and out of docs."""
    source = tmp_path / "source"
    (source / "docs" / "use").mkdir(parents=True)
    (source / "tools").symlink_to(ROOT / "tools")
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:")[0]
    (source / "mkdocs.yml").write_text(text)
    (source / "docs" / "use" / "maps.md").write_text("# Maps\n")
    page = source / "docs" / "use" / "page.md"

    page.write_text("# Page\n\n[x](maps.md#maps)\n")
    assert build(source, tmp_path / "site").returncode == 0
    page.write_text(f"# Page\n\n{link}\n")
    assert build(source, tmp_path / "site").returncode == 1


def test_the_search_works_from_the_file_system(site: Path, shown: Browser) -> None:
    """Whole words and beginnings of words are found, words that stand nowhere are not."""
    assert any("use/hooks.html#" in link for link in found(shown, "S32S_CHANGED_FILE"))
    assert any("reference/log-events.html" in link for link in found(shown, "deletes.with"))
    assert found(shown, "xylophone") == []
    assert all(link.startswith(site.as_uri()) for link in found(shown, "trash"))


def test_a_result_leads_to_its_place(shown: Browser) -> None:
    """A click on a result shows that page."""
    link = next(each for each in found(shown, "trash") if "how-it-works.html" in each)
    shown.run(
        "document.querySelector('#mkdocs-search-results a[href*=\"how-it-works\"]').click()"
    )
    shown.wait_for_page(link)


def test_a_page_asks_no_other_server(shown: Browser, site: Path) -> None:
    """All that a page loads lies in the site, and nothing on the console complains."""
    shown.open(site / "index.html")
    requests = [
        str(each["params"]["request"]["url"])
        for each in shown.happened
        if each.get("method") == "Network.requestWillBeSent"
    ]
    complaints = [
        each
        for each in shown.happened
        if each.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown"}
    ]

    assert requests
    assert [url for url in requests if not url.startswith(("file:", "data:"))] == []
    assert complaints == []
