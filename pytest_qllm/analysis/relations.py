"""Does a perplexity tell what the benchmarks lose? Correlations over regimes, as in Table 3 of arXiv 2402.16775."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import log, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, rankdata

from pytest_qllm.analysis.sheet import Sheet
from pytest_qllm.verdict.correlation import LEAST, Correlation, correlate
from pytest_qllm.verdict.multiplicity import holm
from pytest_qllm.verdict.permutation import permutation_p_value
from pytest_qllm.verdict.significance import LEVEL

Floats = NDArray[np.float64]

SEED = 0
"""Of the permutations: the same sheet always has the same p-values."""

MEAN = "mean perplexity"
LOW_BITS = (4, 3)
"""The widths of the paper's Table 3: above them nothing is lost, below them models are destroyed."""


@dataclass(frozen=True)
class Relation:
    """A perplexity against one benchmark over some of the rows.

    Attributes:
        over: which rows, in words; n of them have both.
        pearson, spearman: with their intervals of 95 %; None where ``reason`` says why, or on an exact line.
        pearson_p, spearman_p: two-sided, by permutation; the Holm-adjusted ones over all relations of this set of rows.
        within: Pearson's of what is left when each model's own means are taken off; None with one model.
    """

    perplexity: str
    benchmark: str
    over: str
    n: int
    pearson: Correlation | None = None
    spearman: Correlation | None = None
    pearson_p: float | None = None
    spearman_p: float | None = None
    pearson_p_holm: float | None = None
    spearman_p_holm: float | None = None
    within: Correlation | None = None
    reason: str = ""


def relations(sheet: Sheet, *, logarithm: bool = False) -> list[Relation]:
    """Mean perplexity against every benchmark, over the rows of 4 and 3 bits, and over all.

    The mean is over the sheet's perplexities, as in the paper; a row that lacks one of them is not counted. Both sides
    are scores, not losses.

    Args:
        logarithm: of the mean perplexity; ranks, and with them Spearman's, stay as they are.
    """
    perplexity, name = mean_perplexity(sheet)
    if not perplexity:
        return []
    values = {row: log(value) if logarithm else value for row, value in perplexity.items()}
    sets: list[tuple[str, list[int]]] = [
        (f"{' and '.join(map(str, LOW_BITS))} bits", [at for at in values if sheet.rows[at].bits in LOW_BITS]),
        ("all", list(values)),
    ]
    found: list[Relation] = []
    for over, rows in sets:
        generator = np.random.default_rng(SEED)
        found += _adjusted(list(_over(sheet, values, name, over, rows, generator)))
    return found


def mean_perplexity(sheet: Sheet) -> tuple[dict[int, float], str]:
    """Of each row that has all perplexities of the sheet, and what it is called."""
    columns = [at for at, column in enumerate(sheet.columns) if column.is_perplexity]
    if not columns:
        return {}, ""
    scores = [sheet.scores(column) for column in columns]
    rows = [row for row in range(len(sheet.rows)) if all(row in one for one in scores)]
    name = MEAN if len(columns) > 1 else sheet.columns[columns[0]].name
    return {row: sum(one[row] for one in scores) / len(scores) for row in rows}, name


def mean_size(found: Sequence[Relation]) -> float | None:
    """Mean of Pearson's coefficients without their signs; None where there are none."""
    values = [abs(one.pearson.value) for one in found if one.pearson is not None]
    return sum(values) / len(values) if values else None


def _over(
    sheet: Sheet,
    perplexity: Mapping[int, float],
    name: str,
    over: str,
    rows: Sequence[int],
    generator: np.random.Generator,
) -> Iterator[Relation]:
    for at, column in enumerate(sheet.columns):
        if column.is_perplexity:
            continue
        scores = sheet.scores(at)
        used = [row for row in rows if row in scores]
        x, y = [perplexity[row] for row in used], [scores[row] for row in used]
        found = correlate(x, y)
        relation = Relation(name, column.name, over, found.n, found.pearson, found.spearman, reason=found.reason)
        if found.reason:
            yield relation
            continue
        xs, ys = np.array(x), np.array(y)
        yield replace(
            relation,
            pearson_p=permutation_p_value(xs, ys, generator),
            spearman_p=permutation_p_value(rankdata(xs), rankdata(ys), generator),
            within=_within(xs, ys, [sheet.rows[row].model for row in used]),
        )


def _within(x: Floats, y: Floats, models: Sequence[str]) -> Correlation | None:
    """Pearson's of deviations from each model's means; each mean takes a degree of freedom."""
    names = list(dict.fromkeys(models))
    if len(names) < 2:
        return None
    groups = np.array([names.index(model) for model in models])
    sides = []
    for values in (x, y):
        means = np.array([values[groups == group].mean() for group in range(len(names))])
        sides.append(values - means[groups])
    spare = len(x) - (len(names) - 1)
    if spare < LEAST or min(np.ptp(side) for side in sides) == 0:
        return None
    value = float(np.corrcoef(*sides)[0, 1])
    if abs(value) > 1 - 1e-12:
        return None
    half = float(norm.isf(LEVEL / 2)) / sqrt(spare - 3)
    return Correlation(value, float(np.tanh(np.arctanh(value) - half)), float(np.tanh(np.arctanh(value) + half)))


def _adjusted(found: list[Relation]) -> list[Relation]:
    tested = [at for at, one in enumerate(found) if one.pearson_p is not None and one.spearman_p is not None]
    straight = holm([found[at].pearson_p or 0.0 for at in tested])
    ordered = holm([found[at].spearman_p or 0.0 for at in tested])
    for at, one, other in zip(tested, straight, ordered, strict=True):
        found[at] = replace(found[at], pearson_p_holm=one, spearman_p_holm=other)
    return found
