"""What `--check` finds, one thing at a time, for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from s32s_agent.errors import AgentError
from s32s_agent.run.report import one_code
from s32s_agent.stores.s3.traits import StoreTraits
from s32s_agent.text import printable

_SCHEMA_VERSION = 1


class Finding(NamedTuple):
    """One thing that was tried."""

    subject: str
    detail: str = ""
    error: AgentError | None = None
    warning: bool = False
    note: bool = False
    """Nothing is wrong with it, but something may be expected that does not happen."""
    bucket: str = ""
    traits: StoreTraits | None = None
    """What the store of this bucket was found to do."""

    @property
    def verdict(self) -> str:
        """`ok`, `note`, `warning` or `failed`."""
        if self.error is not None:
            return "failed"
        return "warning" if self.warning else "note" if self.note else "ok"


def print_each(findings: Iterable[Finding]) -> int:
    """Print each finding when it is there, and return the exit status."""
    codes: set[int] = set()
    for finding in findings:
        _print(finding)
        if finding.error is not None:
            codes.add(finding.error.exit_status)
    return one_code(codes)


def print_json(findings: Iterable[Finding]) -> int:
    """Print all findings as one JSON document, and return the exit status."""
    every = list(findings)
    status = one_code({each.error.exit_status for each in every if each.error is not None})
    document = {
        "schema_version": _SCHEMA_VERSION,
        "exit_status": status,
        "findings": [_as_json(each) for each in every],
        "stores": {
            each.bucket: each.traits.as_json() for each in every if each.traits is not None
        },
    }
    print(json.dumps(document, indent=2))
    return status


def _print(finding: Finding) -> None:
    subject, error = printable(finding.subject), finding.error
    if error is None:
        print(f"{finding.verdict:<7} {subject}: {printable(finding.detail)}", flush=True)
        return
    print(f"FAILED  {subject}: {printable(str(error))}", flush=True)
    if error.remedy:
        print(f"        {printable(error.remedy)}", flush=True)


def _as_json(finding: Finding) -> dict[str, str]:
    error = finding.error
    found = {
        "verdict": finding.verdict,
        "subject": finding.subject,
        "detail": finding.detail if error is None else str(error),
        "remedy": error.remedy if error is not None else "",
    }
    return {name: printable(text) for name, text in found.items() if text}
