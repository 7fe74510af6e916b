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


def _followbench(name: str, items: int, form: str) -> Benchmark:
    """Instructions, of which an example's five levels stand or fall together."""
    return Benchmark(
        name,
        _DIMENSION,
        f"qllm:followbench/{name}.yaml",
        "hsr",
        items,
        0,
        chunk=20,
        chat=True,
        kinds={"ssr": "graded", "csl": "graded"},
        data="followbench",
        cluster=("kind", "example"),
        paper=items if form == "followbench" else 0,
        form=form,
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
        chat=True,
        needs=("langdetect", "immutabledict", "punkt_tab"),
        paper=0,
    ),
    _followbench("followbench", 820, "followbench"),
    _followbench("followbench_rules", 350, "followbench-rules"),
    Benchmark(
        "mt_bench",
        _DIMENSION,
        "qllm:mt_bench/mt_bench.yaml",
        "score",
        80,
        0,
        chunk=8,
        kinds={"score": "graded", "turn_1": "graded", "turn_2": "graded"},
        paper=0,
        form="dialogue",
    ),
)
