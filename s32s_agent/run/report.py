"""Count what became of each action, and turn the counts into an exit status. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from s32s_agent.errors import (
    AgentError,
    Cancelled,
    DeletesRefused,
    EntryError,
    Interrupted,
    SoftwareError,
)
from s32s_agent.model import Mapping, Outcome, Plan, Status, Withheld
from s32s_agent.monitoring.last_run import MAX_ERRORS, MappingResult, RunError


@dataclass(slots=True)
class MappingReport:
    """What a run did to one mapping; grows while it runs."""

    name: str
    s3: str = ""
    directory: str = ""
    copied: int = 0
    deleted: int = 0
    unchanged: int = 0
    skipped: int = 0
    failed: int = 0
    withheld: int = 0
    bytes: int = 0
    seconds: float = 0.0
    snapshot: str = ""
    channel: str = ""
    pinned: str = ""
    error: AgentError | None = None
    """What ended the mapping before its work was done."""
    codes: set[int] = field(default_factory=set)
    causes: set[str] = field(default_factory=set)
    errors: list[RunError] = field(default_factory=list)

    @classmethod
    def of(cls, mapping: Mapping) -> MappingReport:
        """Return the report of a mapping before anything is done."""
        return cls(mapping.name, str(mapping.location), mapping.directory)

    def add_plan(self, plan: Plan) -> None:
        """Count what is settled before the first action."""
        self.unchanged += plan.unchanged + len(plan.adopted)
        for problem in plan.skipped:
            self.skipped += 1
            if not problem.expected:
                self._blame(EntryError(problem.reason), problem.key)
        for withheld in plan.withheld:
            self.add_withheld(withheld)

    def add_withheld(self, withheld: Withheld) -> None:
        """Count deletes that a guard held back; a consequence of failures adds no cause of its own."""
        self.withheld += withheld.count
        if not withheld.is_consequence:
            self._blame(
                DeletesRefused(f"{withheld.count} deletes withheld: {withheld.reason}"), ""
            )

    def add(self, outcome: Outcome) -> None:
        """Count what became of an action."""
        match outcome.status:
            case Status.COPIED:
                self.copied += 1
                self.bytes += outcome.size
            case Status.DELETED:
                self.deleted += 1
            case Status.SKIPPED:
                self.skipped += 1
            case Status.FAILED:  # pragma: no branch - there are no others
                self.failed += 1
        if outcome.error is not None:
            self._blame(outcome.error, outcome.key)

    def fail(self, error: AgentError) -> None:
        """Note what ended the mapping."""
        self.error = error
        self._blame(error, "")

    def _blame(self, error: Exception, key: str) -> None:
        known = error if isinstance(error, AgentError) else AgentError(str(error))
        self.codes.add(known.exit_status)
        self.causes.add(known.cause)
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(RunError(self.name, key, str(error), known.remedy))

    @property
    def exit_code(self) -> int:
        """The status that this mapping alone would give."""
        return one_code(self.codes)

    @property
    def cause(self) -> str:
        """The name of that status; "" when the mapping is in sync."""
        return (
            next(iter(self.causes)) if len(self.causes) == 1 else "partial" * bool(self.causes)
        )

    def counts(self) -> dict[str, int]:
        """Return the counters by the names that log events use."""
        names = ("copied", "deleted", "unchanged", "skipped", "failed", "bytes")
        return {name: getattr(self, name) for name in names}

    def result(self) -> MappingResult:
        """Return the report as it stands in `last_run.json`."""
        return MappingResult(
            name=self.name,
            s3=self.s3,
            directory=self.directory,
            exit_code=self.exit_code,
            cause=self.cause,
            error=str(self.error) if self.error else "",
            **self.counts(),
            withheld=self.withheld,
            seconds=round(self.seconds, 3),
            snapshot=self.snapshot,
            channel=self.channel,
            pinned=self.pinned,
        )


def one_code(codes: set[int]) -> int:
    """Return the exit status of several failures: their own when they agree, else 1."""
    if not codes:
        return 0
    return next(iter(codes)) if len(codes) == 1 else 1


@dataclass(slots=True)
class RunReport:
    """What a run did; grows while it runs."""

    mappings: list[MappingReport] = field(default_factory=list)
    error: AgentError | Cancelled | None = None
    """What ended the whole run."""
    other_errors: list[AgentError | Cancelled] = field(default_factory=list)
    """What else went wrong outside the mappings: hooks that failed without ending the run."""
    crashed: bool = False
    """A bug ended the whole run."""

    def fail(self, error: AgentError | Cancelled) -> None:
        """Note what ended the run: the first error stays, unless a cancellation follows it."""
        if self.error is None or self.error is error:
            self.error = error
        elif isinstance(error, Cancelled):
            self.other_errors.append(self.error)
            self.error = error

    @property
    def exit_code(self) -> int:
        """The status to exit with: a bug's, then a signal's comes before all others."""
        if self.crashed:
            return SoftwareError.exit_status
        if isinstance(self.error, Interrupted):
            return self.error.exit_status
        codes = set().union(*(mapping.codes for mapping in self.mappings))
        return one_code(codes | {error.exit_status for error in self._of_the_run()})

    @property
    def cause(self) -> str:
        """The name of that status; "" when everything is in sync."""
        if self.crashed:
            return SoftwareError.cause
        if isinstance(self.error, Interrupted):
            return self.error.cause
        causes = set().union(*(mapping.causes for mapping in self.mappings))
        causes |= {error.cause for error in self._of_the_run()}
        return next(iter(causes)) if len(causes) == 1 else "partial" * bool(causes)

    def totals(self) -> dict[str, int]:
        """Add up the mappings, by the names that `run.finished` uses."""
        totals = dict.fromkeys(MappingReport("").counts(), 0)
        for mapping in self.mappings:
            for name, count in mapping.counts().items():
                totals[name] += count
        failed = sum(1 for mapping in self.mappings if mapping.exit_code)
        return {"mappings": len(self.mappings), "failed_mappings": failed, **totals}

    def _of_the_run(self) -> list[AgentError | Cancelled]:
        return [*([self.error] if self.error else []), *self.other_errors]

    def first_reason(self) -> str:
        """Return the first of the errors in one line, with its mapping and key; "" when there are none."""
        errors = self.errors()
        if not errors:
            return ""
        first = errors[0]
        mapping = f'mapping "{first.mapping}"' if first.mapping else ""
        return ": ".join(filter(None, (mapping, first.key, first.error)))

    def errors(self) -> tuple[RunError, ...]:
        """Return the first errors, those of the whole run before all; the log has every error."""
        first = (RunError("", "", str(error), error.remedy) for error in self._of_the_run())
        of_mappings = (error for mapping in self.mappings for error in mapping.errors)
        return (*first, *of_mappings)[:MAX_ERRORS]
