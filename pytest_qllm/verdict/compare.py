"""The tool for each kind of metric: from two paired samples to an effect with honest limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import exp, inf, isfinite, log, sqrt

import numpy as np
from numpy.typing import NDArray

from pytest_qllm.verdict.corpus import CorpusMetric, bias_interval, corpus_interval
from pytest_qllm.verdict.exact import exact_interval, exact_p_value
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.means import Studentized, Units, bounded_interval, gaffke_p_value, studentize
from pytest_qllm.verdict.relative import mean_ratio_interval, relative_interval, wilson_interval
from pytest_qllm.verdict.sample import Sample

Floats = NDArray[np.float64]

_ROUNDING = 1e-7
"""Width of relative limits that is no more than rounding."""


@dataclass(frozen=True)
class Comparison:
    """What a tool found.

    Attributes:
        effect: candidate minus baseline, or their ratio; ``low`` and ``high`` are its one-sided limits.
        p_pass: p-value of "the loss is at least the tolerance", small where it is proven smaller; None where the tool
            gives limits only.
        p_fail: p-value of "the loss is at most the tolerance".
        error: standard error of the effect (of its logarithm for a ratio).
        units: independent units that the limits rest on.
        method: the tool, for people.
        degenerate: why nothing may be concluded although there are limits, or "".
    """

    effect: float
    low: float
    high: float
    p_pass: float | None
    p_fail: float | None
    error: float
    units: int
    method: str
    broken: int | None = None
    mended: int | None = None
    degenerate: str = ""


Tool = Callable[[Sample, Sample, float, float], Comparison]


def compare(
    kind: Kind,
    baseline: Sample,
    candidate: Sample,
    tolerance: float,
    alpha: float,
    *,
    metric: CorpusMetric | None = None,
    generator: np.random.Generator | None = None,
) -> Comparison:
    """Compare with the tool of that kind, each limit at the one-sided error ``alpha``.

    Raises:
        ValueError: if a corpus metric comes without its function or its generator.
    """
    if kind.of_corpus:
        towards_zero = kind is Kind.BIAS
        return _corpus(baseline, candidate, alpha, metric, generator, towards_zero=towards_zero)
    return _TOOLS[kind](baseline, candidate, tolerance, alpha)


def compare_relative(
    kind: Kind,
    baseline: Sample,
    candidate: Sample,
    alpha: float,
    *,
    metric: CorpusMetric | None = None,
    generator: np.random.Generator | None = None,
) -> Comparison:
    """The loss as a share of the baseline's own score, which is uncertain too (Fieller; a corpus metric: resampled).

    Raises:
        ValueError: for a kind whose effect is a ratio already, or a corpus metric without function or generator.
    """
    if kind is Kind.CORPUS:
        return _corpus(baseline, candidate, alpha, metric, generator, relative=True)
    base, cand = _units(baseline, baseline.scores), _units(baseline, candidate.scores)
    spread = ""
    if kind in (Kind.ACCURACY, Kind.GRADED, Kind.SOFT):
        plain = _TOOLS[kind](baseline, candidate, 0.0, alpha)
        n, clustered = len(baseline.ids), baseline.clusters is not None
        own = bounded_interval(base, alpha) if clustered or kind is not Kind.ACCURACY else (0.0, 0.0)
        if own == (0.0, 0.0):
            own = wilson_interval(int(baseline.scores.sum()), n, alpha)
        low, high = relative_interval((plain.effect, plain.low, plain.high), (base.effect, *own))
        method, broken, mended, error = f"{plain.method}, relative (MOVER)", plain.broken, plain.mended, plain.error
    elif kind is Kind.MEAN:
        low, high = (ratio - 1 for ratio in mean_ratio_interval(base, cand, alpha))
        broken = mended = None
        found = _student(baseline, candidate)
        method, error = "Fieller, jackknife, Student's t", found.error
        if high - low > _ROUNDING or found.effect == 0:
            spread = _no_spread(found, baseline)
        else:
            spread = "all units keep exactly the same share: there is no spread to judge it by"
    else:
        raise ValueError(f"a {kind} has no relative tolerance: its effect is a ratio")
    if base.effect <= 0:
        why = f"the baseline scores {base.effect:.3g}, of which no share can be lost"
        return Comparison(0.0, -inf, inf, None, None, inf, len(base), method, broken, mended, why)
    effect = cand.effect / base.effect - 1
    return Comparison(effect, low, high, None, None, error / base.effect, len(base), method, broken, mended, spread)


def _corpus(
    baseline: Sample,
    candidate: Sample,
    alpha: float,
    metric: CorpusMetric | None,
    generator: np.random.Generator | None,
    *,
    relative: bool = False,
    towards_zero: bool = False,
) -> Comparison:
    if metric is None or generator is None or baseline.parts is None or candidate.parts is None:
        raise ValueError("a corpus metric needs its function, a generator and the statistics of each item")
    units = baseline.ids if baseline.clusters is None else baseline.clusters
    before, after = (summed(parts, units) for parts in (baseline.parts, candidate.parts))
    if towards_zero:
        effect, low, high, error = bias_interval(before, after, metric, alpha, generator)
    else:
        effect, low, high, error = corpus_interval(before, after, metric, alpha, generator, relative=relative)
    why = "" if isfinite(low) else "the resamples do not differ, or have no score: there is no spread to judge by"
    whole = "" if baseline.clusters is None else " of clusters"
    method = f"paired bootstrap{whole}, BCa{', relative' if relative else ''}"
    if not isfinite(effect):
        effect, why = 0.0, "the baseline scores 0, of which no share can be lost"
    return Comparison(effect, low, high, None, None, error, len(before), method, None, None, why)


def summed(parts: Floats, units: Sequence[str]) -> Floats:
    """Statistics of each unit: they are sums, and so are those of a cluster.

    In the order of the units' names, so that the resamples, and with them the limits, do not hang on that of the items.
    """
    names, place = np.unique(np.asarray(units), return_inverse=True)
    sums = np.zeros((len(names), parts.shape[1]))
    np.add.at(sums, place, parts)
    return sums


def corpus_error(sample: Sample, metric: CorpusMetric) -> float:
    """Standard error of a corpus metric of one model: the jackknife over its units."""
    assert sample.parts is not None
    parts = summed(sample.parts, sample.ids if sample.clusters is None else sample.clusters)
    count = len(parts)
    without = metric((parts.sum(0) - parts)[:, None, :])
    return sqrt((count - 1) / count * float(((without - without.mean()) ** 2).sum()))


def _accuracy(baseline: Sample, candidate: Sample, tolerance: float, alpha: float) -> Comparison:
    differences = candidate.scores - baseline.scores
    n, broken, mended = len(differences), int((differences < 0).sum()), int((differences > 0).sum())
    if baseline.clusters is not None:
        found = _bounded(baseline, candidate, tolerance, alpha)
        return Comparison(**{**vars(found), "broken": broken, "mended": mended})
    effect = (mended - broken) / n
    low, high = exact_interval(broken, mended, n, alpha)
    p_pass = exact_p_value(broken, mended, n, tolerance, alpha)
    p_fail = exact_p_value(mended, broken, n, -tolerance, alpha)
    error = sqrt(max((broken + mended) / n - effect**2, 0.0) / n)
    return Comparison(effect, low, high, p_pass, p_fail, error, n, "exact (Buehler, Tango)", broken, mended)


def _bounded(baseline: Sample, candidate: Sample, tolerance: float, alpha: float) -> Comparison:
    losses = _units(baseline, baseline.scores - candidate.scores)
    low, high = bounded_interval(Units(-losses.sums, losses.sizes), alpha)
    p_pass = gaffke_p_value(losses, tolerance)
    p_fail = gaffke_p_value(Units(-losses.sums, losses.sizes), -tolerance)
    error = studentize(losses).error if len(losses) > 1 else 1.0
    method = "Gaffke" if baseline.clusters is None else "Gaffke over clusters"
    return Comparison(-losses.effect, low, high, p_pass, p_fail, error, len(losses), method)


def _mean(baseline: Sample, candidate: Sample, tolerance: float, alpha: float) -> Comparison:
    found = _student(baseline, candidate)
    low, high = found.interval(alpha)
    method = "jackknife, Student's t" if baseline.clusters is None else "cluster jackknife, Student's t"
    units = len(_units(baseline, baseline.scores))
    # `found` is of candidate - baseline: within the tolerance above -tolerance.
    p_pass, p_fail = found.above(-tolerance), found.below(-tolerance)
    return Comparison(
        found.effect, low, high, p_pass, p_fail, found.error, units, method, degenerate=_no_spread(found, baseline)
    )


def _perplexity(baseline: Sample, candidate: Sample, tolerance: float, alpha: float) -> Comparison:
    units = Units.of(baseline.scores - candidate.scores, baseline.clusters, baseline.weights)
    found = studentize(units) if len(units) > 1 else Studentized(units.effect, inf, 1.0, 0.0, 0.0)
    return _log_ratio(found, baseline, tolerance, alpha, len(units), "log ratio over documents, jackknife, Student's t")


def _cost(baseline: Sample, candidate: Sample, tolerance: float, alpha: float) -> Comparison:
    units = Units.of(np.log(candidate.scores) - np.log(baseline.scores), baseline.clusters)
    found = studentize(units) if len(units) > 1 else Studentized(units.effect, inf, 1.0, 0.0, 0.0)
    return _log_ratio(found, baseline, tolerance, alpha, len(units), "paired log ratio, Student's t")


def _log_ratio(
    found: Studentized, baseline: Sample, tolerance: float, alpha: float, units: int, method: str
) -> Comparison:
    low, high = found.interval(alpha) if isfinite(found.error) else (-inf, inf)
    return Comparison(
        _exp(found.effect),
        _exp(low),
        _exp(high),
        found.below(log(tolerance)) if isfinite(found.error) else 1.0,
        found.above(log(tolerance)) if isfinite(found.error) else 1.0,
        found.error,
        units,
        method,
        degenerate=_no_spread(found, baseline),
    )


def _student(baseline: Sample, candidate: Sample) -> Studentized:
    units = _units(baseline, candidate.scores - baseline.scores)
    return studentize(units) if len(units) > 1 else Studentized(units.effect, inf, 1.0, 0.0, 0.0)


def _no_spread(found: Studentized, baseline: Sample) -> str:
    """Equal losses on all units leave no spread to judge them by; scores equal to the bit are the same model."""
    if found.error > 0 or (found.effect == 0 and np.ptp(baseline.scores) > 0):
        return ""
    return "all units differ by exactly the same: there is no spread to judge the difference by"


def _units(sample: Sample, values: Floats) -> Units:
    return Units.of(values, sample.clusters)


def _exp(value: float) -> float:
    # exp overflows above 709; a ratio that large is reported as the largest that JSON can hold.
    return exp(min(value, 700.0)) if isfinite(value) else (0.0 if value < 0 else value)


_TOOLS: Mapping[Kind, Tool] = {
    Kind.ACCURACY: _accuracy,
    Kind.GRADED: _bounded,
    Kind.SOFT: _bounded,
    Kind.MEAN: _mean,
    Kind.PERPLEXITY: _perplexity,
    Kind.COST: _cost,
}
