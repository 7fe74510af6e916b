"""Scores of one measurement as the statistics need them, and the refusal of scores that no verdict can rest on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pytest_qllm.errors import QllmError
from pytest_qllm.verdict.kinds import Kind

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """Per-item scores of one measurement.

    Attributes:
        ids: content hash of each item, in order.
        scores: shape (n,): 1.0 or 0.0 for right or wrong, a graded score, log-likelihood in nats for a perplexity,
            seconds or bytes for a cost.
        weights: shape (n,): 1.0 for answers; scored tokens for a perplexity.
        chance: shape (n,): score expected of a random answer; used for accuracies and graded scores only.
        clusters: cluster of each item, or None where items are independent.
        parts: shape (n, statistics): what a corpus metric needs of each item; None for every other kind.
    """

    ids: tuple[str, ...]
    scores: Floats
    weights: Floats
    chance: Floats
    clusters: tuple[str, ...] | None = None
    parts: Floats | None = None

    def first(self, count: int) -> Sample:
        """The first ``count`` items."""
        return self.at(slice(count))

    def at(self, places: slice | Sequence[int]) -> Sample:
        """The items at those places."""
        return Sample(
            tuple(np.array(self.ids, dtype=object)[places]),
            self.scores[places],
            self.weights[places],
            self.chance[places],
            None if self.clusters is None else tuple(np.array(self.clusters, dtype=object)[places]),
            None if self.parts is None else self.parts[places],
        )


def check(sample: Sample, kind: Kind) -> None:
    """Refuse scores that no verdict can rest on.

    Raises:
        QllmError: if there are no items, one is there twice, or a score is not a number that its kind admits.
    """
    n = len(sample.ids)
    if n == 0:
        raise QllmError("there are no items to compare: a benchmark without items cannot pass")
    optional = [array for array in (sample.clusters, sample.parts) if array is not None]
    _require_lengths(n, sample.scores, sample.weights, sample.chance, *optional)
    if len(set(sample.ids)) != n:
        raise QllmError(f"{n - len(set(sample.ids))} of {n} items are there twice; each may count once")
    if not np.isfinite(sample.scores).all():
        bad = int((~np.isfinite(sample.scores)).sum())
        raise QllmError(f"{bad} of {n} scores are not finite numbers (NaN or infinite): the model is broken")
    if kind is Kind.ACCURACY and not np.isin(sample.scores, (0.0, 1.0)).all():
        raise QllmError("an accuracy needs scores of 0 or 1 for each item; this metric gives others")
    if kind in (Kind.GRADED, Kind.SOFT) and not ((sample.scores >= 0) & (sample.scores <= 1)).all():
        raise QllmError("a graded score lies between 0 and 1 for each item; this metric gives others")
    if kind is Kind.PERPLEXITY and not (sample.weights > 0).all():
        raise QllmError("a perplexity needs at least one scored token in every document")
    if kind is Kind.COST and not (sample.scores > 0).all():
        raise QllmError("times and memory must be positive")
    if kind.of_corpus and (sample.parts is None or not np.isfinite(sample.parts).all()):
        raise QllmError("a corpus metric needs finite statistics of every item")


def check_pair(baseline: Sample, candidate: Sample, kind: Kind) -> None:
    """Refuse measurements that cannot be compared item by item.

    Raises:
        QllmError: as ``check``, or if items, weights or clusters differ.
    """
    check(baseline, kind)
    check(candidate, kind)
    if baseline.ids != candidate.ids:
        raise QllmError(
            f"baseline and candidate were not measured on the same items ({len(baseline.ids)} and "
            f"{len(candidate.ids)}, {len(set(baseline.ids) & set(candidate.ids))} in common); measure both again"
        )
    if kind is Kind.PERPLEXITY and not np.array_equal(baseline.weights, candidate.weights):
        raise QllmError(
            "baseline and candidate scored different numbers of tokens of the same texts; measure both again"
        )
    if baseline.clusters != candidate.clusters:
        raise QllmError("baseline and candidate put the same items into different clusters; measure both again")


def _require_lengths(n: int, *arrays: Sequence[Any] | Floats) -> None:
    if any(len(array) != n for array in arrays):
        raise QllmError(f"scores for {[len(array) for array in arrays]} items where {n} were asked for")
