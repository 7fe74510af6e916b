"""When to look at the scores: once early, to stop on a plain loss, and once at the end.

The error of a wrong FAIL is split between the two looks (Bonferroni), so that both together keep it within ALPHA; only
the last look may PASS, so that its error is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass

from pytest_qllm.verdict.paired import ALPHA

EARLY_ALPHA = 0.005


@dataclass(frozen=True)
class Look:
    """Judge the first ``items`` items; FAIL is proven at ``fail_alpha``, PASS only where ``may_pass``."""

    items: int
    may_pass: bool
    fail_alpha: float


def looks(items: int, chunk: int) -> tuple[Look, ...]:
    """The looks at a benchmark of that many items, which are measured in chunks: at a third of them, and at the end."""
    early = -(-items // (3 * chunk)) * chunk
    if early >= items:
        return (Look(items, True, ALPHA),)
    return (Look(early, False, EARLY_ALPHA), Look(items, True, ALPHA - EARLY_ALPHA))
