"""The table of stores in the documents is what the suite found."""

from __future__ import annotations

from dataclasses import asdict, replace

from support.pages import PAGES
from support.store_servers import STORES
from support.store_suite import Result

from s32s_agent.stores.s3.traits import AS_AWS, Guard
from tools.stores import known, table

GOOD = Result(
    "moto",
    "5.2",
    AS_AWS.as_json(),
    steps=["push", "pull", "pull what aws filled"],
    quiet_requests={"master": {"LIST": 1}, "slave": {"LIST": 1}},
)


def row(result: Result) -> list[str]:
    """Return the cells of the only row."""
    line = table({result.store: {**asdict(result), "date": "2026-12-01"}}).splitlines()[-1]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_of_the_documents_is_that_of_the_results() -> None:
    """A result that was changed by hand, or a table that was, shows."""
    assert table(known()) in PAGES["docs/understand/stores.md"]


def test_every_result_is_of_a_store_that_the_suite_knows() -> None:
    """A row that no command could measure again would stay for ever."""
    assert set(known()) <= {store.name for store in STORES}


def test_a_store_on_which_all_is_well() -> None:
    """What works says so, in few words."""
    assert row(GOOD) == ["moto 5.2", "2026-12-01", "work", "work", "1 LIST", "nothing"]


def test_what_went_wrong_is_not_left_out() -> None:
    """Each step that failed, with what was seen; what was not tried is not called good; a slave differs."""
    traits = replace(AS_AWS, replace=Guard.IGNORED)
    bad = Result(
        "moto",
        "5.2",
        traits.as_json(),
        problems={"pull": "exit 3"},
        steps=["push", "pull"],
        quiet_requests={"master": {"LIST": 1}, "slave": {"LIST": 2}},
    )

    _, _, roles, fillers, requests, lacks = row(bad)

    assert (roles, fillers) == ("pull: exit 3", "not tried")
    assert requests == "master: 1 LIST; slave: 2 LIST"
    assert lacks == "two writers, small objects: If-None-Match held and If-Match ignored"


def test_a_tool_that_was_not_there_is_not_called_good() -> None:
    """Beside those that were tried, and alone."""
    missing = {"pull what s5cmd filled": "s5cmd is not installed"}

    assert row(replace(GOOD, skipped=missing))[3] == "work<br>s5cmd is not installed"
    alone = replace(GOOD, steps=["push"], skipped=missing)
    assert row(alone)[3] == "s5cmd is not installed"
