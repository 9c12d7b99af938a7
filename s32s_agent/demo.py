"""Play a story on this one computer, with a real S3 server on loopback: `python -m s32s_agent.demo`.

Whatever is shown was done by the real program, run as a process. Every claim is looked up on the disk; the first one
that is not true ends the demo with status 1. The user's own AWS set-up takes no part, and nothing stays behind.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from s32s_agent.errors import AgentError
from s32s_agent.keys import TRASH
from s32s_agent.seaweedfs import S3Server, find_weed, seaweedfs

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET, PREFIX, MAP_FILE = "demo", "website/", "maps/website.json"
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
"""The objects of the story; the last one is an empty directory."""
NEW_TREE = {**TREE, HOURS: b"Open Monday to Friday, 08:00-16:00\n"}
del NEW_TREE[FLYER]
GRAFFITI = b"<h1>HACKED!</h1>\n"

WORDS = {
    "maps.loaded": "{files} map file, {mappings} mapping",
    "mapping.planned": "{copies} to copy ({bytes:,} bytes), {deletes} to delete, {unchanged} unchanged",
    "entry.copied": "{key} ({size:,} bytes): {why}",
    "entry.deleted": "{key}",
    "deletes.withheld": "{count} deletes: {reason}",
    "run.finished": "{copied} copied, {deleted} deleted, {unchanged} unchanged, {seconds:.2f} s",
}
"""How events of the log are told; of the others only errors are."""
WHY = {
    "etag": "another version, though the size is the same",
    "local_changed": "somebody edited it here",
}


class NotAsTold(Exception):
    """The story claims something that did not happen."""


class Computer(NamedTuple):
    """A computer of the story: a config file, and the directory that it keeps."""

    name: str
    role: str
    config: Path
    directory: Path


class Stage(NamedTuple):
    """Where the story plays."""

    directory: Path
    server: S3Server
    client: S3Client


# --- telling ---


def paint(code: str, text: str) -> str:
    """Colour a text on a terminal that wants it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain or not sys.stdout.isatty() else f"\x1b[{code}m{text}\x1b[0m"


def chapter(title: str, *text: str) -> None:
    """Begin a chapter."""
    print(f"\n\n{paint('1', title)}\n")
    print("".join(f"  {line}\n" for line in text), end="")


def quote(text: str) -> None:
    """Show what a program wrote, or what a file holds."""
    print("\n".join(f"    {paint('2', '|')} {line}" for line in text.splitlines()))


def command(*words: str) -> None:
    """Show a command as a user would type it."""
    print(f"\n  {paint('36', '$')} {shlex.join(words)}")


def claim(text: str, *, holds: bool) -> None:
    """Tell something that was looked up; `NotAsTold` when it is not so."""
    if not holds:
        raise NotAsTold(f"this is not so: {text}")
    print(f"  {paint('32', 'ok')}  {text}")


def in_words(event: Mapping[str, Any]) -> Iterator[str]:
    """Tell a log event in plain words, after its name, if it is worth telling."""
    name, why = event["event"], event.get("why", "")
    text = WORDS.get(name, "{error}" if "error" in event else "")
    if text:
        yield f"{name:<16} " + text.format(**{**event, "why": WHY.get(why, why)})


# --- doing ---


def run_agent(computer: Computer, *arguments: str, status: int = 0) -> dict[str, Any]:
    """Run the agent, show the command and what it wrote, and give its last event and its standard output.

    With another exit status than that one it is `NotAsTold`.
    """
    words = [*arguments, "--config", str(computer.config)]
    command("s32s-agent", *words)
    program = [sys.executable, "-m", "s32s_agent", *words, "--log-format", "json"]
    done = subprocess.run(program, capture_output=True, encoding="utf-8", check=False)  # noqa: S603 - no shell
    is_log = done.stderr.startswith("{")
    events = [json.loads(line) for line in done.stderr.splitlines()] if is_log else []
    told = "\n".join(line for event in events for line in in_words(event))
    quote(done.stdout or told or done.stderr)
    claim(f"exit status {done.returncode}", holds=done.returncode == status)
    return {"output": done.stdout, **(events[-1] if events else {})}


