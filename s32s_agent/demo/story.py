"""The story: a master, S3, two slaves, and what goes wrong in a server's life."""

from __future__ import annotations

import os
from pathlib import Path

from s32s_agent.demo.narration import chapter, claim, command, quote, say
from s32s_agent.demo.stage import (
    BUCKET,
    PREFIX,
    Cast,
    Computer,
    Stage,
    new_computer,
    objects,
    publish_map,
    run_agent,
    tree,
    vitals,
    write,
)
from s32s_agent.plan.keys import TRASH

PAGE, HOURS, FLYER = "index.html", "hours.txt", "old/flyer.txt"
TREE = {
    PAGE: b"<h1>Welcome</h1>\n",
    HOURS: b"Open Monday to Friday, 09:00-17:00\n",
    FLYER: b"Opening soon!\n",
    "about.html": b"<h1>Who we are</h1>\n",
    "robots.txt": b"User-agent: *\n",
    "css/style.css": b"h1 { color: teal }\n",
    "css/print.css": b"h1 { color: black }\n",
    "img/logo.svg": b'<svg xmlns="http://www.w3.org/2000/svg"/>\n',
    "img/photo.jpg": bytes(range(256)) * 12_000,
    "menu/monday.txt": b"Soup\n",
    "menu/tuesday.txt": b"Salad\n",
    "menu/grüne-soße.txt": b"Parsley, chives, sorrel\n",
    "uploads/": b"",
}
"""The website; the last entry is an empty directory."""
NEW_TREE = {**TREE, HOURS: b"Open Monday to Friday, 08:00-16:00\n"}
del NEW_TREE[FLYER]
GRAFFITI = b"<h1>HACKED!</h1>\n"


def play(stage: Stage) -> Cast:
    """Play the story; give the computers, with which one may play."""
    cast = the_cast(stage)
    the_master_pushes(stage, cast.master)
    the_slaves_pull(cast)
    nothing_to_do(cast)
    three_things_happen(stage, cast)
    the_slaves_follow(cast)
    a_disk_is_not_mounted(stage, cast)
    return cast


def the_cast(stage: Stage) -> Cast:
    """Make the website, the bucket, the maps, and three computers."""
    stage.client.create_bucket(Bucket=BUCKET)
    master = new_computer(stage, "master", "master", "maps")
    web1 = new_computer(stage, "web1", "slave", "maps")
    web2 = new_computer(stage, "web2", "slave", "maps-web2")
    write(master.directory, TREE)
    mapping = {
        "name": "website",
        "master": str(master.directory),
        "s3": f"{BUCKET}/{PREFIX}",
        "slave": str(web1.directory),
    }
    document = publish_map(stage, "maps", mapping)
    publish_map(stage, "maps-web2", {**mapping, "slave": str(web2.directory)})
    chapter(
        "1. A master, two slaves, and S3 between them",
        f"SeaweedFS, an S3 server, runs at {stage.server.endpoint_url}. The master has a website:",
        f"{len(TREE) - 1} files and an empty directory. A map file, s3://{BUCKET}/maps/website.json,",
        "says what belongs where:",
    )
    quote(document)
    say("", "The config file of the master says where map files are:")
    quote(master.config.read_text(encoding="utf-8"))
    say(
        "",
        "Those of the slaves say `role: slave`. On computers of their own both would read this map;",
    )
    say("here they cannot share a directory, so web2 has a copy of it that names another.")
    return Cast(master, web1, web2)


def the_master_pushes(stage: Stage, master: Computer) -> None:
    """Fill the prefix."""
    chapter("2. The master pushes", "One process, one pass over all mappings, exit.")
    finished = run_agent(master, "--once")
    claim("S3 holds exactly what the master has", holds=objects(stage) == TREE)
    claim("every entry was copied once", holds=finished["copied"] == len(TREE))


def the_slaves_pull(cast: Cast) -> None:
    """Mirror everything, twice."""
    chapter("3. The slaves pull", "They know nothing of the master, only S3.")
    original = vitals(cast.master.directory)
    for slave in cast.slaves:
        run_agent(slave, "--once")
        claim("the directory is exactly the master's", holds=tree(slave.directory) == TREE)
        claim("so are times and modes", holds=vitals(slave.directory) == original)


