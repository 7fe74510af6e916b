"""From a question about a cost to a verdict. A time is judged by its pairs; what is counted is its own interval."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp, log
from statistics import fmean
from typing import Any

import numpy as np

from pytest_qllm.efficiency import timing
from pytest_qllm.efficiency.bench import Bench, Measured
from pytest_qllm.efficiency.costs import DIMENSION, PARTS, PEAK, Cost, Shape
from pytest_qllm.efficiency.timing import Pair
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.sequential import DEFAULT, Design, Look, looks
from pytest_qllm.verdict.trial import conduct
from pytest_qllm.verdict.verdict import Evidence, Kind, Outcome, Sample, Scale, Verdict, decide, judge

COUNTED = "counted"
"""The interval of a figure without an error of sampling: the figure itself."""
RANGE = "range over fresh processes"
"""The interval of a peak: the smallest and the largest ratio; no confidence is claimed for it."""

UNGATED_PAIRS = 16
"""Pairs of a time for which no tolerance is set."""


@dataclass(frozen=True)
class CostQuestion:
    """What a test asks: does a cost stay below the tolerance, at this shape and batch?

    Attributes:
        tolerance: largest ratio to the baseline's; None where it is measured and not gated.
        pairs: at most, of a time.
    """

    cost: Cost
    shape: Shape
    batch: int
    tolerance: float | None
    pairs: int
    design: Design = DEFAULT

    @property
    def name(self) -> str:
        return self.cost.title(self.batch)


def ask(bench: Bench, model: str, question: CostQuestion, regime: Regime) -> Record:
    """The record of a regime; its verdict is UNGATED without a tolerance.

    Raises:
        QllmError: if something is broken; a figure is never made up.
    """
    if not question.cost.is_timed:
        found = _measured(bench, question, regime, 1)
        verdict = counted(found.pairs, question.tolerance, RANGE if question.cost is PEAK else COUNTED)
        return _record(bench, model, question, regime, found, verdict)
    if question.tolerance is None:
        found = _measured(bench, question, regime, min(question.pairs, UNGATED_PAIRS))
        verdict = timed(found.pairs, None, question.design.alpha)
        return _record(bench, model, question, regime, found, verdict)
    measured: list[Measured] = []

    def judge_at(look: Look) -> Verdict:
        measured.append(_measured(bench, question, regime, look.items))
        return timed(measured[-1].pairs, question.tolerance, look.alpha)

    verdict = conduct(looks(question.pairs, PARTS, question.design, Kind.COST.first_look), judge_at, question.design)
    return _record(bench, model, question, regime, measured[-1], verdict)


def timed(pairs: tuple[Pair, ...], tolerance: float | None, alpha: float) -> Verdict:
    """The verdict on the mean log ratio of the pairs, whose limits are Student's; UNGATED without a tolerance.

    Pairs that differ too much from one another (``timing.SPREAD``) prove nothing.
    """
    baseline, candidate = (_sample([pair[side] for pair in pairs]) for side in (0, 1))
    verdict = judge(baseline, candidate, Kind.COST, 1.0 if tolerance is None else tolerance, alpha=alpha)
    found = timing.spread(pairs)
    disturbed = f"pairs of the same work differ by a factor of {exp(found):.2g}: time it on a quieter machine"
    reason = disturbed if found > timing.SPREAD else verdict.reason
    if tolerance is None:
        assert verdict.evidence is not None
        evidence = replace(verdict.evidence, p_pass=None, p_fail=None, fixed=None, planned=len(pairs))
        return Verdict(Outcome.UNGATED, 1.0, evidence, reason)
    return replace(verdict, outcome=Outcome.INCONCLUSIVE, reason=reason) if found > timing.SPREAD else verdict


def counted(pairs: tuple[Pair, ...], tolerance: float | None, interval: str) -> Verdict:
    """The verdict on figures that have no error of sampling: by the figure, or by the range of several.

    Its p-values are those of certainty, 0 or 1, for what was counted, and none for a range.
    """
    ratios = [after / before for before, after in pairs]
    evidence = Evidence(
        Scale.RATIO,
        _middle([before for before, _ in pairs]),
        _middle([after for _, after in pairs]),
        _middle(ratios),
        min(ratios),
        max(ratios),
        len(pairs),
        None,
        None,
        interval,
        planned=len(pairs),
        units=len(pairs),
    )
    if tolerance is None:
        return Verdict(Outcome.UNGATED, 1.0, evidence)
    if interval == COUNTED:
        evidence = replace(evidence, p_pass=float(ratios[0] >= tolerance), p_fail=float(ratios[0] <= tolerance))
    return Verdict(decide(evidence, tolerance), tolerance, evidence)


def _sample(seconds: list[float]) -> Sample:
    count = len(seconds)
    ids = tuple(f"pair {number}" for number in range(count))
    return Sample(ids, np.array(seconds), np.ones(count), np.zeros(count))


def _middle(values: list[float]) -> float:
    """The geometric mean."""
    return exp(fmean(map(log, values))) if len(set(values)) > 1 else values[0]


def _measured(bench: Bench, question: CostQuestion, regime: Regime, count: int) -> Measured:
    return bench.measure(regime, question.cost, question.shape, question.batch, count)


def _record(
    bench: Bench, model: str, question: CostQuestion, regime: Regime, found: Measured, verdict: Verdict
) -> Record:
    evidence = verdict.evidence
    assert evidence is not None
    size = bench.workshop.size(regime, make=False)
    about: dict[str, Any] = {
        **found.identity,
        "baseline_engine": found.engines[0],
        "candidate_engine": found.engines[1],
        "others": found.others,
        "pairs": [list(pair) for pair in found.pairs],
    }
    record = Record(
        model=model,
        regime=regime.name,
        method=regime.method,
        bits=regime.judged_bits,
        size=None if size is None else size.to_json(),
        benchmark=question.name,
        dimension=DIMENSION,
        metric=question.cost.unit,
        scale=str(evidence.scale),
        n=evidence.n,
        baseline=evidence.baseline,
        tolerance=question.tolerance,
        provenance=about,
    ).decided(verdict)
    # What is counted has no error of sampling, and so none at a look.
    return record if question.cost.is_timed else replace(record, alphas=None)
