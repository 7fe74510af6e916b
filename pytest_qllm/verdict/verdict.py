"""The verdict: is the loss proven smaller than the tolerance, proven larger, or neither?"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import exp, isfinite, log, log1p

import numpy as np

from pytest_qllm.verdict.compare import Comparison, compare, compare_relative, corpus_error
from pytest_qllm.verdict.corpus import CorpusMetric
from pytest_qllm.verdict.kinds import Kind, Scale, kind_of
from pytest_qllm.verdict.means import units_needed
from pytest_qllm.verdict.multiplicity import mcnemar_p_value
from pytest_qllm.verdict.paired import ALPHA, design_effect, detects_nothing, detects_random
from pytest_qllm.verdict.power import POWER, equivalent_fixed_items
from pytest_qllm.verdict.sample import Sample, check, check_pair

__all__ = [
    "Evidence",
    "Kind",
    "Outcome",
    "Sample",
    "Scale",
    "Verdict",
    "at_ceiling",
    "check",
    "decide",
    "judge",
    "lacks_signal",
    "mean_score",
]


CEILING = 0.99
"""Share of right answers above which a benchmark is too easy for the baseline to show what a candidate has lost."""

STUDENTIZED = (Kind.MEAN, Kind.PERPLEXITY, Kind.COST)
"""Kinds whose limits are studentized, with a fixed design of their own (``means.units_needed``)."""


class Outcome(StrEnum):
    PASS = "PASS"
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    NO_SIGNAL = "NO_SIGNAL"
    UNGATED = "UNGATED"
    """Measured, and nobody has said what is allowed: no verdict at all."""


@dataclass(frozen=True)
class Evidence:
    """The paired comparison that a verdict rests on; proportions and ratios, not percent.

    Attributes:
        low, high: limits of the effect, with the one-sided errors ``alphas`` of this look.
        units: independent units behind the limits: items, or clusters of them.
        interval: the tool that was used.
        p_pass: p-value of "the loss is at least the tolerance"; of this look alone in ``judge``, valid over all looks
            in ``trial.conduct``. None where the tool gives limits only.
        p_fail: the same of "the loss is at most the tolerance".
        p_any_loss: the same of "there is no loss at all": McNemar's exact one-sided test of the flips; None without
            flips to count, or where items are clustered.
        fixed: items that a fixed design with 95 % power would have needed, by the spread that was seen.
        looks: how often the growing sample was judged.
        planned: items that would have been measured at most.
    """

    scale: Scale
    baseline: float
    candidate: float
    effect: float
    low: float
    high: float
    n: int
    broken: int | None
    mended: int | None
    interval: str
    alphas: tuple[float, float] = (ALPHA, ALPHA)
    units: int = 0
    p_pass: float | None = None
    p_fail: float | None = None
    fixed: int | None = None
    looks: int = 1
    planned: int | None = None
    p_any_loss: float | None = None


@dataclass(frozen=True)
class Verdict:
    outcome: Outcome
    tolerance: float
    evidence: Evidence | None
    reason: str = ""


def mean_score(sample: Sample, kind: Kind | Scale, metric: CorpusMetric | None = None) -> float:
    """The benchmark's figure for one measurement: a mean score, a perplexity per token, or the corpus metric."""
    kind = kind_of(kind)
    if kind is Kind.PERPLEXITY:
        return exp(min(-float(sample.scores.sum() / sample.weights.sum()), 700.0))
    if kind is Kind.COST:
        return float(np.exp(np.log(sample.scores).mean()))
    if metric is not None and sample.parts is not None:
        return float(metric(sample.parts))
    return float(sample.scores.mean())


def lacks_signal(
    baseline: Sample,
    kind: Kind | Scale,
    tolerance: float,
    *,
    relative: bool = False,
    alpha: float = ALPHA,
    metric: CorpusMetric | None = None,
) -> str | None:
    """Why the baseline's scores cannot carry a verdict at this tolerance, or None where they can."""
    kind = kind_of(kind)
    check(baseline, kind)
    if kind is Kind.CORPUS and metric is not None:
        return _lacks_corpus(baseline, metric, tolerance, relative=relative, alpha=alpha)
    if not kind.has_chance:
        return None
    n, score, chance = len(baseline.ids), mean_score(baseline, kind), float(baseline.chance.mean())
    margin = tolerance * score if relative else tolerance
    effective = n / design_effect(baseline.scores, baseline.clusters, alpha)
    if detects_random(score, chance, margin, effective, alpha=alpha):
        return None
    return (
        f"the baseline answers {score:.1%} of {n} items, chance is {chance:.1%}: too close for these items to tell "
        f"a model that answers at random from one within the tolerance of {100 * margin:.1f} points"
    )


def _lacks_corpus(
    baseline: Sample, metric: CorpusMetric, tolerance: float, *, relative: bool, alpha: float
) -> str | None:
    """A model that says nothing scores 0: could its loss be told from one within the tolerance?"""
    score = mean_score(baseline, Kind.CORPUS, metric)
    margin = tolerance * score if relative else tolerance
    if len(baseline.ids) < Kind.CORPUS.minimum or detects_nothing(score, margin, corpus_error(baseline, metric), alpha):
        return None
    return (
        f"the baseline scores {100 * score:.1f} on {len(baseline.ids)} items: too close to 0 for these items to tell a "
        f"model that scores nothing from one within the tolerance of {100 * margin:.1f} points"
    )


