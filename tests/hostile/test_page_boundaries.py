"""Pages requested in parallel, by the boundaries of the last listing: no key may be lost between two of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.agents import AgentRun
from support.s3_messages import Reply, Request, Row, is_list, token_after
from support.scripted import ScriptedS3
from support.slaves import Slave

pytestmark = pytest.mark.hostile

PAGE = 3
FILES = {f"{above}{number:02}": b"x" for number in range(12) for above in ("a-b/", "a/")}
"""By the order of directories `a/` comes before `a-b/`, by the order of keys after it."""
REFUSED = 3


def by_key(key: str) -> str:
    return key


def by_directory(key: str) -> str:
    return key.replace("/", "\0")


def listed(
    server: ScriptedS3, name: str, start_after: Callable[[str], str]
) -> Callable[[Request], Reply]:
    """List directory after directory, a page at a time.

    Args:
        server: what holds the objects.
        name: what the server calls itself.
        start_after: the order in which `StartAfter` is followed; tokens follow that of the listing.
    """

    def reply(request: Request) -> Reply:
        query = request.query
        names = [key for key in server.objects if key.startswith(query["prefix"])]
        left = sorted(names, key=by_directory)
        if after := query.get("continuation-token"):
            left = [key for key in left if by_directory(key) > by_directory(after)]
        elif after := query.get("start-after"):
            left = [key for key in left if start_after(key) > start_after(after)]
        shown, more = left[:PAGE], len(left) > PAGE
        first = replace(request, query={**query, "continuation-token": token_after(" ")})
        page = replace(
            server.page(first),
            rows=tuple(Row(key, "1", server.objects[key].etag) for key in shown),
            key_count=len(shown),
            is_truncated="true" if more else "false",
            token=shown[-1] if more else None,
        )
        whole = page.reply()
        return replace(whole, headers={**whole.headers, "server": name})

    return reply


def by_boundaries(server: ScriptedS3, once: Callable[[], AgentRun]) -> tuple[AgentRun, int]:
    """Make a run; return it and how many pages it requested by the boundaries of the last listing."""
    server.requests.clear()
    run = once()
    return run, sum(1 for each in server.requests if "start-after" in each.query)


@pytest.fixture
def slave(scripted_slave: Slave, scripted: ScriptedS3) -> Slave:
    scripted_slave.publish(FILES)
    scripted.page_size = PAGE
    return scripted_slave


def allowed(slave: Slave) -> AgentRun:
    return slave.once("--allow-deletes")


def test_an_order_of_its_own_loses_no_key(slave: Slave, scripted: ScriptedS3) -> None:
    """Where `StartAfter` follows another order than the listing, keys would be left out: it is never used."""
    scripted.on(is_list, listed(scripted, "Another", by_key))

    found = [by_boundaries(scripted, lambda: allowed(slave)) for _ in range(4)]

    assert [(run.exit_code, pages) for run, pages in found] == [(0, 0)] * 4
    assert slave.tree().keys() >= FILES.keys()
    assert sum(run.finished["deleted"] for run, _ in found) == 0


def test_boundaries_of_one_store_lose_no_key_at_another(
    slave: Slave, scripted: ScriptedS3
) -> None:
    """The boundaries of SeaweedFS are not used once another store answers at its address."""
    scripted.on(is_list, listed(scripted, "SeaweedFS 30GB", by_directory))
    found = [by_boundaries(scripted, lambda: allowed(slave)) for _ in range(3)]
    assert [run.exit_code for run, _ in found] == [0, 0, 0]
    assert found[-1][1] > 1
    scripted.forget_rules()
    scripted.on(is_list, listed(scripted, "Another", by_key))

    found = [by_boundaries(scripted, lambda: allowed(slave)) for _ in range(3)]

    assert [run.exit_code for run, _ in found] == [0, 0, 0]
    assert sum(run.finished["deleted"] for run, _ in found) == 0
    assert found[-1][1] == 0


def contradict(server: ScriptedS3) -> Callable[[Request], Reply | None]:
    """Count more keys on the last page than it has."""

    def reply(request: Request) -> Reply | None:
        page = server.page(request)
        return replace(page, key_count=99).reply() if page.token is None else None

    return reply


def hide(server: ScriptedS3) -> Callable[[Request], Reply | None]:
    """Leave a key out that is there."""

    def reply(request: Request) -> Reply | None:
        page = server.page(request)
        rows = tuple(row for row in page.rows if row.key != "data/a/05")
        return replace(page, rows=rows, key_count=len(rows)).reply()

    return reply


@pytest.mark.parametrize("trouble", [contradict, hide])
def test_a_listing_that_was_wrong_leads_no_other(
    slave: Slave,
    scripted: ScriptedS3,
    trouble: Callable[[ScriptedS3], Callable[[Request], Reply | None]],
) -> None:
    """Its boundaries may be the fault: the next listing goes page by page, the one after it by new boundaries."""
    assert [by_boundaries(scripted, slave.once)[1] > 1 for _ in range(2)] == [False, True]
    scripted.on(is_list, trouble(scripted))
    assert by_boundaries(scripted, slave.once)[0].exit_code == REFUSED
    scripted.forget_rules()
    scripted.page_size = PAGE

    found = [by_boundaries(scripted, slave.once) for _ in range(2)]

    assert [run.exit_code for run, _ in found] == [0, 0]
    assert [pages > 1 for _, pages in found] == [False, True]
    assert slave.tree().keys() >= FILES.keys()
