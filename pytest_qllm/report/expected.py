"""What is said of a loss that was expected: the reason of an xfail, and the lines of a failed test."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pytest_qllm.verdict.expected import MENDED, Acceptance, Standing

if TYPE_CHECKING:
    from pytest_qllm.report.record import Record


def headline(record: Record, expected: Acceptance) -> str:
    """Why the test fails although the loss was expected, or ""."""
    if expected.outcome == Standing.WORSE:
        return f"worse than the bound of {record.amount(expected.bound)}"
    return MENDED if expected.outcome == Standing.MENDED else ""


def line(record: Record, expected: Acceptance) -> str:
    """Verdict, figures and reason in one line: what pytest shows of an xfail."""
    figures = (
        f"{record.outcome} {record.change(record.effect)}{'' if record.is_ratio or record.is_relative else ' points'}"
    )
    if record.ci is not None:
        figures += " between {} and {}".format(*map(record.change, record.ci))
    if expected.outcome == Standing.XPASS:
        return f"{figures}: {MENDED} ({expected.reason})"
    return f"{figures}, {_noted(record, expected)}: {expected.reason}"


def lines(record: Record, expected: Acceptance) -> Iterator[tuple[str, str]]:
    """Rows of a test's message."""
    yield "expected", expected.reason
    yield "bound", _noted(record, expected)


def _noted(record: Record, expected: Acceptance) -> str:
    return _bound(record, expected) + (f" ({expected.note})" if expected.note else "")


def _bound(record: Record, expected: Acceptance) -> str:
    accepted = f"the accepted {record.amount(expected.bound)}"
    if expected.n is None or expected.ci is None:
        return accepted
    where = ""
    if expected.n != record.n:  # the test went on for the bound
        where = " (between {} and {} on {} items)".format(*map(record.change, expected.ci), expected.n)
    if expected.within is None:
        return f"neither proven smaller nor larger than {accepted}{where}"
    return f"proven {'smaller' if expected.within else 'larger'} than {accepted}{where}"
