"""May a regime ship? What a report says as a whole: which tests fail, how bad they are, and each regime's answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pytest_qllm.regimes.regime import BASELINE
from pytest_qllm.report.record import Record
from pytest_qllm.report.style import MARKS, badness

if TYPE_CHECKING:
    from pytest_qllm.report.reader import Report

INTERRUPTED = (2, 3)
"""pytest's exit statuses of a session that ended before all of its tests had run."""


class Ships(StrEnum):
    """Whether a regime may ship."""

    YES = "yes"
    NO = "no"
    UNDECIDED = "undecided"


@dataclass(frozen=True)
class Answer:
    """A regime's answer, and the records behind it: those that speak against it, or leave it open."""

    regime: str
    ships: Ships
    against: tuple[Record, ...]
    why: str


def fails(record: Record, inconclusive: str = "fail") -> bool:
    """Whether the record's test fails; ``inconclusive`` as the option --qllm-inconclusive."""
    if record.standing == "xfail":
        return False
    if record.has_slid or record.standing in ("FAIL", "worse", "mended"):
        return True
    return record.standing == "INCONCLUSIVE" and inconclusive == "fail"


def severity(record: Record) -> tuple[int, float]:
    """A key that grows with how bad a verdict is: as ``badness``, and a slide since the last release is a FAIL."""
    kind, loss = badness(record)
    if record.has_slid and record.standing != "xfail":
        kind = max(kind, len(MARKS) - list(MARKS).index("FAIL"))
    return kind, loss


def worst_first(records: Iterable[Record]) -> list[Record]:
    """In an order that does not depend on the given one, but for equal regime, benchmark and metric."""
    named = sorted(records, key=lambda record: (record.benchmark, record.metric, record.regime))
    return sorted(named, key=severity, reverse=True)


def answers(report: Report) -> list[Answer]:
    """One for each regime that was asked for or spoken of, in the report's order."""
    own: dict[str, list[Record]] = defaultdict(list)
    for record in report.verdicts:
        own[record.regime].append(record)
    return [_answer(report, regime, own[regime]) for regime in report.regimes if regime != BASELINE]


def failed(report: Report) -> bool:
    """Whether the run fails as a whole, as pytest's exit status tells: nothing passes that did not run to its end."""
    return (
        bool(report.errors)
        or report.exitstatus not in (None, 0)
        or any(not kernel.agrees for kernel in report.kernels)
        or any(fails(record, _inconclusive(report)) for record in report.verdicts)
    )


def failures(report: Report) -> list[Record]:
    """The verdicts whose tests fail, the worst first."""
    return worst_first(record for record in report.verdicts if fails(record, _inconclusive(report)))


def _answer(report: Report, regime: str, own: list[Record]) -> Answer:
    lost = worst_first(record for record in own if fails(record, "pass"))
    broken = [kernel for kernel in report.kernels if kernel.regime == regime and not kernel.agrees]
    errors = [error for error in report.errors if error.regime == regime]
    if lost or broken or errors:
        parts = [
            _count(len(lost), "test fails", "tests fail"),
            "its kernel disagrees with its weights" if broken else "",
            _count(len(errors), "test ended in an error", "tests ended in an error"),
        ]
        return Answer(regime, Ships.NO, tuple(lost), ", ".join(part for part in parts if part))
    undecided = worst_first(record for record in own if record.standing == "INCONCLUSIVE")
    if undecided:
        return Answer(regime, Ships.UNDECIDED, tuple(undecided), f"{len(undecided)} of {len(own)} tests undecided")
    if report.exitstatus in INTERRUPTED:
        return Answer(regime, Ships.UNDECIDED, (), "the session was interrupted")
    judged = [record for record in own if record.outcome not in ("NO_SIGNAL", "UNGATED")]
    if not judged:
        return Answer(regime, Ships.UNDECIDED, (), _unjudged(own))
    accepted = sum(record.standing == "xfail" for record in judged)
    known = f", {_count(accepted, 'known loss accepted', 'known losses accepted')}" if accepted else ""
    return Answer(regime, Ships.YES, (), f"{_count(len(judged) - accepted, 'test passes', 'tests pass')}{known}")


def _unjudged(own: list[Record]) -> str:
    if not own:
        return "no test has judged it"
    return "no test has a signal" if any(record.outcome == "NO_SIGNAL" for record in own) else "no test has a tolerance"


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}" if count else ""


def _inconclusive(report: Report) -> str:
    return str(report.settings.get("inconclusive", "fail"))