def nothing_to_do(cast: Cast) -> None:
    """Find nothing to do, everywhere."""
    chapter(
        "4. The second pass, everywhere",
        "The agent remembers the ETag of every object, and what the file system said of every",
        "file when both held the same bytes. So a listing is all that it needs.",
    )
    for computer in cast:
        finished = run_agent(computer, "--once")
        claim("nothing was transferred", holds=finished["copied"] == finished["bytes"] == 0)


def three_things_happen(stage: Stage, cast: Cast) -> None:
    """Change a file, remove one, let a vandal edit another, and show what a pass would do."""
    chapter(
        "5. Three things happen",
        f"On the master, {HOURS} changes; the new text is exactly as long as the old one.",
        f"On the master, {FLYER} is removed.",
        f"On {cast.web1.name}, a vandal edits {PAGE}, and gives it its old size and its old time.",
    )
    write(cast.master.directory, {HOURS: NEW_TREE[HOURS]})
    (cast.master.directory / FLYER).unlink()
    (cast.master.directory / FLYER).parent.rmdir()
    vandalise(cast.web1.directory / PAGE)
    finished = run_agent(cast.master, "--once")
    claim("S3 holds exactly what the master has", holds=objects(stage) == NEW_TREE)
    claim("nothing else was copied", holds=finished["copied"] == 1)
    say("", f"What would {cast.web1.name} do? --dry-run prints the plan, and touches nothing.")
    before = tree(cast.web1.directory)
    plan = run_agent(cast.web1, "--once", "--dry-run")["output"]
    claim("all three were seen", holds=all(key in plan for key in (PAGE, HOURS, FLYER)))
    claim("nothing was touched", holds=tree(cast.web1.directory) == before)


def vandalise(page: Path) -> None:
    """Change a file in a way that neither size nor time shows."""
    times = page.stat()
    page.write_bytes(GRAFFITI)
    os.utime(page, ns=(times.st_atime_ns, times.st_mtime_ns))


def the_slaves_follow(cast: Cast) -> None:
    """Put it right, and look at the trash."""
    chapter(
        "6. The slaves follow", "Copies first, each file whole or not at all. Deletes last."
    )
    for slave in cast.slaves:
        run_agent(slave, "--once")
        claim("the directory is exactly the master's", holds=tree(slave.directory) == NEW_TREE)
    say("", f"What the agent took away on {cast.web1.name} stays in the trash for some days:")
    (trash,) = (cast.web1.directory / TRASH / "trash").iterdir()
    command("find", str(trash), "-type", "f")
    quote("\n".join(f"{trash}/{key}" for key in tree(trash)))
    kept = {PAGE: GRAFFITI, FLYER: TREE[FLYER]}
    claim("the vandal's page and the flyer are there", holds=tree(trash) == kept)


def a_disk_is_not_mounted(stage: Stage, cast: Cast) -> None:
    """Empty the master's directory, which nobody must believe, and fill it again."""
    website = cast.master.directory
    unmounted = website.rename(website.with_name("unmounted"))
    website.mkdir()
    chapter(
        "7. The master's disk is not mounted",
        "After a reboot, its directory is empty. Should S3, and every server, be emptied, too?",
    )
    finished = run_agent(cast.master, "--once", status=3)
    claim("no delete was carried out", holds=finished["deleted"] == 0)
    claim("nothing is lost in S3", holds=objects(stage) == NEW_TREE)
    for slave in cast.slaves:
        run_agent(slave, "--once")
        claim("nothing is lost here", holds=tree(slave.directory) == NEW_TREE)
    status = run_agent(cast.master, "--status")["output"]
    claim("the status says what to do", holds="what to do:" in status)
    website.rmdir()
    unmounted.rename(website)
    say("", "The disk is mounted again:")
    finished = run_agent(cast.master, "--once")
    claim("nothing had to be transferred", holds=finished["copied"] == finished["bytes"] == 0)
