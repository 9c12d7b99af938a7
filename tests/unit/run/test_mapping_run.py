"""What becomes of one action, as far as it is decided and not done."""

from __future__ import annotations

import pytest

from s32s_agent.errors import DirectoryError, DiskFull, EntryUnreadable, IntegrityError
from s32s_agent.model import Outcome, Role, Status
from s32s_agent.run.mapping_run import may_have_changed


@pytest.mark.parametrize(
    ("status", "error", "slave", "master"),
    [
        (Status.COPIED, None, True, True),
        (Status.DELETED, None, True, True),
        (Status.SKIPPED, EntryUnreadable("archived"), False, False),
        (Status.FAILED, DirectoryError("input/output error"), True, True),
        (Status.FAILED, DiskFull("no space"), True, True),
        (Status.FAILED, IntegrityError("other bytes"), False, True),
    ],
)
def test_no_change_is_hidden_by_a_failure_behind_it(
    status: Status,
    error: Exception | None,
    slave: bool,  # noqa: FBT001 - a table
    master: bool,  # noqa: FBT001 - a table
) -> None:
    """What may show although it failed is told to the hook; what cannot is not."""
    outcome = Outcome(status, "key", error=error)

    assert may_have_changed(outcome, Role.SLAVE) == slave
    assert may_have_changed(outcome, Role.MASTER) == master
