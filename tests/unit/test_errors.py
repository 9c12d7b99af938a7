"""The errors and the exit statuses that say them."""

from __future__ import annotations

from s32s_agent import errors
from s32s_agent.errors import EXIT_STATUSES, AgentError


def kinds() -> list[type[AgentError]]:
    """Return every class of errors."""
    return [
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, AgentError)
    ]


def test_operators_can_look_up_every_exit_status() -> None:
    """The table has the status of every error, that of success, those of signals, and no other."""
    assert set(EXIT_STATUSES) == {0, 130, 143, *(kind.exit_status for kind in kinds())}


def test_a_cause_is_the_name_of_its_status() -> None:
    """A status has one name; only status 1, which has many causes, may come with a name that says more."""
    wrong = [
        kind.__name__
        for kind in kinds()
        if kind.exit_status != 1 and EXIT_STATUSES[kind.exit_status].cause != kind.cause
    ]

    assert wrong == []
