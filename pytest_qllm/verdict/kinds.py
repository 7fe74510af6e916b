"""The kinds of metric: how an effect of each is expressed, and how many units it takes at least."""

from __future__ import annotations

from enum import StrEnum


class Scale(StrEnum):
    """How an effect is expressed: candidate minus baseline, candidate over baseline, or their difference over it."""

    DIFFERENCE = "difference"
    RATIO = "ratio"
    RELATIVE = "relative"


class Kind(StrEnum):
    """What a metric is, which decides the tool; benchmarks choose by it."""

    ACCURACY = "accuracy"
    """Right or wrong. More is better; the tolerance is a difference of proportions."""
    GRADED = "graded"
    """Between 0 and 1, equal for most items (ROUGE, token F1, judge scores). Tolerance: a difference."""
    SOFT = "soft"
    """Between 0 and 1, a little different on every item (probability of the right choice). Tolerance: a difference."""
    MEAN = "mean"
    """Any number, more is better (log-likelihood per token). Tolerance: a difference in its own unit."""
    PERPLEXITY = "perplexity"
    """Log-likelihoods of documents. Tolerance: the largest ratio of perplexities, such as 1.03."""
    COST = "cost"
    """Seconds or bytes, measured in pairs. Tolerance: the largest ratio, such as 1.10, or 0.60 for a gain."""
    CORPUS = "corpus"
    """A function of all items at once (BLEU, chrF). Tolerance: a difference of it."""
    BIAS = "bias"
    """A function of all items at once that is best at 0 (BBQ's). Tolerance: how much further from 0 it may lie."""

    @property
    def scale(self) -> Scale:
        return Scale.RATIO if self in (Kind.PERPLEXITY, Kind.COST) else Scale.DIFFERENCE

    @property
    def none(self) -> float:
        """The effect of no change: a ratio of 1, or a difference of 0."""
        return 1.0 if self.scale is Scale.RATIO else 0.0

    @property
    def minimum(self) -> int:
        """Fewest independent units that are judged at all.

        Exact limits and Gaffke's need none. A variance or a bootstrap of fewer units than these is no ground for a
        verdict; docs/explanation/statistics.md has the error rates that were simulated.
        """
        return {Kind.PERPLEXITY: 8, Kind.COST: 8, Kind.MEAN: 30, Kind.CORPUS: 100, Kind.BIAS: 100}.get(self, 1)

    @property
    def first_look(self) -> int:
        """Fewest items at which an early look may be: as few as are judged at all.

        A variance is least known in the tails, which the limits of studentized means make up for (``means``). A
        bootstrap has nothing of the kind.
        """
        return 2 * self.minimum if self is Kind.CORPUS else self.minimum

    @property
    def units(self) -> str:
        return {Kind.PERPLEXITY: "documents", Kind.COST: "runs"}.get(self, "independent items or clusters")

    @property
    def of_corpus(self) -> bool:
        """Whether it is a function of all items at once, of statistics that each item has."""
        return self in (Kind.CORPUS, Kind.BIAS)

    @property
    def has_chance(self) -> bool:
        """Whether a model that answers at random has a known expected score."""
        return self in (Kind.ACCURACY, Kind.GRADED, Kind.SOFT)


def kind_of(kind: Kind | Scale | str) -> Kind:
    """The kind itself; a plain scale stands for the kind that had it first.

    Raises:
        ValueError: for a name that is no kind.
    """
    if isinstance(kind, Scale):
        return Kind.PERPLEXITY if kind is Scale.RATIO else Kind.ACCURACY
    return Kind(kind)
