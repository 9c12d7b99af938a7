"""Look up whom new files and directories belong to. POSIX only."""

from __future__ import annotations

import grp
import pwd
from typing import NamedTuple

from s32s_agent.errors import ConfigError


class Owner(NamedTuple):
    """The owner of new files; -1 leaves that half as the system sets it."""

    user: int = -1
    group: int = -1


UNCHANGED = Owner()
"""New files belong to whom the system gives them: the agent's user."""


def find_owner(text: str | None) -> Owner:
    """Look up `user[:group]`, names or numbers; without a group, the user's own. None leaves owners unchanged.

    Raises:
        ConfigError: the system knows no such user or group.
    """
    if text is None:
        return UNCHANGED
    user, _, group = text.partition(":")
    try:
        if user.isdigit():
            known = int(user), -1
        else:
            entry = pwd.getpwnam(user)
            known = entry.pw_uid, entry.pw_gid
        if not group:
            return Owner(*known)
        return Owner(known[0], int(group) if group.isdigit() else grp.getgrnam(group).gr_gid)
    except KeyError as error:
        raise ConfigError("sync.owner", [f"{error.args[0]}"]) from error