def judge(
    baseline: Sample,
    candidate: Sample,
    kind: Kind | Scale,
    tolerance: float,
    *,
    alpha: float = ALPHA,
    signal_alpha: float = ALPHA,
    relative: bool = False,
    metric: CorpusMetric | None = None,
    generator: np.random.Generator | None = None,
) -> Verdict:
    """Non-inferiority of the candidate, one-sided, three-way and fail closed.

    NO_SIGNAL depends on the baseline alone, so that no candidate's scores decide whether they count.

    Args:
        baseline: scores of the baseline.
        candidate: scores of the candidate on the same items.
        kind: of metric; decides the tool (see ``kinds.Kind``).
        tolerance: largest allowed loss, in the unit of the kind; with ``relative`` a share of the baseline's score.
        alpha: one-sided error of each limit at this look.
        signal_alpha: error of the whole test, at which the baseline must be able to carry a verdict.
        relative: whether the tolerance is relative ("keep 99 %": 0.01).
        metric: of a corpus, where the kind is one.
        generator: of a corpus metric's resamples.

    Raises:
        QllmError: if there are no items, the item sets differ, or a score is not a finite number.
        ValueError: for a relative tolerance of a kind that has none, or a corpus metric without its function.
    """
    kind = kind_of(kind)
    check_pair(baseline, candidate, kind)
    reason = lacks_signal(baseline, kind, tolerance, relative=relative, alpha=signal_alpha, metric=metric)
    if reason is not None:
        return Verdict(Outcome.NO_SIGNAL, tolerance, None, reason)
    if relative:
        found = compare_relative(kind, baseline, candidate, alpha, metric=metric, generator=generator)
        scale = Scale.RELATIVE
    else:
        found, scale = (
            compare(kind, baseline, candidate, tolerance, alpha, metric=metric, generator=generator),
            kind.scale,
        )
    evidence = Evidence(
        scale,
        mean_score(baseline, kind, metric),
        mean_score(candidate, kind, metric),
        found.effect,
        found.low,
        found.high,
        len(baseline.ids),
        found.broken,
        found.mended,
        found.method,
        (alpha, alpha),
        found.units,
        found.p_pass,
        found.p_fail,
        _fixed(found, scale, kind, tolerance, len(baseline.ids), signal_alpha),
        p_any_loss=_any_loss(found, len(baseline.ids)),
    )
    if found.units < kind.minimum:
        return Verdict(Outcome.INCONCLUSIVE, tolerance, evidence, f"fewer than {kind.minimum} {kind.units}")
    degenerate = found.degenerate or _is_constant(baseline, candidate, kind)
    if degenerate:
        return Verdict(Outcome.INCONCLUSIVE, tolerance, evidence, degenerate)
    return Verdict(decide(evidence, tolerance), tolerance, evidence)


def _is_constant(baseline: Sample, candidate: Sample, kind: Kind) -> str:
    """Why a grade tells nothing that is one and the same on all items; it may be what a broken scorer says of any."""
    grades = np.concatenate([baseline.scores, candidate.scores])
    if kind not in (Kind.GRADED, Kind.SOFT) or np.ptp(grades) > 0 or grades[0] > CEILING:
        return ""
    return f"every item has the score {grades[0]:.3g}, before and after: such a score may tell nothing apart"


def at_ceiling(verdict: Verdict, kind: Kind | Scale) -> Verdict:
    """The verdict, but NO_SIGNAL for a PASS on items that the baseline answers nearly all; a proven loss is one."""
    evidence = verdict.evidence
    if verdict.outcome is not Outcome.PASS or evidence is None or not kind_of(kind).has_chance:
        return verdict
    if evidence.baseline <= CEILING:
        return verdict
    reason = (
        f"the baseline answers {evidence.baseline:.1%} of {evidence.n} items: at the ceiling, where a worse model may "
        "answer as many"
    )
    return Verdict(Outcome.NO_SIGNAL, verdict.tolerance, None, reason)


def decide(evidence: Evidence, tolerance: float) -> Outcome:
    """What the limits prove of a tolerance: that the loss is larger, smaller, or neither."""
    if evidence.scale is Scale.RATIO:
        passed, failed = evidence.high < tolerance, evidence.low > tolerance
    else:
        passed, failed = evidence.low > -tolerance, evidence.high < -tolerance
    return Outcome.FAIL if failed else Outcome.PASS if passed else Outcome.INCONCLUSIVE


def _any_loss(found: Comparison, n: int) -> float | None:
    if found.broken is None or found.mended is None or found.units != n:
        return None
    return mcnemar_p_value(found.broken, found.mended)


def _fixed(found: Comparison, scale: Scale, kind: Kind, tolerance: float, n: int, alpha: float) -> int | None:
    margin = abs(log(tolerance)) if scale is Scale.RATIO and tolerance > 0 else tolerance
    if kind in STUDENTIZED and margin > 0 and isfinite(found.error) and found.units > 1:
        needed = units_needed(found.error, found.units, margin, POWER, alpha, kind.minimum)
        return None if needed is None else round(needed * n / found.units)
    floor = log(alpha) / log1p(-tolerance) if kind.has_chance and 0 < tolerance < 1 else 0.0
    items = equivalent_fixed_items(n, found.error, margin, max(floor, kind.minimum), alpha=alpha)
    return round(items) if isfinite(items) else None
