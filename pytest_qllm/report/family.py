"""What all verdicts of a session say together: adjusted p-values, the claim that holds, benchmarks pooled."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pytest_qllm.report.record import Record
from pytest_qllm.verdict.multiplicity import Stratum, all_pass_p_value, holm, pool
from pytest_qllm.verdict.paired import ALPHA
from pytest_qllm.verdict.verdict import Outcome, Scale


def adjusted(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm-adjusted p-values in the given order; None where there is none.

    A verdict without one was given by the baseline alone (NO_SIGNAL), or by a tool of limits only: it is not claimed.
    """
    values = iter(holm([value for value in p_values if value is not None]))
    return [None if value is None else next(values) for value in p_values]


@dataclass(frozen=True)
class Together:
    """What the verdicts of a session say together.

    Attributes:
        alpha: error at which failures are claimed together.
        judged: verdicts without NO_SIGNAL and UNGATED.
        failed: FAIL among them; ``failed_holm`` of these hold together with that error.
        p_all_pass: p-value of "every test passes" is wrong; None if a verdict has none.
    """

    alpha: float
    judged: int
    failed: int
    failed_holm: int
    p_all_pass: float | None


@dataclass(frozen=True)
class PooledRow:
    """The mean effect of a regime over a dimension's benchmarks, each with the same weight; proportions."""

    regime: str
    dimension: str
    benchmarks: Sequence[str]
    effect: float
    ci: Sequence[float]
    alphas: Sequence[float]

    def line(self) -> str:
        low, high = (f"{100 * value:+.1f}" for value in self.ci)
        return (
            f"{self.dimension} of {self.regime}, {len(self.benchmarks)} benchmarks pooled: {100 * self.effect:+.1f} "
            f"points, between {low} and {high}"
        )


def pooled(records: Sequence[Record]) -> list[PooledRow]:
    """One row for each regime and dimension of which at least two accuracies were judged, all at a fixed n.

    A number of items is fixed if the candidate was judged once, at the last look. Where one test of the dimension could
    stop early there is no row: which benchmarks stop depends on their effects. Nor is there one where a benchmark was
    judged twice (the same items are no independent ones) or where the limits have different errors. Where a test of its
    own judged the dimension, that is the row.
    """
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    judged = {(record.regime, record.dimension) for record in records if record.pooled is not None}
    for record in records:
        if (record.regime, record.dimension) in judged:
            continue
        if record.ci is not None and record.scale == Scale.DIFFERENCE and record.broken is not None:
            groups[record.regime, record.dimension].append(record)
    return [row for _, group in sorted(groups.items()) if (row := _row(group)) is not None]


def _row(group: Sequence[Record]) -> PooledRow | None:
    names = sorted(record.benchmark for record in group)
    alphas = {tuple(record.alphas or ()) for record in group}
    if len(names) < 2 or len(set(names)) < len(names) or len(alphas) > 1:
        return None
    strata = []
    for record in group:
        low, high = record.ci or (None, None)
        if record.looks != 1 or record.n != record.planned or record.effect is None or low is None or high is None:
            return None
        strata.append(Stratum(record.effect, low, high))
    found = pool(strata)
    first = group[0]
    limits = (found.low, found.high)
    return PooledRow(first.regime, first.dimension, names, found.effect, limits, alphas.pop())


def together(records: Sequence[Record], alpha: float = ALPHA) -> Together:
    """The session's figures.

    Args:
        records: verdicts; baselines are passed over.
        alpha: error that any of the claimed failures is wrong.
    """
    judged = [record for record in records if record.outcome not in (None, Outcome.NO_SIGNAL, Outcome.UNGATED)]
    failed = [record.outcome == Outcome.FAIL for record in judged]
    claims = adjusted([record.p_fail for record in judged])
    hold = sum(fails and p is not None and p <= alpha for fails, p in zip(failed, claims, strict=True))
    passes = [record.p_pass for record in judged if record.p_pass is not None]
    all_pass = all_pass_p_value(passes) if passes and len(passes) == len(judged) else None
    return Together(alpha, len(judged), sum(failed), hold, all_pass)


def lines(records: Sequence[Record], alpha: float = ALPHA) -> Iterator[str]:
    """What the summary says of the session's error: only where there is more than one verdict, and a claim."""
    found = together(records, alpha)
    judged, failed = found.judged, found.failed
    outcomes = {record.outcome for record in records if record.outcome not in (None, Outcome.UNGATED)}
    if judged > 1 and failed and any(record.p_fail is not None for record in records):
        yield (
            f"of {judged} tests {failed} FAIL; {found.failed_holm} of them hold together at {100 * alpha:.3g} % (Holm)"
        )
    if judged > 1 and outcomes <= {Outcome.PASS, Outcome.NO_SIGNAL}:
        every = "every test passes" if Outcome.NO_SIGNAL not in outcomes else "every test with a signal passes"
        yield f"{every}: needs no correction (intersection-union)"
    for row in pooled(records):
        yield row.line()
