"""What a random answer is expected to score on an item."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any


def chance(task: Any, document: Mapping[str, Any], choices: int, metric: str) -> float:
    """The score expected of an answer that is drawn from the choices at random; 0 where there are none to draw from.

    A task that scores the answers by a function of its own may hold several choices for right (BBQ has ten ways of
    saying "unknown") or share out the probability among the true ones (TruthfulQA's MC2): it is asked about each.

    Args:
        task: lm-eval's task.
        document: one of its documents.
        choices: how many there are.
        metric: the one that is asked about.
    """
    if task.OUTPUT_TYPE != "multiple_choice":
        return 0.0
    if not callable(task.config.process_results):
        return 1 / choices
    chosen = [[(0.0 if at == one else -inf, at == one) for at in range(choices)] for one in range(choices)]
    scores = [task.process_results(document, results).get(metric) for results in chosen]
    known = [float(score) for score in scores if isinstance(score, int | float)]
    return sum(known) / choices if len(known) == choices else 1 / choices
