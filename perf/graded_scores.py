"""Does the probability of the right choice predict the change of accuracy, and how much sooner does it know?

For each regime and multiple-choice benchmark that a store has measurements of (of the built-in model, as
`pytest suites/ --qllm-store DIR` leaves them): the paired difference of the accuracy beside that of ``prob``, which is
the softmax over the choices' log-likelihoods, and of ``prob_norm``, the same over log-likelihoods per character, as
``acc_norm`` compares them. Only items in the first blocks that baseline and regime both have are used.

    python perf/graded_scores.py --store DIR --json FILE          # what the store has
    python perf/graded_scores.py --store DIR --measure            # what it lacks is measured first: an hour on a core

``gap`` is the difference of accuracy less that of prob, item by item: where prob predicts accuracy without bias, it is
zero but for its standard error. ``items`` is the square of the ratio of standard errors: the share of items with which
prob is as precise as accuracy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pytest_qllm.benchmarks.benchmark import BenchmarkCatalog
from pytest_qllm.benchmarks.data import DataSource
from pytest_qllm.benchmarks.graded import right_choice
from pytest_qllm.benchmarks.lm_eval import Item, LmEvalBenchmark
from pytest_qllm.compute import choose
from pytest_qllm.measure import Laboratory
from pytest_qllm.measurement import ItemScore
from pytest_qllm.models import source
from pytest_qllm.options import cache_directory
from pytest_qllm.regimes.catalog import RegimeCatalog
from pytest_qllm.regimes.regime import Regime
from pytest_qllm.store import Store
from pytest_qllm.verdict.soft import soft_score
from pytest_qllm.workshop import BASELINE

COLUMNS = (
    ("benchmark", "{:<14}"),
    ("regime", "{:<10}"),
    ("n", "{:>4}"),
    ("flips", "{:>6.1f}"),
    ("baseline_acc", "{:>6.1f}"),
    ("acc", "{:>6.1f}"),
    ("acc_se", "{:>5.2f}"),
    ("baseline_prob", "{:>6.1f}"),
    ("prob", "{:>6.1f}"),
    ("prob_se", "{:>5.2f}"),
    ("prob_norm", "{:>6.1f}"),
    ("prob_norm_se", "{:>5.2f}"),
    ("ratio", "{:>5.2f}"),
    ("items", "{:>5.2f}"),
    ("gap", "{:>6.1f}"),
    ("gap_se", "{:>5.2f}"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--regimes", default="bnb-int8,bnb-nf4,bnb-fp4,gptq-4bit,gptq-2bit")
    parser.add_argument("--benchmarks", default="arc_easy,sciq,piqa,hellaswag")
    parser.add_argument("--items", type=int, default=400, help="at most (default: %(default)s)")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--measure", action="store_true", help="measure what the store lacks")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    cache = Store(cache_directory())
    laboratory = Laboratory(
        lambda: source.resolve(source.DEFAULT, cache),
        DataSource("auto", cache),
        choose(given.dtype, "auto", 1),
        0,
        Store(given.store),
    )
    regimes = [RegimeCatalog().get(name) for name in given.regimes.split(",")]
    rows = []
    for name in given.benchmarks.split(","):
        prepared = laboratory.benchmark(BenchmarkCatalog().get(name))
        items = laboratory.items(prepared, given.items)
        for regime in regimes:
            count = len(items) if given.measure else _stored(laboratory, regime, prepared, items)
            if count:
                one, other = (laboratory.measure(who, prepared, items[:count]).items for who in (BASELINE, regime))
                rows.append({"benchmark": name, "regime": regime.name, **compared(prepared, items, one, other)})
    print("  ".join(name for name, _ in COLUMNS), "(points)")
    for row in rows:
        print("  ".join(form.format(row[name]) for name, form in COLUMNS))
    summary = summarized(rows)
    for name, value in summary.items():
        print(f"{name}: {value:.3g}")
    if given.json:
        given.json.write_text(json.dumps({"rows": rows, "summary": summary}, indent=2) + "\n")


def compared(
    benchmark: LmEvalBenchmark, items: Sequence[Item], baseline: Sequence[ItemScore], candidate: Sequence[ItemScore]
) -> dict[str, Any]:
    """Figures of one regime on one benchmark, in points; ``flips`` in percent of the items."""
    acc = _differences(baseline, candidate, "acc")
    prob = _differences(baseline, candidate, "prob")
    first, second = (_normalized(benchmark, items, scores) for scores in (baseline, candidate))
    norm, gap = second - first, acc - prob
    return {
        "n": len(baseline),
        "flips": 100 * float(np.mean(acc != 0)),
        "baseline_acc": 100 * float(np.mean([score.metrics["acc"] for score in baseline])),
        "acc": _mean(acc),
        "acc_se": _error(acc),
        "baseline_prob": 100 * float(np.mean([score.metrics["prob"] for score in baseline])),
        "prob": _mean(prob),
        "prob_se": _error(prob),
        "prob_norm": _mean(norm),
        "prob_norm_se": _error(norm),
        "ratio": _error(prob) / _error(acc) if _error(acc) else float("nan"),
        "items": (_error(prob) / _error(acc)) ** 2 if _error(acc) else float("nan"),
        "gap": _mean(gap),
        "gap_se": _error(gap),
        "correlation": float(np.corrcoef(acc, prob)[0, 1]) if acc.any() else float("nan"),
    }


def summarized(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Over all rows: the slope of prob on accuracy through the origin, weighted by accuracy's errors, and agreement."""
    acc, prob = (np.array([row[name] for row in rows]) for name in ("acc", "prob"))
    weights = 1 / np.array([row["acc_se"] for row in rows]) ** 2
    clear = np.abs(acc) > 1.645 * np.array([row["acc_se"] for row in rows])
    sharp = np.abs(prob) > 1.645 * np.array([row["prob_se"] for row in rows])
    return {
        "slope": float((weights * acc * prob).sum() / (weights * acc * acc).sum()),
        "median_ratio": float(np.median([row["ratio"] for row in rows])),
        "median_items": float(np.median([row["items"] for row in rows])),
        "cells": len(rows),
        "same_sign": float((acc * prob > 0).sum()),
        "clear_in_accuracy": float(clear.sum()),
        "clear_in_accuracy_with_the_same_sign": float((clear & (acc * prob > 0)).sum()),
        "clear_in_prob": float(sharp.sum()),
        "gap_beyond_two_errors": float(sum(abs(row["gap"]) > 2 * row["gap_se"] for row in rows)),
    }


