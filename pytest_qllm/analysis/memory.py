"""What memory buys: every sized row on a memory-quality plane, and bigger quantized against smaller FP16 models."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from pytest_qllm.analysis.sheet import Sheet
from pytest_qllm.report.front import pareto
from pytest_qllm.verdict.kinds import Kind
from pytest_qllm.verdict.multiplicity import Stratum, pool
from pytest_qllm.verdict.sample import Sample
from pytest_qllm.verdict.significance import difference

BEATS = "beats"
IS_BEATEN = "is beaten"
UNDECIDED = "undecided"


@dataclass(frozen=True)
class Point:
    """One row on the plane.

    Attributes:
        quality: mean over the benchmarks of the score as a share of the best baseline's, so that benchmarks of
            different units count the same.
        on_front: no other row needs as few bytes and is as good.
    """

    row: str
    bytes: float
    quality: float
    on_front: bool


@dataclass(frozen=True)
class Rival:
    """A bigger model's regime against a smaller FP16 model that needs at least as many bytes.

    Attributes:
        better, worse: benchmarks on which the bigger one scores higher and lower, of ``benchmarks`` that both
            have.
        effect: mean difference of the accuracies, each with the same weight, on the same items; ``low`` and ``high``
            are its limits of 95 %. None where single items are not known.
        standing: ``beats`` and ``is beaten`` where the limits prove it, ``undecided`` where they do not; empty where
            there are none.
    """

    bigger: str
    smaller: str
    bytes: float
    smaller_bytes: float
    better: int
    worse: int
    benchmarks: int
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    standing: str = ""


def plane(sheet: Sheet) -> tuple[list[Point], list[str]]:
    """The points by rising bytes, and the benchmarks that their quality is of: those that every sized row has."""
    sized = [at for at, row in enumerate(sheet.rows) if row.bytes]
    columns = [at for at in _quality_columns(sheet) if sized and all((row, at) in sheet.cells for row in sized)]
    columns = [at for at in columns if _best(sheet, at) > 0]
    if not columns or len(sized) < 2:
        return [], []
    found = []
    for row in sized:
        shares = [sheet.cells[row, column].score / _best(sheet, column) for column in columns]
        found.append((sheet.rows[row].name, float(sheet.rows[row].bytes or 0), sum(shares) / len(shares)))
    front = set(pareto([(size, quality) for _, size, quality in found]))
    points = [Point(name, size, quality, (size, quality) in front) for name, size, quality in found]
    return sorted(points, key=lambda point: (point.bytes, -point.quality)), [sheet.columns[at].name for at in columns]


def rivals(sheet: Sheet) -> list[Rival]:
    """Every pair of a quantized model and a smaller FP16 one that needs at least as much memory."""
    baselines = [at for at, row in enumerate(sheet.rows) if row.is_baseline and row.bytes]
    found = []
    for at, row in enumerate(sheet.rows):
        own = sheet.baseline_of(at)
        if row.is_baseline or not row.bytes or own is None or not sheet.rows[own].bytes:
            continue
        for other in baselines:
            smaller = sheet.rows[other]
            if smaller.model == row.model or not row.bytes <= (smaller.bytes or 0) < (sheet.rows[own].bytes or 0):
                continue
            found.append(_rival(sheet, at, other))
    return [one for one in found if one.benchmarks]


def _rival(sheet: Sheet, at: int, other: int) -> Rival:
    columns = [one for one in _quality_columns(sheet) if (at, one) in sheet.cells and (other, one) in sheet.cells]
    better = sum(sheet.cells[at, one].score > sheet.cells[other, one].score for one in columns)
    worse = sum(sheet.cells[at, one].score < sheet.cells[other, one].score for one in columns)
    bigger, smaller = sheet.rows[at], sheet.rows[other]
    rival = Rival(bigger.name, smaller.name, bigger.bytes or 0, smaller.bytes or 0, better, worse, len(columns))
    strata = [one for column in columns if (one := _stratum(sheet, at, other, column)) is not None]
    if not strata:
        return rival
    pooled = pool(strata)
    standing = BEATS if pooled.low > 0 else IS_BEATEN if pooled.high < 0 else UNDECIDED
    return replace(rival, effect=pooled.effect, low=pooled.low, high=pooled.high, standing=standing)


def _stratum(sheet: Sheet, at: int, other: int, column: int) -> Stratum | None:
    """The paired difference of two models on the items that both were asked, of an accuracy; else None."""
    one, base = sheet.samples.get((at, column)), sheet.samples.get((other, column))
    if sheet.columns[column].kind is not Kind.ACCURACY or one is None or base is None:
        return None
    common = [place for place, item in enumerate(base.ids) if item in set(one.ids)]
    if not common:
        return None
    kept = {item: place for place, item in enumerate(one.ids)}
    change = difference(Kind.ACCURACY, _taken(base, common), _taken(one, [kept[base.ids[place]] for place in common]))
    return Stratum(change.effect, change.low, change.high)


def _taken(sample: Sample, places: Sequence[int]) -> Sample:
    clusters = None if sample.clusters is None else tuple(sample.clusters[at] for at in places)
    index = list(places)
    return Sample(
        tuple(sample.ids[at] for at in index),
        sample.scores[index],
        sample.weights[index],
        sample.chance[index],
        clusters if clusters and len(set(clusters)) < len(clusters) else None,
    )


def _quality_columns(sheet: Sheet) -> list[int]:
    """Where more is better: no perplexities, times or bias scores."""
    return [at for at, column in enumerate(sheet.columns) if not column.is_ratio and not column.is_bias]


def _best(sheet: Sheet, column: int) -> float:
    baselines = [row for row, one in enumerate(sheet.rows) if one.is_baseline]
    return max((sheet.cells[row, column].score for row in baselines if (row, column) in sheet.cells), default=0.0)
