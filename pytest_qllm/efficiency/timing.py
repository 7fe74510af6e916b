"""Time two sides in turns. Pure: what is timed is a function that returns its own seconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log
from statistics import stdev

Run = Callable[[], float]
"""Does the work once and returns the seconds that it took."""

Pair = tuple[float, float]
"""Seconds of the baseline and of the candidate, one right after the other."""

SPREAD = 0.4
"""Largest standard deviation of the log ratios of one test's pairs: above it pairs of the same work commonly differ by
half as much again, so that something else than the regime decides the ratio."""


def alternate(baseline: Run, candidate: Run, count: int) -> list[Pair]:
    """So many pairs. Every second begins with the candidate, so that a drift of the machine favours no side.

    Raises:
        ValueError: if a run took no time: the clock or the work is broken.
    """
    pairs: list[Pair] = []
    for number in range(count):
        if number % 2:
            after = candidate()
            before = baseline()
        else:
            before = baseline()
            after = candidate()
        if not (before > 0 and after > 0):
            raise ValueError(f"a run took {min(before, after)} s")
        pairs.append((before, after))
    return pairs


def spread(pairs: Sequence[Pair]) -> float:
    """Standard deviation of the log ratios; 0 of fewer than two pairs."""
    return stdev(log(after / before) for before, after in pairs) if len(pairs) > 1 else 0.0
