"""Listings that must not be trusted: whatever the server answers, three good local files stay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.broken_listings import HONEST, broken
from support.forked import Forks
from support.invariants import check_output, check_status
from support.s3_messages import Reply, Request, is_head, is_list
from support.scripted import ScriptedS3
from support.slaves import Slave

from s32s_agent.errors import ListingInconsistent, StoreUnavailable
from s32s_agent.model import Entry, Problem
from s32s_agent.stores.s3.listing import Listing, decoded_keys, parse_page

pytestmark = pytest.mark.hostile

FILES = {"a.txt": b"alpha", "b/c.txt": b"beta", "d.txt": b"delta"}
TREE = {**FILES, "b": None}

REFUSED, UNAVAILABLE, DENIED = 3, 69, 77
STATUS = {
    "empty body": UNAVAILABLE,
    "html": UNAVAILABLE,
    "truncated without token": REFUSED,
    "IsTruncated absent": REFUSED,
    "keys outside the prefix": REFUSED,
    "AccessDenied": DENIED,
}
CAUSES = {REFUSED: "refused", UNAVAILABLE: "unavailable", DENIED: "noperm"}


@pytest.fixture
def mirrored(scripted_slave: Slave, scripted: ScriptedS3) -> Slave:
    """A slave after a normal run, with every guard lifted: only the rules of completeness are left."""
    scripted_slave.configure(
        "maps/site.json",
        s3={"endpoint_url": scripted.endpoint_url},
        sync={"allow_empty_source": True, "max_delete": "100%"},
    )
    scripted_slave.publish(FILES)
    assert scripted_slave.once().exit_code == 0
    assert scripted_slave.tree() == TREE
    scripted.requests.clear()
    return scripted_slave


@pytest.mark.parametrize(
    "name", ["empty body", "html", "truncated without token", "keys outside the prefix"]
)
def test_a_broken_listing_at_the_first_run_removes_no_existing_file(
    scripted_slave: Slave, scripted: ScriptedS3, name: str
) -> None:
    """A directory that the agent has never mirrored keeps its files."""
    scripted_slave.target.mkdir()
    (scripted_slave.target / "mine").write_bytes(b"mine")
    scripted_slave.publish(FILES)
    scripted.on(is_list, broken(scripted, name))

    run = scripted_slave.once()

    assert (run.exit_code, scripted_slave.tree()) == (STATUS[name], {"mine": b"mine"})


@pytest.mark.parametrize("name", ["html", "IsTruncated absent", "AccessDenied"])
def test_a_broken_listing_of_maps_stops_the_run(
    mirrored: Slave, scripted: ScriptedS3, name: str
) -> None:
    """No map counts as deleted: no mapping runs, and nothing changes."""
    mirrored.configure(s3={"endpoint_url": scripted.endpoint_url})
    scripted.on(is_list, broken(scripted, name))

    run = mirrored.once()

    assert (run.exit_code, mirrored.tree()) == (STATUS[name], TREE)
    assert run.named("run.failed")[0]["cause"] == CAUSES[STATUS[name]]


def test_a_listing_that_breaks_on_its_last_page_deletes_nothing(
    mirrored: Slave, scripted: ScriptedS3
) -> None:
    """Good pages before a bad one change nothing: no action begins before the listing has ended."""
    scripted.page_size = 1
    scripted.put("data/0-new", b"new")

    def last_is_html(_request: object) -> Reply | None:
        pages = sum(map(is_list, scripted.requests))
        return Reply(body=b"<html/>") if pages > 3 else None

    scripted.on(is_list, last_is_html)

    run = mirrored.once()

    assert (run.exit_code, mirrored.tree()) == (69, TREE)


def test_a_page_that_is_incomplete_once_is_requested_again(
    mirrored: Slave, scripted: ScriptedS3
) -> None:
    """A temporary error is no failure."""
    scripted.put("data/new.txt", b"new")
    scripted.on(is_list, broken(scripted, "cut short"), times=1)

    run = mirrored.once()

    assert (run.exit_code, mirrored.tree()) == (0, {**TREE, "new.txt": b"new"})


def test_an_empty_listing_deletes_nothing_without_permission(
    scripted_slave: Slave, scripted: ScriptedS3
) -> None:
    """A valid empty listing is refused by the guard, and accepted once that is permitted."""
    scripted_slave.publish(FILES)
    scripted_slave.once()
    scripted.on(is_list, broken(scripted, "really empty"))
    for key in FILES:
        del scripted.objects[f"data/{key}"]

    run = scripted_slave.once("--allow-deletes")

    assert (run.exit_code, scripted_slave.tree()) == (3, TREE)
    assert [each["count"] for each in run.named("deletes.withheld")] == [3]
    scripted_slave.configure(
        "maps/site.json",
        s3={"endpoint_url": scripted.endpoint_url},
        sync={"allow_empty_source": True},
    )
    assert scripted_slave.once().exit_code == 0
    assert (scripted_slave.tree(), scripted_slave.trash()) == ({}, FILES)


def test_a_store_that_lists_without_order_is_sorted(
    mirrored: Slave, scripted: ScriptedS3
) -> None:
    """Disorder alone is no error: changes and deletions are made, run after run."""
    scripted.on(is_list, broken(scripted, "disorder"))
    mirrored.publish({"d.txt": b"DELTA", "0": b"first"})
    del scripted.objects["data/a.txt"]

    runs = [mirrored.once(), mirrored.once()]

    assert [run.exit_code for run in runs] == [0, 0]
    assert mirrored.tree() == {"0": b"first", "b": None, "b/c.txt": b"beta", "d.txt": b"DELTA"}
    assert [(run.finished["copied"], run.finished["deleted"]) for run in runs] == [
        (2, 1),
        (0, 0),
    ]
    assert "disorder" in HONEST


def test_a_key_that_the_listing_lacks_is_not_deleted(
    mirrored: Slave, scripted: ScriptedS3
) -> None:
    """The store does not list a key but still has it: HEAD finds it, and it is not deleted."""
    stored = {key: scripted.objects.pop(f"data/{key}") for key in ("a.txt", "d.txt")}
    scripted.on(is_head("data/d.txt"), Reply(headers={"etag": stored["d.txt"].etag}))
    mirrored.publish({"new.txt": b"new"})

    run = mirrored.once()

    assert (run.exit_code, mirrored.tree()) == (3, {**TREE, "new.txt": b"new"})
    (event,) = run.named("deletes.withheld")
    assert (event["count"], '"d.txt" still exists' in event["reason"]) == (2, True)


@pytest.mark.parametrize(("status", "exit_code"), [(403, 77), (500, 69)])
def test_a_head_without_404_deletes_nothing(
    mirrored: Slave, scripted: ScriptedS3, status: int, exit_code: int
) -> None:
    """Only a plain 404 is proof of absence."""
    del scripted.objects["data/d.txt"]
    scripted.on(is_head("data/d.txt"), Reply(status))

    run = mirrored.once()

    assert (run.exit_code, mirrored.tree()) == (exit_code, TREE)


def corrupted(page: bytes) -> Iterator[bytes]:
    """Yield a page with each bit, and each byte, inverted."""
    for number, byte in enumerate(page):
        for mask in (0xFF, *(1 << bit for bit in range(8))):
            yield page[:number] + bytes([byte ^ mask]) + page[number + 1 :]


def read_page(page: bytes) -> list[Entry | Problem] | None:
    """Read the only page of a listing as the agent does; None when it is refused."""
    listing = Listing("bucket", "data/", strictly_ordered=False)
    try:
        parsed = parse_page(page)
        found = list(listing.take(parsed, decoded_keys(parsed)))
        more = listing.next_token(parsed)
    except (ListingInconsistent, StoreUnavailable):
        return None
    return None if more else found


def test_a_corrupted_listing_deletes_nothing_and_creates_no_file(
    mirrored: Slave, scripted: ScriptedS3
) -> None:
    """http:// has no checksum of a page: wrong keys, sizes and ETags are accepted, and do no harm."""
    asked = Request(
        "GET", "/bucket", {"list-type": "2", "prefix": "data/", "encoding-type": "url"}, {}
    )
    honest = scripted.page(asked).reply()
    true = read_page(honest.body)
    pages = [page for page in corrupted(honest.body) if read_page(page) not in (None, true)]
    lacking = [
        page for page in pages if {each.key for each in read_page(page) or ()} != set(FILES)
    ]
    others = [page for page in pages if page not in set(lacking)]
    assert (bool(lacking), bool(others)) == (True, True)
    with Forks() as forks:
        for page in lacking[:: len(lacking) // 12] + others[:: len(others) // 8]:
            scripted.forget_rules()
            scripted.on(is_list, replace(honest, body=page))

            run = forks.once(mirrored.agent, timeouts={"attempts": 2, "pause_seconds": 0.01})

            assert (mirrored.tree(), mirrored.trash()) == (TREE, {}), page
            assert check_output(run) + check_status(run, mirrored.tree(), TREE) == []