def _stored(laboratory: Laboratory, regime: Regime, benchmark: LmEvalBenchmark, items: Sequence[Item]) -> int:
    """How many items, in whole blocks, both baseline and regime have."""
    counts = [*range(benchmark.benchmark.chunk, len(items), benchmark.benchmark.chunk), len(items)]
    return max(
        (
            count
            for count in counts
            if all(laboratory.is_stored(who, benchmark, items[:count]) for who in (BASELINE, regime))
        ),
        default=0,
    )


def _differences(baseline: Sequence[ItemScore], candidate: Sequence[ItemScore], metric: str) -> Any:
    return np.array([two.metrics[metric] - one.metrics[metric] for one, two in zip(baseline, candidate, strict=True)])


def _normalized(benchmark: LmEvalBenchmark, items: Sequence[Item], scores: Sequence[ItemScore]) -> Any:
    """Probability of the right choice by log-likelihoods per character."""
    found = []
    for item, score in zip(items, scores, strict=False):
        task = benchmark._task(item.subset)
        right = right_choice(task, item.document)
        assert right is not None
        lengths = [len(choice) for choice in task.doc_to_choice(item.document)]
        found.append(soft_score(score.loglikelihoods, right, lengths))
    return np.array(found)


def _mean(values: Any) -> float:
    return 100 * float(values.mean())


def _error(values: Any) -> float:
    """Standard error of the mean, in points."""
    return 100 * float(values.std(ddof=1)) / float(np.sqrt(len(values)))


if __name__ == "__main__":
    main()
