"""The story: a master, S3, two slaves, and what goes wrong in a server's life."""

from __future__ import annotations

import os
from pathlib import Path

from s32s_agent.demo.narration import chapter, check, command, quote, say
from s32s_agent.demo.release import play_release
from s32s_agent.demo.stage import (
    BUCKET,
    PREFIX,
    Computer,
    Computers,
    Stage,
    modes_and_times,
    new_computer,
    publish_map,
    read_objects,
    read_tree,
    run_agent,
    write_tree,
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


def play(stage: Stage) -> Computers:
    """Play the story, and return its computers, which can be used afterwards."""
    computers = create_computers(stage)
    push_first_time(stage, computers.master)
    pull_first_time(computers)
    run_without_changes(computers)
    change_three_things(stage, computers)
    pull_changes(computers)
    lose_the_disk_of_the_master(stage, computers)
    play_release(stage, computers, NEW_TREE)
    return computers


def create_computers(stage: Stage) -> Computers:
    """Create the website, the bucket, the maps, and three computers."""
    stage.client.create_bucket(Bucket=BUCKET)
    stage.client.put_bucket_versioning(
        Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"}
    )
    master = new_computer(stage, "master", "master", "maps")
    web1 = new_computer(stage, "web1", "slave", "maps")
    web2 = new_computer(stage, "web2", "slave", "maps-web2")
    write_tree(master.directory, TREE)
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
    return Computers(master, web1, web2)


def push_first_time(stage: Stage, master: Computer) -> None:
    """Push the website to the prefix."""
    chapter("2. The master pushes", "One process, one run over all mappings, exit.")
    finished = run_agent(master, "--once")
    check("S3 holds exactly what the master has", holds=read_objects(stage) == TREE)
    check("every entry was copied once", holds=finished["copied"] == len(TREE))


def pull_first_time(computers: Computers) -> None:
    """Pull the website on both slaves."""
    chapter("3. The slaves pull", "They know nothing of the master, only S3.")
    original = modes_and_times(computers.master.directory)
    for slave in computers.slaves:
        run_agent(slave, "--once")
        check(
            "the directory is exactly the master's", holds=read_tree(slave.directory) == TREE
        )
        check("so are times and modes", holds=modes_and_times(slave.directory) == original)


def run_without_changes(computers: Computers) -> None:
    """Run everywhere, with nothing to do."""
    chapter(
        "4. The second run, everywhere",
        "The agent remembers the ETag of every object, and what the file system said of every",
        "file when both held the same bytes. So a listing is all that it needs.",
    )
    for computer in computers:
        finished = run_agent(computer, "--once")
        check("nothing was transferred", holds=finished["copied"] == finished["bytes"] == 0)


def change_three_things(stage: Stage, computers: Computers) -> None:
    """Change a file, remove one, vandalise another, and show what a run would do."""
    chapter(
        "5. Three things happen",
        f"On the master, {HOURS} changes; the new text is exactly as long as the old one.",
        f"On the master, {FLYER} is removed.",
        f"On {computers.web1.name}, a vandal edits {PAGE}, and gives it its old size and its old time.",
    )
    write_tree(computers.master.directory, {HOURS: NEW_TREE[HOURS]})
    (computers.master.directory / FLYER).unlink()
    (computers.master.directory / FLYER).parent.rmdir()
    vandalise(computers.web1.directory / PAGE)
    finished = run_agent(computers.master, "--once")
    check("S3 holds exactly what the master has", holds=read_objects(stage) == NEW_TREE)
    check("nothing else was copied", holds=finished["copied"] == 1)
    say(
        "",
        f"What would {computers.web1.name} do? --dry-run prints the plan, and touches nothing.",
    )
    before = read_tree(computers.web1.directory)
    plan = run_agent(computers.web1, "--once", "--dry-run")["output"]
    check("all three were seen", holds=all(key in plan for key in (PAGE, HOURS, FLYER)))
    check("nothing was touched", holds=read_tree(computers.web1.directory) == before)


def vandalise(page: Path) -> None:
    """Change a file so that neither its size nor its time shows it."""
    times = page.stat()
    page.write_bytes(GRAFFITI)
    os.utime(page, ns=(times.st_atime_ns, times.st_mtime_ns))


def pull_changes(computers: Computers) -> None:
    """Pull the changes, and look at the trash."""
    chapter(
        "6. The slaves follow", "Copies first, each file whole or not at all. Deletes last."
    )
    for slave in computers.slaves:
        run_agent(slave, "--once")
        check(
            "the directory is exactly the master's",
            holds=read_tree(slave.directory) == NEW_TREE,
        )
    say(
        "",
        f"What the agent took away on {computers.web1.name} stays in the trash for some days:",
    )
    (trash,) = (computers.web1.directory / TRASH / "trash").iterdir()
    command("find", str(trash), "-type", "f")
    quote("\n".join(f"{trash}/{key}" for key in read_tree(trash)))
    kept = {PAGE: GRAFFITI, FLYER: TREE[FLYER]}
    check("the vandal's page and the flyer are there", holds=read_tree(trash) == kept)


def lose_the_disk_of_the_master(stage: Stage, computers: Computers) -> None:
    """Empty the master's directory, which the agent must not believe, and fill it again."""
    website = computers.master.directory
    unmounted = website.rename(website.with_name("unmounted"))
    website.mkdir()
    chapter(
        "7. The master's disk is not mounted",
        "After a reboot, its directory is empty. Should S3, and every server, be emptied, too?",
    )
    finished = run_agent(computers.master, "--once", status=3)
    check("no delete was carried out", holds=finished["deleted"] == 0)
    check("nothing is lost in S3", holds=read_objects(stage) == NEW_TREE)
    for slave in computers.slaves:
        run_agent(slave, "--once")
        check("nothing is lost here", holds=read_tree(slave.directory) == NEW_TREE)
    status = run_agent(computers.master, "--status")["output"]
    check("the status says what to do", holds="what to do:" in status)
    website.rmdir()
    unmounted.rename(website)
    say("", "The disk is mounted again:")
    finished = run_agent(computers.master, "--once")
    check("nothing had to be transferred", holds=finished["copied"] == finished["bytes"] == 0)
