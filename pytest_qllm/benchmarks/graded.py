"""Which choice is right, and the probability that the model gives to it: the graded score behind an accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

PROB = "prob"
"""Name of the metric. Why as the likelihoods are, and not by length: docs/explanation/decisions/0007."""


def right_choice(task: Any, document: Mapping[str, Any]) -> int | None:
    """Index of the right choice of a multiple-choice document, or None where its task has no such thing.

    None where several choices are right, and where the task scores the answers by a function of its own (TruthfulQA's
    MC2 shares out the probability among all the true ones).
    """
    if callable(task.config.process_results) or task.multiple_target:
        return None
    choices = task.doc_to_choice(document)
    # WinoGrande puts each choice into the context, and then its target is the text that follows them all.
    gold = task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)
    if isinstance(gold, str):
        gold = choices.index(gold) if gold in choices else None
    return gold if isinstance(gold, int) and 0 <= gold < len(choices) else None


def graded(task: Any, document: Mapping[str, Any], loglikelihoods: Sequence[float]) -> dict[str, float]:
    """``prob``: the probability of the right choice among the choices; empty where the document has no single one.

    Args:
        task: lm-eval's task.
        document: one of its documents.
        loglikelihoods: of the choices in nats; a task of mutual information asks for more after those.
    """
    from pytest_qllm.verdict.soft import soft_score

    right = right_choice(task, document)
    count = len(task.doc_to_choice(document))
    if right is None or count < 2 or len(loglikelihoods) < count:
        return {}
    return {PROB: soft_score(loglikelihoods[:count], right)}
