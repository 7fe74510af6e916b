"""From an engine's answer to the score of an item, by its task's own filters and metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from pytest_qllm.benchmarks.bias import described
from pytest_qllm.benchmarks.corpus import BLEUS, corpus_metric, statistics
from pytest_qllm.benchmarks.graded import graded
from pytest_qllm.benchmarks.item import Item
from pytest_qllm.benchmarks.steady import steady
from pytest_qllm.engine.engine import Generated, Scored
from pytest_qllm.errors import QllmError
from pytest_qllm.measurement import ItemScore


def score_choices(task: Any, item: Item, scored: Sequence[Scored]) -> ItemScore:
    """The score of an item whose choices, or whose one continuation, were scored.

    Raises:
        QllmError: if a log-likelihood is no number.
    """
    bad = [one for one in scored if not isfinite(one.loglikelihood)]
    if bad:
        raise QllmError(
            f"the model gives a log-likelihood of {bad[0].loglikelihood} on item {item.id}; "
            "its weights or its kernel are broken"
        )
    results = [(one.loglikelihood, one.is_greedy) for one in scored]
    metrics = task.process_results(item.document, results)
    metrics.pop("perplexity", None)  # lambada's, which is of the last word only and not of the text
    chosen = item.output_type == "multiple_choice"
    if chosen:
        metrics.update(graded(task, item.document, [one.loglikelihood for one in scored]))
    bias, parts = described(metrics)
    best = max(range(len(results)), key=lambda at: results[at][0])
    return ItemScore(
        item.id,
        best if chosen else int(scored[0].is_greedy),
        {**numbers(task, metrics), **bias},
        [one.loglikelihood for one in scored],
        [one.tokens for one in scored],
        item.chance,
        item.cluster,
        subset=item.subset or None,
        parts=parts,
    )


def score_generated(task: Any, item: Item, made: Generated) -> ItemScore:
    """The score of a generated answer, by each of the task's filters."""
    import numpy as np
    from lm_eval.api.instance import Instance

    metrics: dict[str, float] = {}
    parts: dict[str, list[float]] = {}
    for ensemble in task._filters:
        instance = Instance("generate_until", item.document, item.requests[0], 0, ("", 0, 1))
        instance.resps = [made.text]
        ensemble.apply([instance])
        filtered = instance.filtered_resps[ensemble.name]
        suffix = "" if ensemble.name == "none" else f",{ensemble.name}"
        with steady(item.id):
            results = task.process_results(item.document, [filtered])
        metrics.update({f"{name}{suffix}": value for name, value in numbers(task, results).items()})
        for name in BLEUS:
            counts = statistics(name, results.get(name))
            if counts is not None:
                parts[f"{name}{suffix}"] = counts
                metrics[f"{name}{suffix}"] = float(corpus_metric(name)(np.array([counts])))  # of this item alone
    return ItemScore(
        item.id,
        made.text,
        metrics,
        chance=item.chance,
        cluster=item.cluster,
        hit_limit=made.hit_limit,
        subset=item.subset or None,
        parts=parts,
    )


def score_text(item: Item, scored: Scored) -> ItemScore:
    """The log-likelihood of a text, from which a perplexity is made.

    Raises:
        QllmError: if it is no number.
    """
    if not isfinite(scored.loglikelihood):
        raise QllmError(f"the model gives a log-likelihood of {scored.loglikelihood} on item {item.id}; it is broken")
    metrics = {"perplexity": scored.loglikelihood}
    return ItemScore(
        item.id,
        None,
        metrics,
        [scored.loglikelihood],
        [scored.tokens],
        cluster=item.cluster,
        subset=item.subset or None,
    )


def numbers(task: Any, metrics: Mapping[str, Any]) -> dict[str, float]:
    """The metrics that have a score for each item, and of which more is better: a loss is a smaller score."""
    more_is_better = task.higher_is_better()
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and more_is_better.get(name) is not False
    }