def new_computer(stage: Stage, name: str, role: str) -> Computer:
    """Set a computer up: a folder with its config file, in which its directory will be."""
    home = stage.directory / name
    home.mkdir()
    maps, endpoint = f"{BUCKET}/{MAP_FILE}", {"endpoint_url": stage.server.endpoint_url}
    settings: dict[str, object] = {"role": role, "maps": maps, "roots": [str(home)]}
    settings |= {"state_dir": f"{home}/state", "s3": endpoint}
    lines = (f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
    config = home / "config.yaml"
    config.write_text("".join(lines), encoding="utf-8")
    return Computer(name, role, config, home / "www")


def put(stage: Stage, entries: Mapping[str, bytes]) -> None:
    """Write objects below the prefix, as any other tool might."""
    for key, data in entries.items():
        stage.client.put_object(Bucket=BUCKET, Key=PREFIX + key, Body=data)


def remove(stage: Stage, *names: str) -> None:
    """Remove objects below the prefix."""
    for key in names:
        stage.client.delete_object(Bucket=BUCKET, Key=PREFIX + key)


def tree(top: Path) -> dict[str, bytes]:
    """Read a directory in the form of `TREE`, without the agent's own folder in it."""
    found = {}
    for path in sorted(top.rglob("*")):
        key = path.relative_to(top).as_posix()
        if path.is_file() and not key.startswith(TRASH):
            found[key] = path.read_bytes()
        elif path.is_dir() and not any(path.iterdir()):
            found[f"{key}/"] = b""
    return found


# --- the story ---


def another_tool_fills_the_bucket(stage: Stage) -> Computer:
    """Make the bucket, the map file and the objects, and the computer that is to have them."""
    slave = new_computer(stage, "web1", "slave")
    mapping = {"name": "website", "s3": f"{BUCKET}/{PREFIX}", "slave": str(slave.directory)}
    document = json.dumps([mapping], indent=2)
    stage.client.create_bucket(Bucket=BUCKET)
    stage.client.put_object(Bucket=BUCKET, Key=MAP_FILE, Body=document.encode())
    put(stage, TREE)
    chapter(
        "1. Another tool fills a bucket",
        f"SeaweedFS, an S3 server, runs at {stage.server.endpoint_url}. Somebody has put",
        f"{len(TREE) - 1} files and an empty directory below s3://{BUCKET}/{PREFIX}, and a map",
        f"file, s3://{BUCKET}/{MAP_FILE}, that says where they belong:",
    )
    quote(document)
    print(f"\n  The config file of the computer {slave.name} says where map files are:")
    quote(slave.config.read_text(encoding="utf-8"))
    return slave


def the_first_pass(slave: Computer) -> None:
    """Mirror everything."""
    chapter("2. The first pass", "One process, one pass over all mappings, exit.")
    finished = run_agent(slave, "--once")
    claim("the directory is exactly what is in S3", holds=tree(slave.directory) == TREE)
    claim("every entry was copied once", holds=finished["copied"] == len(TREE))


def the_second_pass(slave: Computer) -> None:
    """Find nothing to do."""
    chapter(
        "3. The second pass",
        "The agent remembers the ETag of every object, and what the file system said of every",
        "file that it made of one. So a listing is all that it needs.",
    )
    finished = run_agent(slave, "--once")
    claim("nothing was transferred", holds=finished["copied"] == finished["bytes"] == 0)


def three_things_happen(stage: Stage, slave: Computer) -> None:
    """Change an object, remove one, edit a file, and show what a pass would do."""
    chapter(
        "4. Three things happen",
        f"In S3, {HOURS} changes; the new text is exactly as long as the old one.",
        f"In S3, {FLYER} is removed.",
        f"On {slave.name}, a vandal edits {PAGE}, and gives it its old size and its old time.",
        "What would a pass do about it? --dry-run prints the plan, and touches nothing.",
    )
    put(stage, {HOURS: NEW_TREE[HOURS]})
    remove(stage, FLYER)
    page = slave.directory / PAGE
    times = page.stat()
    page.write_bytes(GRAFFITI)
    os.utime(page, ns=(times.st_atime_ns, times.st_mtime_ns))
    before = tree(slave.directory)
    plan = run_agent(slave, "--once", "--dry-run")["output"]
    claim("all three were seen", holds=all(key in plan for key in (PAGE, HOURS, FLYER)))
    claim("nothing was touched", holds=tree(slave.directory) == before)


def the_third_pass(slave: Computer) -> None:
    """Put it right, and look at the trash."""
    chapter("5. The third pass", "Copies first, each file whole or not at all. Deletes last.")
    run_agent(slave, "--once")
    claim("the directory is exactly what is in S3", holds=tree(slave.directory) == NEW_TREE)
    print("\n  What the agent took away stays in the trash for some days:")
    (trash,) = (slave.directory / TRASH / "trash").iterdir()
    command("find", str(trash), "-type", "f")
    quote("\n".join(f"{trash}/{key}" for key in tree(trash)))
    kept = {PAGE: GRAFFITI, FLYER: TREE[FLYER]}
    claim("the vandal's page and the flyer are there", holds=tree(trash) == kept)


def the_emptied_bucket(stage: Stage, slave: Computer) -> None:
    """Empty the prefix, which the agent must not believe, and fill it again."""
    chapter(
        "6. Somebody empties the bucket",
        f"One wrong command, and nothing is left below s3://{BUCKET}/{PREFIX}. Should every",
        "server now remove everything, too?",
    )
    remove(stage, *TREE)
    finished = run_agent(slave, "--once", status=3)
    claim("no delete was carried out", holds=finished["deleted"] == 0)
    claim("nothing is lost", holds=tree(slave.directory) == NEW_TREE)
    status = run_agent(slave, "--status")["output"]
    claim("the status says what to do", holds="what to do:" in status)
    print("\n  The objects are put back. The same bytes have the same ETag:")
    put(stage, NEW_TREE)
    finished = run_agent(slave, "--once")
    claim("nothing had to be transferred", holds=finished["copied"] == finished["bytes"] == 0)


def play(stage: Stage) -> Computer:
    """Play the story; give a computer that one may play with."""
    slave = another_tool_fills_the_bucket(stage)
    the_first_pass(slave)
    the_second_pass(slave)
    three_things_happen(stage, slave)
    the_third_pass(slave)
    the_emptied_bucket(stage, slave)
    return slave


def let_play(stage: Stage, computer: Computer) -> None:
    """Say what one may do now, and wait for Enter."""
    settings, who = stage.directory / "env.sh", stage.server
    settings.touch(mode=0o600)
    keys = f"AWS_ACCESS_KEY_ID={who.access_key} AWS_SECRET_ACCESS_KEY={who.secret_key}"
    path = f'PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
    text = f"unset AWS_PROFILE\nexport NO_PROXY=127.0.0.1 {keys} {path}\n"
    settings.write_text(text, encoding="utf-8")
    chapter("Your turn, in another terminal")
    auth = "--aws-sigv4 aws:amz:us-east-1:s3 --user $AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"
    url = f"{who.endpoint_url}/{BUCKET}/{PREFIX}{HOURS}"
    quote(f". {settings}\nrm {computer.directory / PAGE}")
    quote(f"echo 'Open all night' | curl {auth} -T - {url}")
    quote(f"s32s-agent --once --config {computer.config}")
    with contextlib.suppress(EOFError):
        input("\n  Enter ends the server and removes all of it. ")


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the story, and give the exit status."""
    parser = argparse.ArgumentParser(prog="python -m s32s_agent.demo")
    parser.add_argument("--keep", action="store_true", help="keep it all until Enter")
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: sys.exit(128 + number))
    try:
        find_weed()
        with tempfile.TemporaryDirectory(prefix="s32s-agent-demo-") as directory:
            perform(Path(directory).resolve(), keep=options.keep)
    except (AgentError, NotAsTold) as error:
        remedy = getattr(error, "remedy", "") or "this is a bug; please report it"
        print(f"\n{error}\n  {remedy}", file=sys.stderr)
        return 1
    return 0


def perform(directory: Path, *, keep: bool) -> None:
    """Start the server, and play."""
    import boto3  # noqa: PLC0415 - slow to import

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    nothing = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    os.environ.update(nothing, AWS_EC2_METADATA_DISABLED="true", NO_PROXY="127.0.0.1")
    (directory / "server").mkdir()
    with seaweedfs(directory / "server") as who:
        os.environ["AWS_ACCESS_KEY_ID"] = who.access_key
        os.environ["AWS_SECRET_ACCESS_KEY"] = who.secret_key
        client = boto3.client("s3", endpoint_url=who.endpoint_url, region_name=who.region)
        stage = Stage(directory, who, client)
        computer = play(stage)
        if keep:
            let_play(stage, computer)


if __name__ == "__main__":
    sys.exit(main())
