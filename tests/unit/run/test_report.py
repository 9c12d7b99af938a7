"""Counts, and the exit status that they amount to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from s32s_agent.errors import (
    AccessDenied,
    AgentError,
    Cancelled,
    ConfigError,
    DeletesRefused,
    DirectoryError,
    DiskFull,
    EntryError,
    EntryUnreadable,
    HookError,
    IntegrityError,
    Interrupted,
    ListingInconsistent,
    LockHeld,
    MapError,
    RunTimedOut,
    SourceChanged,
    StoreUnavailable,
    UsageError,
)
from s32s_agent.model import (
    Check,
    Entry,
    Location,
    Mapping,
    Outcome,
    Plan,
    Problem,
    Status,
    Why,
    Withheld,
)
from s32s_agent.monitoring.last_run import MAX_ERRORS, MappingResult, RunError
from s32s_agent.run.report import MappingReport, RunReport, one_code

MAPPING = Mapping("site", Location("bucket", "p"), "/srv/site")
TABLE = [
    (UsageError("x"), 2, "usage"),
    (DeletesRefused("x"), 3, "refused"),
    (ListingInconsistent("x"), 3, "refused"),
    (MapError("m.json", ["x"]), 65, "dataerr"),
    (StoreUnavailable("x"), 69, "unavailable"),
    (DirectoryError("x"), 73, "cantcreat"),
    (DiskFull("x"), 73, "cantcreat"),
    (LockHeld("x"), 75, "tempfail"),
    (AccessDenied("x"), 77, "noperm"),
    (ConfigError("config.yaml", ["x"]), 78, "config"),
    (EntryError("x"), 1, "partial"),
    (IntegrityError("x"), 1, "partial"),
    (SourceChanged("x"), 1, "partial"),
    (EntryUnreadable("x"), 1, "partial"),
    (AgentError("x"), 1, "partial"),
]
CANCELLATIONS = [
    (Cancelled("x"), 1, "stopped"),
    (RunTimedOut("x"), 1, "timeout"),
    (Interrupted(2), 130, "stopped"),
    (Interrupted(15), 143, "stopped"),
]


def report(*errors: AgentError) -> MappingReport:
    """Make the report of a mapping in which these entries failed."""
    made = MappingReport.of(MAPPING)
    for number, error in enumerate(errors):
        made.add(Outcome(Status.FAILED, f"k{number}", error=error))
    return made


@pytest.mark.parametrize(("error", "code", "cause"), TABLE)
def test_every_error_has_its_exit_status(error: AgentError, code: int, cause: str) -> None:
    """One cause alone gives its own status, whether it ended the run or a mapping."""
    mapping = report()
    mapping.fail(error)
    ended, whole = RunReport([mapping]), RunReport([], error)

    assert (mapping.exit_code, mapping.cause) == (code, cause)
    assert (ended.exit_code, ended.cause) == (code, cause)
    assert (whole.exit_code, whole.cause) == (code, cause)


@pytest.mark.parametrize(("cancellation", "code", "cause"), CANCELLATIONS)
def test_every_cancellation_has_its_exit_status(
    cancellation: Cancelled, code: int, cause: str
) -> None:
    """A cancellation ends the run, never a mapping or an entry, and no handler of exceptions sees it."""
    run = RunReport([], cancellation)

    assert (run.exit_code, run.cause) == (code, cause)
    assert run.errors()[0].remedy
    assert not isinstance(cancellation, Exception)


def test_an_error_as_a_log_event() -> None:
    """A log line names what happened, its cause, and what to do where there is something."""

    assert AgentError("torn").fields() == {"error": "torn", "cause": "partial"}
    assert "`ignore`" in EntryError("torn").fields()["remedy"]
    assert EntryError("torn", remedy="wait").fields()["remedy"] == "wait"


def test_in_sync() -> None:
    """Nothing that failed is status 0."""
    mapping = report()
    mapping.add_plan(Plan(unchanged=3))

    assert (mapping.exit_code, mapping.cause) == (0, "")
    assert RunReport([mapping, report()]).exit_code == 0
    assert RunReport([mapping, report()]).cause == ""
    assert one_code(set()) == 0


@pytest.mark.parametrize(
    ("errors", "code", "cause"),
    [
        ((StoreUnavailable("x"), StoreUnavailable("y")), 69, "unavailable"),
        ((DirectoryError("x"), DiskFull("y")), 73, "cantcreat"),
        ((DeletesRefused("x"), ListingInconsistent("y")), 3, "refused"),
        ((AccessDenied("x"), StoreUnavailable("y")), 1, "partial"),
        ((DeletesRefused("x"), EntryError("y")), 1, "partial"),
    ],
)
def test_failures_that_share_a_cause_share_its_status(
    errors: tuple[AgentError, AgentError], code: int, cause: str
) -> None:
    """Within a mapping and over mappings: one cause, its status; several, 1."""
    together = report(*errors)
    apart = RunReport([report(errors[0]), report(errors[1]), report()])

    assert (together.exit_code, together.cause) == (code, cause)
    assert (apart.exit_code, apart.cause) == (code, cause)


def test_what_ended_the_run_counts_as_a_cause() -> None:
    """A run that ended early after another failure is partial."""
    run = RunReport([report(AccessDenied("x"))], RunTimedOut("late"))

    assert (run.exit_code, run.cause) == (1, "partial")


def test_a_signal_comes_before_all_other_causes() -> None:
    """Whoever sent the signal sees it in the exit status."""
    run = RunReport([report(AccessDenied("x"))], Interrupted(15))

    assert (run.exit_code, run.cause) == (143, "stopped")


def test_withheld_deletes_are_status_3() -> None:
    """What a guard holds back, in the plan or later, is `refused`."""
    planned, later = report(), report()
    planned.add_plan(Plan(withheld=(Withheld(7, "too many"),)))
    later.add_withheld(Withheld(2, "one exists"))

    assert (planned.exit_code, planned.withheld) == (3, 7)
    assert (later.exit_code, later.withheld) == (3, 2)
    assert planned.errors[0].error == "7 deletes withheld: too many"


def test_skipped_entries_are_partial_but_for_the_expected_ones() -> None:
    """A name that cannot be mirrored is a failure; what the settings ask for is none."""
    skipped = Problem("a//b", "an empty part")
    expected = Problem("link", "links are skipped", expected=True)
    one, other = report(), report()
    one.add_plan(Plan(skipped=(skipped, expected)))
    other.add_plan(Plan(skipped=(expected,)))

    assert (one.exit_code, one.skipped) == (1, 2)
    assert (other.exit_code, other.skipped) == (0, 1)


def test_counts() -> None:
    """Each outcome is counted once, adopted entries as unchanged, and bytes only of copies."""
    mapping = report()
    entry = Entry("k", 5)
    mapping.add_plan(Plan(unchanged=2, adopted=(Check(entry, entry, Why.ETAG),)))
    mapping.add(Outcome(Status.COPIED, "a", 10))
    mapping.add(Outcome(Status.COPIED, "b", 20))
    mapping.add(Outcome(Status.DELETED, "c", 99))
    mapping.add(Outcome(Status.SKIPPED, "d", 99, error=EntryUnreadable("archived")))
    mapping.add(Outcome(Status.FAILED, "e", 99, error=IntegrityError("torn")))
    mapping.seconds = 1.23456

    assert mapping.counts() == {
        "copied": 2,
        "deleted": 1,
        "unchanged": 3,
        "skipped": 1,
        "failed": 1,
        "bytes": 30,
    }
    assert mapping.result() == MappingResult(
        name="site",
        s3="bucket/p",
        directory="/srv/site",
        exit_code=1,
        cause="partial",
        copied=2,
        deleted=1,
        unchanged=3,
        skipped=1,
        failed=1,
        bytes=30,
        seconds=1.235,
    )


def test_totals_add_up_the_mappings() -> None:
    """The totals of a run are the sums of its mappings, with how many of them failed."""
    good, bad = report(), report(EntryError("x"))
    good.add(Outcome(Status.COPIED, "a", 10))
    bad.add(Outcome(Status.COPIED, "b", 20))

    assert RunReport([good, bad]).totals() == {
        "mappings": 2,
        "failed_mappings": 1,
        "copied": 2,
        "deleted": 0,
        "unchanged": 0,
        "skipped": 0,
        "failed": 1,
        "bytes": 30,
    }


def test_the_first_errors_are_kept_and_no_more() -> None:
    """A million failures do not fill the report; what ended the run comes first."""
    many = report(*(EntryError(f"e{number}") for number in range(MAX_ERRORS + 9)))
    run = RunReport([many, report(EntryError("later"))], RunTimedOut("late", remedy="wait"))
    errors = run.errors()

    assert many.failed == MAX_ERRORS + 9
    assert len(many.errors) == MAX_ERRORS
    assert len(errors) == MAX_ERRORS
    assert errors[0] == RunError("", "", "late", "wait")
    assert errors[1] == RunError("site", "k0", "e0", EntryError.remedy)


def test_the_first_reason_names_what_it_is_about() -> None:
    """One line says mapping, key and error, as far as there are any."""
    skipped = report(EntryError("no file can have this name"))

    assert RunReport([skipped]).first_reason() == (
        'mapping "site": k0: no file can have this name'
    )
    assert RunReport([skipped], RunTimedOut("late")).first_reason() == "late"
    assert RunReport([MappingReport("site")]).first_reason() == ""


def test_what_ended_a_mapping_is_in_its_result() -> None:
    """The error that ended a mapping is told with its remedy."""
    mapping = MappingReport.of(replace(MAPPING, location=Location("bucket")))
    mapping.fail(StoreUnavailable("no answer"))

    assert mapping.result().error == "no answer"
    assert mapping.result().s3 == "bucket"
    assert "s3.endpoint_url" in RunReport([mapping]).errors()[0].remedy


def test_a_foreign_exception_counts_as_partial() -> None:
    """An outcome may hold an exception that is none of ours; it is counted all the same."""
    mapping = report()
    mapping.add(Outcome(Status.FAILED, "k", error=ValueError("odd")))

    assert (mapping.exit_code, mapping.errors[0].error) == (1, "odd")


def test_deletes_withheld_because_of_a_failure_hide_no_cause() -> None:
    """Copies that were denied give 77, though their deletes were withheld for it."""
    denied = report()
    denied.add(Outcome(Status.FAILED, "a", error=AccessDenied("no")))
    denied.add_withheld(Withheld(2, "1 entries could not be copied", is_consequence=True))

    assert (denied.exit_code, denied.withheld) == (77, 2)


def test_a_failed_hook_fails_a_run_that_is_in_sync() -> None:
    """A hook that fails ends no run, and still its error is the first, and its status the run's."""
    hook = HookError("hooks.after: failed", remedy="mend it")
    report = RunReport([MappingReport("m")], other_errors=[hook])

    assert (report.exit_code, report.cause) == (1, "hook")
    assert report.errors() == (RunError("", "", "hooks.after: failed", "mend it"),)


def test_a_signal_after_a_failure_hides_neither() -> None:
    """The signal gives the status, the failure before it stays in the list, and none of them is there twice."""
    report, failure, signal = RunReport(), StoreUnavailable("no answer"), Interrupted(15)
    for error in (failure, failure, DirectoryError("later"), signal, signal):
        report.fail(error)

    assert report.exit_code == 143
    assert [each.error for each in report.errors()] == ["stopped by signal 15", "no answer"]


def test_a_bug_is_never_reported_as_anything_else() -> None:
    """Whatever else went wrong before it."""
    report = RunReport(crashed=True)
    report.fail(StoreUnavailable("no answer"))

    assert (report.exit_code, report.cause) == (70, "software")
