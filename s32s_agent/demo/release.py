"""The end of the story: a release for a canary first, then for all servers, and its way back."""

from __future__ import annotations

from s32s_agent.demo.narration import chapter, check, say
from s32s_agent.demo.stage import (
    BUCKET,
    PREFIX,
    SNAPSHOTS,
    Computers,
    Stage,
    publish_map,
    read_tree,
    run_agent,
    set_channel,
    write_tree,
)

CANARY, CURRENT = "canary", "current"
_REPLACED, _REMOVED, _ADDED = "index.html", "robots.txt", "sale/index.html"


def play_release(stage: Stage, computers: Computers, tree: dict[str, bytes]) -> None:
    """Play the chapters about snapshots.

    Args:
        stage: of the story.
        computers: all of which have the tree.
        tree: the website, to which everything returns.
    """
    release = {
        **tree,
        _REPLACED: b"<h1>SALE!</h1>\n",
        _ADDED: b"<h1>Everything must go</h1>\n",
    }
    del release[_REMOVED]
    publish_snapshots(stage, computers)
    try_on_a_canary(computers, tree, release)
    promote(computers, release)
    take_back(computers, tree)
    repair(computers, tree)


def publish_snapshots(stage: Stage, computers: Computers) -> None:
    """Give the mapping snapshots, and follow the first one."""
    chapter(
        "8. Snapshots",
        "The map gets one more line: `snapshots`, a place for lists of the website. The master publishes such a list,",
        "and slaves ask for it with one request, instead of listing the bucket. The bucket keeps versions.",
    )
    place = f"{BUCKET}/{SNAPSHOTS}"
    for maps, slave in (("maps", computers.web1), ("maps-web2", computers.web2)):
        mapping = {
            "name": "website",
            "master": str(computers.master.directory),
            "s3": f"{BUCKET}/{PREFIX}",
            "slave": str(slave.directory),
            "snapshots": place,
        }
        publish_map(stage, maps, mapping)
    run_agent(computers.master, "--once")
    for slave in computers.slaves:
        finished = run_agent(slave, "--once")
        check("nothing was fetched again", holds=finished["copied"] == 0)


def try_on_a_canary(
    computers: Computers, tree: dict[str, bytes], release: dict[str, bytes]
) -> None:
    """Publish a release for one server."""
    master, web1, web2 = computers
    for computer in (master, web1):
        set_channel(computer, CANARY)
    chapter(
        "9. A release, on one server first",
        f"The configs of the master and of {web1.name} now say `sync: {{channel: {CANARY}}}`. On the master, a page",
        "changes, one comes, and a file goes.",
    )
    write_tree(master.directory, {key: release[key] for key in (_REPLACED, _ADDED)})
    (master.directory / _REMOVED).unlink()
    run_agent(master, "--once")
    run_agent(web1, "--once")
    check(f"{web1.name} has exactly the release", holds=read_tree(web1.directory) == release)
    run_agent(web2, "--once")
    check(
        f"{web2.name} has exactly the website of before",
        holds=read_tree(web2.directory) == tree,
    )


def promote(computers: Computers, release: dict[str, bytes]) -> None:
    """Have the channel of all servers point to what the canary has."""
    say("", "The canary lives. All others get the same snapshot:")
    run_agent(computers.master, "--promote", CANARY, CURRENT)
    run_agent(computers.web2, "--once")
    both = [read_tree(each.directory) for each in computers.slaves]
    check("both servers have exactly the release", holds=both == [release, release])


def take_back(computers: Computers, tree: dict[str, bytes]) -> None:
    """Take the release back on every server."""
    master = computers.master
    chapter("10. The release is bad", "Three commands take it back on every server:")
    run_agent(master, "--snapshots")
    run_agent(master, "--rollback", "--channel", CURRENT)
    run_agent(master, "--promote", CURRENT, CANARY)
    say("", "From their next run on, whenever that is:")
    for slave in computers.slaves:
        run_agent(slave, "--once")
        restored = read_tree(slave.directory) == tree
        check("the directory is exactly the website of before", holds=restored)


def repair(computers: Computers, tree: dict[str, bytes]) -> None:
    """Repair the source, so that the next publication is good."""
    master, web1, _ = computers
    say("", "The website is repaired on the master, and all follow one channel again:")
    write_tree(master.directory, {key: tree[key] for key in (_REPLACED, _REMOVED)})
    (master.directory / _ADDED).unlink()
    (master.directory / _ADDED).parent.rmdir()
    for computer in (master, web1):
        set_channel(computer, CURRENT)
    run_agent(master, "--once")
    for slave in computers.slaves:
        run_agent(slave, "--once")
        restored = read_tree(slave.directory) == tree
        check("this server is where it was", holds=restored)
