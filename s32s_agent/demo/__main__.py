"""Start the server, play the story, and clean up."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from s32s_agent.demo.narration import ClaimFailed, chapter, quote
from s32s_agent.demo.seaweedfs import find_weed, seaweedfs
from s32s_agent.demo.stage import Computers, Stage
from s32s_agent.demo.story import HOURS, play
from s32s_agent.errors import AgentError


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the story, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m s32s_agent.demo")
    parser.add_argument(
        "--keep", action="store_true", help="keep server and files until Enter"
    )
    options = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda number, _: sys.exit(128 + number))
    try:
        find_weed()
        with tempfile.TemporaryDirectory(prefix="s32s-agent-demo-") as directory:
            run_demo(Path(directory).resolve(), keep=options.keep)
    except (AgentError, ClaimFailed) as error:
        remedy = getattr(error, "remedy", "") or "this is a bug; please report it"
        print(f"\n{error}\n  {remedy}", file=sys.stderr)
        return 1
    return 0


def run_demo(directory: Path, *, keep: bool) -> None:
    """Start the server, and play the story."""
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
        computers = play(stage)
        if keep:
            wait_for_enter(stage, computers)


def wait_for_enter(stage: Stage, computers: Computers) -> None:
    """Show what can be tried now, and wait for Enter."""
    settings, who = stage.directory / "env.sh", stage.server
    settings.touch(mode=0o600)
    keys = f"AWS_ACCESS_KEY_ID={who.access_key} AWS_SECRET_ACCESS_KEY={who.secret_key}"
    path = f'PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
    text = f"unset AWS_PROFILE\nexport NO_PROXY=127.0.0.1 {keys} {path}\n"
    settings.write_text(text, encoding="utf-8")
    chapter("Your turn, in another terminal")
    quote(f". {settings}\necho 'Open all night' > {computers.master.directory / HOURS}")
    for computer in computers:
        quote(f"s32s-agent --once --config {computer.config}")
    with contextlib.suppress(EOFError):
        input("\n  Enter ends the server and removes all of it. ")


if __name__ == "__main__":
    sys.exit(main())
