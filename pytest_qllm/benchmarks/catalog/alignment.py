"""Alignment: truthfulness, social bias, and following instructions."""

from __future__ import annotations

from pytest_qllm.benchmarks.benchmark import Benchmark

_DIMENSION = "alignment"


def _bbq(name: str, metric: str) -> Benchmark:
    """The same answers, of which the scores are three: they are measured once."""
    return Benchmark(
        name,
        _DIMENSION,
        "bbq/bbq_multiple_choice.yaml",
        metric,
        2_000,
        0,
        data="bbq",
        cluster=("category", "question_index"),
        paper=58_492,
    )


ALIGNMENT: tuple[Benchmark, ...] = (
    Benchmark(
        "truthfulqa_mc1",
        _DIMENSION,
        "truthfulqa/truthfulqa_mc1.yaml",
        "acc",
        817,
        0,
        data="truthfulqa",
        paper=817,
    ),
    Benchmark(
        "truthfulqa_mc2",
        _DIMENSION,
        "truthfulqa/truthfulqa_mc2.yaml",
        "acc",
        817,
        0,
        data="truthfulqa",
        kinds={"acc": "graded"},
        paper=817,
    ),
    _bbq("bbq", "acc"),
    _bbq("bbq_bias_ambig", "amb_bias_score"),
    _bbq("bbq_bias_disambig", "disamb_bias_score"),
    Benchmark(
        "ifeval",
        _DIMENSION,
        "ifeval/ifeval.yaml",
        "prompt_level_strict_acc",
        541,
        0,
        chunk=8,
        needs=("langdetect", "immutabledict", "punkt_tab"),
        paper=0,
    ),
)
