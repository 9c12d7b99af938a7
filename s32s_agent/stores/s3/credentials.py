"""Find the keys that systemd delivers to a unit. They are never read here: botocore does that."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from s32s_agent.errors import ConfigError
from s32s_agent.text import printable

if TYPE_CHECKING:
    from botocore.session import Session

_GENERAL = "s32s-agent.aws"
_OF_INSTANCE = "s32s-agent.*.aws"
_VARIABLE = "AWS_SHARED_CREDENTIALS_FILE"


def delivered_file(environ: Mapping[str, str]) -> Path | None:
    """Find the file that `LoadCredential=` put into `$CREDENTIALS_DIRECTORY`; None when there is none.

    An instance's own file goes before the one of all, and what the operator names in `AWS_SHARED_CREDENTIALS_FILE`
    before both.

    Raises:
        ConfigError: there are files of several instances.
    """
    place = environ.get("CREDENTIALS_DIRECTORY")
    if not place or environ.get(_VARIABLE):
        return None
    directory = Path(place)
    own = sorted(directory.glob(_OF_INSTANCE))
    if len(own) > 1:
        names = ", ".join(printable(each.name) for each in own)
        remedy = f"name one in {_VARIABLE}, or load only one"
        raise ConfigError(
            "LoadCredential=", [f"expected one file, got {names}"], remedy=remedy
        )
    general = directory / _GENERAL
    return next((each for each in (*own, general) if each.is_file()), None)


def new_session(environ: Mapping[str, str]) -> Session:
    """Make a session of botocore that reads its credentials where systemd put them, if it did."""
    import botocore.session  # noqa: PLC0415 (slow)

    session = botocore.session.get_session()
    if found := delivered_file(environ):
        session.set_config_variable("credentials_file", str(found))
    return session
