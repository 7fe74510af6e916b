"""What regimes cost against what they lose, and what a perplexity tells of the other benchmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from pytest_qllm.regimes.regime import BASELINE
from pytest_qllm.report.front import pareto
from pytest_qllm.report.html import plots
from pytest_qllm.report.html.plots import Plot
from pytest_qllm.report.html.view import View
from pytest_qllm.report.record import Record
from pytest_qllm.verdict.correlation import Correlation, Correlations, correlate


def memory(view: View) -> list[Plot]:
    """Memory against quality, one plane for accuracies and one for perplexities; none where no size is known.

    A point is the mean over the benchmarks on which every sized regime was judged, so that all points are of the same
    benchmarks. The baseline lies at no loss.
    """
    rows = [row for row in view.rows if row.size]
    if len(rows) < 2:
        return []
    found = []
    for is_ratio in (False, True):
        common = _common(view, [row.regime for row in rows if row.regime != BASELINE], is_ratio)
        if not common:
            continue
        points = []
        for row in rows:
            assert row.size is not None
            quality = _quality([row.cells[name].record for name in common], is_ratio) if row.answer else float(is_ratio)
            points.append(
                (
                    row.regime,
                    float(row.size["model_bits_per_weight"]),
                    quality,
                    row.answer.kind if row.answer else "base",
                )
            )
        better = -1 if is_ratio else 1
        front = pareto([(x, better * y) for _, x, y, _ in points])
        what = f"mean of {', '.join(common)}"
        axes = (
            "bits per weight of the whole model",
            "perplexity ratio (log)" if is_ratio else "points against the baseline",
        )
        found.append(
            plots.scatter(
                "memory-ratio" if is_ratio else "memory-points",
                "Memory and perplexity" if is_ratio else "Memory and accuracy",
                f"Each regime by its size and what it loses ({what}); the dotted line joins those that no other beats "
                "on both.",
                points,
                axes,
                log_y=is_ratio,
                front=[(x, better * y) for x, y in front],
            )
        )
    return found


@dataclass(frozen=True)
class Tells:
    """A perplexity against one benchmark."""

    perplexity: str
    benchmark: str
    found: Correlations
    plot: Plot | None


def perplexities(view: View) -> list[Tells]:
    """Every perplexity against every benchmark of another metric, over the regimes that were judged on both."""
    names = _single(view)
    texts = [name for name in names if any(record.metric == "perplexity" for record in view.of(name))]
    others = [name for name in names if any(not record.is_ratio for record in view.of(name))]
    return [_tells(view, text, name) for text in texts for name in others if name not in texts]


def _tells(view: View, text: str, benchmark: str) -> Tells:
    losses = {record.regime: record.effect for record in view.of(text) if record.metric == "perplexity"}
    pairs = [
        (record, ratio)
        for record in view.of(benchmark)
        if (ratio := losses.get(record.regime)) and record.effect is not None and not record.is_ratio
    ]
    pairs = list({record.regime: (record, ratio) for record, ratio in pairs}.values())
    effects = [100 * (record.effect or 0.0) for record, _ in pairs]
    found = correlate([log(ratio) for _, ratio in pairs], effects)
    if len(pairs) < 2:
        return Tells(text, benchmark, found, None)
    cells = view.cells
    points = [
        (record.regime, ratio, effect, cells[record.regime, benchmark].sign.kind)
        for (record, ratio), effect in zip(pairs, effects, strict=True)
    ]
    plot = plots.scatter(
        f"tells-{text}-{benchmark}",
        f"{text} and {benchmark}",
        f"Each regime by its perplexity ratio on {text} and its effect on {benchmark}.",
        points,
        (f"ratio of {text} (log)", f"points of {benchmark}"),
        log=True,
    )
    return Tells(text, benchmark, found, plot)


def told(one: Correlation | None) -> str:
    """A coefficient with its interval."""
    if one is None:
        return "the points lie on a line"
    texts = (f"{value:+.2f}".replace("-", "\N{MINUS SIGN}") for value in (one.value, one.low, one.high))
    return "{} ({} to {})".format(*texts)


def _common(view: View, regimes: Sequence[str], is_ratio: bool) -> list[str]:
    """Benchmarks of a scale on which all of these regimes were judged."""

    def judged(regime: str, name: str) -> bool:
        cell = view.cells.get((regime, name))
        return cell is not None and cell.record.effect is not None and cell.record.is_ratio == is_ratio

    def counts(name: str) -> bool:
        return not is_ratio or any(record.metric == "perplexity" for record in view.of(name))

    return [name for name in _single(view) if counts(name) and all(judged(regime, name) for regime in regimes)]


def _single(view: View) -> list[str]:
    """Benchmarks; a dimension is none of them, but their own items again."""
    return [name for name in view.benchmarks if all(record.pooled is None for record in view.of(name))]


def _quality(records: Sequence[Record], is_ratio: bool) -> float:
    """Mean effect in points, or geometric mean of ratios."""
    effects = [record.effect for record in records if record.effect is not None]
    if is_ratio:
        return exp(sum(log(effect) for effect in effects) / len(effects))
    return 100 * sum(effects) / len(effects)
