"""What changed between two releases, from their reports alone: item by item where both have them, else by verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np

from pytest_qllm.against import Previous
from pytest_qllm.benchmarks.benchmark import kind_of_metric
from pytest_qllm.errors import QllmError
from pytest_qllm.report.items import BASELINE
from pytest_qllm.report.trend import Change, Trend
from pytest_qllm.verdict.verdict import Outcome, Sample

if TYPE_CHECKING:
    from pytest_qllm.report.reader import Report
    from pytest_qllm.report.record import Record
    from pytest_qllm.report.wire import Table


class Direction(StrEnum):
    """What became of a regime on a benchmark since the old release."""

    LOST = "lost"
    """A loss beyond the tolerance is proven, and not accepted; without items: FAIL now and not then."""
    WORSE = "worse"
    """A loss is proven, not one beyond the tolerance, or one that is accepted; without items: no PASS any more."""
    BETTER = "better"
    """A gain is proven; without items: PASS now and not then."""
    SAME = "same"
    """Neither is proven."""
    NEW = "new"
    """The old release has no such verdict."""
    GONE = "gone"
    """The new release has no such verdict."""


@dataclass(frozen=True)
class Row:
    """One regime, or the baseline, on one benchmark, then and now.

    Attributes:
        then, now: records of the old and the new release; None where it has none.
        trend: the paired comparison; None where only the verdicts are compared.
        why: why only the verdicts are compared, or nothing.
    """

    direction: Direction
    then: Record | None
    now: Record | None
    trend: Trend | None = None
    why: str = ""

    @property
    def record(self) -> Record:
        record = self.now or self.then
        assert record is not None
        return record

    @property
    def change(self) -> Change | None:
        if self.trend is None:
            return None
        return self.trend.baseline if self.record.outcome is None else self.trend.regime

    def to_json(self) -> dict[str, Any]:
        return {
            "regime": self.record.regime,
            "benchmark": self.record.benchmark,
            "metric": self.record.metric,
            "direction": str(self.direction),
            "then": None if self.then is None else self.then.standing,
            "now": None if self.now is None else self.now.standing,
            "why": self.why,
            "against": None if self.trend is None else self.trend.to_json(),
        }


def compare(old: Report, new: Report) -> list[Row]:
    """Every baseline and verdict of both reports, what got worse first.

    Items are compared by the test's tolerance of today, each limit at the new report's error; the baseline has none.
    """
    why = _lacking(old, new)
    previous = None
    if not why:
        entries = [asdict(table) for table in old.items]
        previous = Previous(str(old.path), old.to_json(), entries)
    then = {_place(record): record for record in old.records}
    now = {_place(record): record for record in new.records}
    rows = [_row(then.get(place), record, new, previous, why) for place, record in now.items()]
    rows += [Row(Direction.GONE, record, None) for place, record in then.items() if place not in now]
    order = list(Direction)
    return sorted(rows, key=lambda row: (order.index(row.direction), _effect(row), *_place(row.record)))


def _place(record: Record) -> tuple[str, str, str]:
    return record.benchmark, record.regime, record.metric


def _effect(row: Row) -> float:
    return 0.0 if row.change is None else -row.change.effect if row.record.is_ratio else row.change.effect


def _lacking(old: Report, new: Report) -> str:
    """Why items cannot be compared at all."""
    for report in (old, new):
        try:
            if not report.items:
                return f"{report.path} has no scores of single items"
        except QllmError as error:
            return str(error)
    return ""


def _row(then: Record | None, now: Record, new: Report, previous: Previous | None, why: str) -> Row:
    if then is None:
        return Row(Direction.NEW, None, now)
    pair = None if previous is None else _samples(new, now)
    if previous is None or pair is None:
        return Row(_by_verdict(then, now), then, now, None, why or "its candidate was not measured")
    baseline, candidate = pair
    kind = kind_of_metric(now.metric)
    trend = previous.compare(now, kind, baseline, candidate, new.alpha)
    if candidate is not None and trend.verdict != Outcome.FAIL and kind.has_chance and not _knows_chance(new, now):
        # Whether the items could tell a loss depends on what chance scores; a loss that is proven does not.
        trend = replace(trend, verdict=None, reason="no verdict: what chance scores was not kept")
    change = trend.baseline if now.outcome is None else trend.regime
    if change is None:
        return Row(_by_verdict(then, now), then, now, None, trend.reason)
    return Row(_direction(trend, change, now), then, now, trend)


def _direction(trend: Trend, change: Change, record: Record) -> Direction:
    low, high = change.ci
    if record.is_ratio:
        worse, better = low is not None and low > 1, high is not None and high < 1
    else:
        worse, better = high is not None and high < 0, low is not None and low > 0
    if trend.verdict == Outcome.FAIL and record.standing != "xfail":
        return Direction.LOST
    return Direction.WORSE if worse else Direction.BETTER if better else Direction.SAME


def _by_verdict(then: Record, now: Record) -> Direction:
    before, after = then.outcome, now.outcome
    if before == after:
        return Direction.SAME
    if after == Outcome.FAIL:
        return Direction.WORSE if now.standing == "xfail" else Direction.LOST
    if before == Outcome.PASS:
        return Direction.WORSE
    return Direction.BETTER if after == Outcome.PASS else Direction.SAME


def _knows_chance(report: Report, record: Record) -> bool:
    tables = [one for one in report.items if (one.benchmark, one.metric) == (record.benchmark, record.metric)]
    return all(table.chance is not None for table in tables)


def _samples(report: Report, record: Record) -> tuple[Sample, Sample | None] | None:
    """Today's scores of the baseline and of a regime on the same items; None where the regime was not measured."""
    tables = [one for one in report.items if (one.benchmark, one.metric) == (record.benchmark, record.metric)]
    for table in tables:
        regimes = (BASELINE, record.regime)
        if all(regime in table.scores for regime in regimes):
            places = list(_measured(table, regimes))
            baseline = _sample(table, BASELINE, places)
            return baseline, None if record.outcome is None else _sample(table, record.regime, places)
    return None


def _measured(table: Table, regimes: tuple[str, str]) -> Iterator[int]:
    """Places of the items that both have."""
    columns = [table.scores[regime] for regime in regimes]
    for at in range(min(map(len, columns))):
        if all(column[at] is not None for column in columns):
            yield at


def _sample(table: Table, regime: str, places: list[int]) -> Sample:
    def column(values: tuple[float, ...] | None, otherwise: float) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([otherwise if values is None else values[at] for at in places], dtype=np.float64)

    scores = np.array([table.scores[regime][at] for at in places], dtype=np.float64)
    clusters = None if table.clusters is None else tuple(table.clusters[at] for at in places)
    ids = tuple(table.items[at] for at in places)
    return Sample(ids, scores, column(table.weights, 1.0), column(table.chance, 0.0), clusters)
